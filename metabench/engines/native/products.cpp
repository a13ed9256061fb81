// Matrix products of sizes known to the compiler.

// The widest vector that fits into N numbers, of at most 64 bytes.
constexpr int width_for(int n) {
    for (int w = 64 / int(sizeof(T)); w > 1; w /= 2)
        if (n >= w) return w;
    return 1;
}

// How many of M rows to take at once: as few unused registers and as short a remainder as may be.
constexpr int rows_for(int m, int most) {
    if (m <= most) return m;
    for (int r = most; r > most / 2; --r)
        if (m % r == 0) return r;
    return most;
}

template <int W> struct Vector {
    typedef T type __attribute__((vector_size(W * sizeof(T)), aligned(sizeof(T)), may_alias));
};

#define INLINE inline __attribute__((always_inline))

// R rows by V vectors of sums, held in registers.
template <int R, int V, int W> struct Tile {
    typedef typename Vector<W>::type Vec;
    Vec sums[R][V];

    // Rows of the same length, one after the other.
    template <int STEP> INLINE void from(const T* place) {
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
            for (int v = 0; v < V; ++v) sums[r][v] = *(const Vec*)(place + r * STEP + v * W);
    }
    template <int STEP> INLINE void to(T* place) const {
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
            for (int v = 0; v < V; ++v) *(Vec*)(place + r * STEP + v * W) = sums[r][v];
    }
    // A column times a row: left(0), left(1), … by V vectors.
    template <class Left> INLINE void add(Left left, const T* right) {
        Vec row[V];
#pragma GCC unroll 16
        for (int v = 0; v < V; ++v) row[v] = *(const Vec*)(right + v * W);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
            const T factor = left(r);
#pragma GCC unroll 16
            for (int v = 0; v < V; ++v) sums[r][v] += factor * row[v];
        }
    }
};

template <int R, int V, int W, int N, int K, int A0, int A1, int B0>
static INLINE void block(const T* a, const T* b, T* c) {
    Tile<R, V, W> tile{};
    for (int k = 0; k < K; ++k) tile.add([=](int r) { return a[r * A0 + k * A1]; }, b + k * B0);
    tile.template to<N>(c);
}

template <int V, int W, int M, int N, int K, int A0, int A1, int B0>
static inline void columns(const T* a, const T* b, T* c) {
    constexpr int R = rows_for(M, std::min(12, 24 / V));
    int m = 0;
    for (; m + R <= M; m += R) block<R, V, W, N, K, A0, A1, B0>(a + m * A0, b, c + m * N);
    if constexpr (M % R != 0) block<M % R, V, W, N, K, A0, A1, B0>(a + m * A0, b, c + m * N);
}

template <int M, int N, int K, int A0, int A1, int B0, int LEFT>
static inline void strips(const T* a, const T* b, T* c) {
    if constexpr (LEFT > 0) {
        constexpr int W = width_for(LEFT), V = std::min(LEFT / W, 4);
        columns<V, W, M, N, K, A0, A1, B0>(a, b, c);
        strips<M, N, K, A0, A1, B0, LEFT - V * W>(a, b + V * W, c + V * W);
    }
}

// c (M, N) = a (M, K) b (K, N); c has its rows in line, b has its numbers of a row in line.
template <int M, int N, int K, int A0, int A1, int B0>
static inline void product(const T* a, const T* b, T* __restrict c) {
    if constexpr (N == 1) {
        if constexpr (A1 == 1 || M == 1) {
            for (int m = 0; m < M; ++m) {
                T sum = 0;
                for (int k = 0; k < K; ++k) sum += a[m * A0 + k * A1] * b[k * B0];
                c[m] = sum;
            }
        } else {
            for (int m = 0; m < M; ++m) c[m] = 0;
            for (int k = 0; k < K; ++k)
                for (int m = 0; m < M; ++m) c[m] += a[m * A0 + k * A1] * b[k * B0];
        }
    } else {
        strips<M, N, K, A0, A1, B0, N>(a, b, c);
    }
}
