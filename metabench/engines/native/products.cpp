// Matrix products of sizes known to the compiler.

// The widest vector that fits into N numbers.
constexpr int width_for(int n) {
    for (int w = LANES; w > 1; w /= 2)
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

// Sums that registers hold at once; the other registers are for what is multiplied.
constexpr int SUMS = REGISTERS * 3 / 4;
// How many vectors a row of sums has at most.
constexpr int ABREAST = REGISTERS / 8;

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

template <int R, int V, int W, int N, int K, int A0, int A1, int B0, bool ADD>
static INLINE void block(const T* a, const T* b, T* c) {
    Tile<R, V, W> tile{};
    if constexpr (ADD) tile.template from<N>(c);
    for (int k = 0; k < K; ++k) tile.add([=](int r) { return a[r * A0 + k * A1]; }, b + k * B0);
    tile.template to<N>(c);
}

template <int V, int W, int M, int N, int K, int A0, int A1, int B0, bool ADD>
static inline void columns(const T* a, const T* b, T* c) {
    constexpr int R = rows_for(M, std::min(12, SUMS / V));
    int m = 0;
    for (; m + R <= M; m += R) block<R, V, W, N, K, A0, A1, B0, ADD>(a + m * A0, b, c + m * N);
    if constexpr (M % R != 0) block<M % R, V, W, N, K, A0, A1, B0, ADD>(a + m * A0, b, c + m * N);
}

// Strips of so many columns as registers hold, in a loop: of templates, compilers take some hundred in a row.
template <int M, int N, int K, int A0, int A1, int B0, bool ADD, int LEFT = N>
static inline void strips(const T* a, const T* b, T* c) {
    constexpr int W = width_for(LEFT), V = std::min(LEFT / W, ABREAST), WHOLE = LEFT / (V * W) * (V * W);
    for (int n = 0; n < WHOLE; n += V * W) columns<V, W, M, N, K, A0, A1, B0, ADD>(a, b + n, c + n);
    if constexpr (WHOLE < LEFT) strips<M, N, K, A0, A1, B0, ADD, LEFT - WHOLE>(a, b + WHOLE, c + WHOLE);
}

template <int M, int N> constexpr int64_t bytes = int64_t(M) * N * int(sizeof(T));

// c (M, N) = a (M, K) b (K, N), or c += that; c has its rows in line, b has its numbers of a row in line.
template <int M, int N, int K, int A0, int A1, int B0, bool ADD = false>
static inline void product(const T* a, const T* b, T* __restrict c) {
    if constexpr (N == 1) {
        if constexpr (A1 == 1 || M == 1) {
            for (int m = 0; m < M; ++m) {
                T sum = ADD ? c[m] : T(0);
                for (int k = 0; k < K; ++k) sum += a[m * A0 + k * A1] * b[k * B0];
                c[m] = sum;
            }
        } else {
            if constexpr (!ADD)
                for (int m = 0; m < M; ++m) c[m] = 0;
            for (int k = 0; k < K; ++k)
                for (int m = 0; m < M; ++m) c[m] += a[m * A0 + k * A1] * b[k * B0];
        }
    } else if constexpr (bytes<M, N> > 1 << 20 && K < M) {  // a few rows of the result at a time: written in line
        constexpr int R = rows_for(M, 6);
        int64_t m = 0;
        for (; m + R <= M; m += R) strips<R, N, K, A0, A1, B0, ADD>(a + m * A0, b, c + m * N);
        if constexpr (M % R != 0) strips<M % R, N, K, A0, A1, B0, ADD>(a + m * A0, b, c + m * N);
    } else if constexpr (bytes<K, N> > 1 << 23 && M < K) {  // a few rows of b at a time: it comes from memory in line
        constexpr int R = 8;
        if constexpr (!ADD) std::memset(c, 0, sizeof(T) * M * N);
        int64_t k = 0;
        for (; k + R <= K; k += R) strips<M, N, R, A0, A1, B0, true>(a + k * A1, b + k * B0, c);
        if constexpr (K % R != 0) strips<M, N, K % R, A0, A1, B0, true>(a + k * A1, b + k * B0, c);
    } else {
        strips<M, N, K, A0, A1, B0, ADD>(a, b, c);
    }
}

static INLINE T total(Lanes lanes) {
    T parts[LANES], sum = 0;
    lanes.to(parts);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; ++i) parts[i] += parts[i + width];
    return sum + parts[0];
}

#ifdef __clang__
#define CHOSEN(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define CHOSEN(a, b, ...) __builtin_shuffle(a, b, decltype(a < b){__VA_ARGS__})
#endif

// Sums of neighbours: those of a, then those of b.
template <class V, int N> static INLINE V neighbours(V a, V b) {
    if constexpr (N == 16)
        return CHOSEN(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
               CHOSEN(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    else if constexpr (N == 8)
        return CHOSEN(a, b, 0, 2, 4, 6, 8, 10, 12, 14) + CHOSEN(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
    else if constexpr (N == 4)
        return CHOSEN(a, b, 0, 2, 4, 6) + CHOSEN(a, b, 1, 3, 5, 7);
    else
        return CHOSEN(a, b, 0, 2) + CHOSEN(a, b, 1, 3);
}

// The totals of four vectors, of at least four numbers each, are the first numbers of the result.
static INLINE Lanes totals(const Lanes* of) {
    typedef Lanes::Register V;
    V sums = neighbours<V, LANES>(neighbours<V, LANES>(of[0].v, of[1].v), neighbours<V, LANES>(of[2].v, of[3].v));
    for (int left = LANES / 4; left > 1; left /= 2) sums = neighbours<V, LANES>(sums, sums);
    return sums;
}

// R rows of a by C rows of b, both of K numbers in line, b's B0 apart: c[r][0], c[r][1], … += their scalar products.
template <int R, int C, int K, int B0> static INLINE void dots(const T* const* a, const T* b, T* const* c) {
    Lanes sums[R][C];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int i = 0; i < C; ++i) sums[r][i] = Lanes(T(0));
    int k = 0;
    for (; k + LANES <= K; k += LANES) {
        Lanes row[C];
#pragma GCC unroll 8
        for (int i = 0; i < C; ++i) row[i] = Lanes::from(b + int64_t(i) * B0 + k);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const Lanes left = Lanes::from(a[r] + k);
#pragma GCC unroll 8
            for (int i = 0; i < C; ++i) sums[r][i] = sums[r][i] + left * row[i];
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        T found[std::max(LANES, C)];
        if constexpr (C == 4 && LANES >= 4)
            totals(sums[r]).to(found);
        else
            for (int i = 0; i < C; ++i) found[i] = total(sums[r][i]);
        for (int i = 0; i < C; ++i) {
            for (int rest = k; rest < K; ++rest) found[i] += a[r][rest] * b[int64_t(i) * B0 + rest];
            c[r][i] += found[i];
        }
    }
}

template <int C, int K, int B0> static INLINE void dots_of_all(const T* const* a, const T* b, T** c, int count) {
    constexpr int MOST = REGISTERS == 32 ? 5 : 2;
    int i = 0;
    for (; i + MOST <= count; i += MOST) dots<MOST, C, K, B0>(a + i, b, c + i);
    for (; i + 2 <= count; i += 2) dots<2, C, K, B0>(a + i, b, c + i);
    for (; i < count; ++i) dots<1, C, K, B0>(a + i, b, c + i);
    for (i = 0; i < count; ++i) c[i] += C;
}

// c (count, N) += a (count, K) bᵀ, where b is (N, K): a and c are given by their rows. b is read as it lies, and once.
template <int N, int K, int B0> static inline void along_rows(const T* const* a, const T* b, T** c, int count) {
    constexpr int C = 4;
    int n = 0;
    for (; n + C <= N; n += C) dots_of_all<C, K, B0>(a, b + int64_t(n) * B0, c, count);
    if constexpr (N % C != 0) dots_of_all<N % C, K, B0>(a, b + int64_t(n) * B0, c, count);
}

// c (M, N) = a (M, K) bᵀ, where b is (N, K), both with their rows in line.
template <int M, int N, int K, int A0, int B0>
ALONE static void product_of_rows(const T* a, const T* b, T* c) {
    const T* from[M];
    T* to[M];
    for (int m = 0; m < M; ++m) from[m] = a + int64_t(m) * A0, to[m] = c + int64_t(m) * N;
    std::memset(c, 0, sizeof(T) * M * N);
    along_rows<N, K, B0>(from, b, to, M);
}
