// Convolutions of images with their channels in line (N, H, W, C), and of weights (KH, KW, CI, CO).
// All are sums of matrix products, one for each place of the kernel and piece of a row.

// R rows by V vectors of c += a b; c's rows are C0 apart.
template <int R, int V, int W, int K, int A0, int B0, int C0>
static INLINE void more(const T* a, const T* b, T* c) {
    Tile<R, V, W> tile;
    tile.template from<C0>(c);
    for (int k = 0; k < K; ++k) tile.add([=](int r) { return a[r * A0 + k]; }, b + k * B0);
    tile.template to<C0>(c);
}

template <int V, int W, int K, int A0, int B0, int C0>
static inline void pixels(const T* a, const T* b, T* c, int count) {
    for (int blocks = (count + 5) / 6; blocks > 0; --blocks) {
        const int r = (count + blocks - 1) / blocks;  // as even as can be
        switch (r) {
            case 6: more<6, V, W, K, A0, B0, C0>(a, b, c); break;
            case 5: more<5, V, W, K, A0, B0, C0>(a, b, c); break;
            case 4: more<4, V, W, K, A0, B0, C0>(a, b, c); break;
            case 3: more<3, V, W, K, A0, B0, C0>(a, b, c); break;
            case 2: more<2, V, W, K, A0, B0, C0>(a, b, c); break;
            default: more<1, V, W, K, A0, B0, C0>(a, b, c);
        }
        a += r * A0, c += r * C0, count -= r;
    }
}

// c (count, N) += a (count, K) b (K, N): of pixels that are A0 and C0 apart.
template <int N, int K, int A0, int C0, int B0 = N, int LEFT = N>
static inline void run_of_pixels(const T* a, const T* b, T* c, int count) {
    constexpr int W = width_for(LEFT), V = std::min(LEFT / W, ABREAST), WHOLE = LEFT / (V * W) * (V * W);
    for (int n = 0; n < WHOLE; n += V * W) pixels<V, W, K, A0, B0, C0>(a, b + n, c + n, count);
    if constexpr (WHOLE < LEFT) run_of_pixels<N, K, A0, C0, B0, LEFT - WHOLE>(a, b + WHOLE, c + WHOLE, count);
}

// R rows by V vectors of c += aᵀ b over `rows` runs of `count` pixels.
template <int R, int V, int W, int A0, int A1, int B0, int B1, int C0>
static INLINE void outer_block(const T* a, const T* b, T* c, int rows, int count) {
    Tile<R, V, W> tile;
    tile.template from<C0>(c);
    for (int i = 0; i < rows; ++i)
        for (int k = 0; k < count; ++k)
            tile.add([=](int r) { return a[i * A1 + k * A0 + r]; }, b + i * B1 + k * B0);
    tile.template to<C0>(c);
}

template <int M, int N, int A0, int A1, int B0, int B1, int LEFT = N>
static inline void outer_sum(const T* a, const T* b, T* c, int rows, int count) {
    constexpr int W = width_for(LEFT), V = std::min(LEFT / W, 2), WHOLE = LEFT / (V * W) * (V * W);
    constexpr int R = rows_for(M, REGISTERS / 4);
    for (int n = 0; n < WHOLE; n += V * W) {
        int m = 0;
        for (; m + R <= M; m += R) outer_block<R, V, W, A0, A1, B0, B1, N>(a + m, b + n, c + m * N + n, rows, count);
        if constexpr (M % R != 0) outer_block<M % R, V, W, A0, A1, B0, B1, N>(a + m, b + n, c + m * N + n, rows, count);
    }
    if constexpr (WHOLE < LEFT)
        outer_sum<M, N, A0, A1, B0, B1, LEFT - WHOLE>(a, b + WHOLE, c + WHOLE, rows, count);
}

// Which places of a row (or column) of outputs a place k of the kernel reaches inputs from.
template <int IN, int OUT, int S, int D, int P> struct Reach {
    static constexpr int from(int k) { const int gap = P - k * D; return gap <= 0 ? 0 : (gap + S - 1) / S; }
    static constexpr int to(int k) { const int last = IN - 1 + P - k * D; return last < 0 ? 0 : std::min(OUT, last / S + 1); }
};

constexpr int CHUNK = 64;  // pixels whose inputs and outputs stay in the first cache together with one place of the kernel

// R outputs by V vectors of an image with one channel and its borders: all places of the kernel at once.
template <int R, int V, int W, int CO, int LINE, int KH, int KW, int S, int D>
static INLINE void outputs_of_one(const T* image, const T* w, T* y) {
    Tile<R, V, W> tile{};
#pragma GCC unroll 9
    for (int k = 0; k < KH * KW; ++k)
        tile.add([=](int r) { return image[k / KW * D * LINE + k % KW * D + r * S]; }, w + k * CO);
    tile.template to<CO>(y);
}

// The weights of all places, V vectors of them, from an image with one channel and its borders.
template <int V, int W, int CO, int LINE, int OH, int OW, int KH, int KW, int S, int D>
static INLINE void weights_of_one(const T* image, const T* y, T* w) {
    Tile<KH * KW, V, W> tile;
    tile.template from<CO>(w);
    for (int oh = 0; oh < OH; ++oh)
        for (int ow = 0; ow < OW; ++ow) {
            const T* const corner = image + oh * S * LINE + ow * S;
            tile.add([=](int k) { return corner[k / KW * D * LINE + k % KW * D]; }, y + (oh * OW + ow) * CO);
        }
    tile.template to<CO>(w);
}

// The inputs of a convolution where there are few pixels and many weights, which then are read as they lie: turning them
// would take longer. Each place of the kernel gathers the pixels that it reaches.
template <int N, int H, int W, int CI, int OH, int OW, int CO, int KH, int KW, int S, int D, int P>
static inline void few_pixels(const T* y, const T* weights, T* x) {
    for (int place = 0; place < KH * KW; ++place) {
        const T *from[N * OH * OW], *w = weights + int64_t(place) * CI * CO;
        T* to[N * OH * OW];
        int count = 0;
        for (int i = 0; i < N * OH * OW; ++i) {
            const int h = i / OW % OH * S + place / KW * D - P, column = i % OW * S + place % KW * D - P;
            if (h < 0 || h >= H || column < 0 || column >= W) continue;
            from[count] = y + int64_t(i) * CO, to[count++] = x + (int64_t(i / (OH * OW) * H + h) * W + column) * CI;
        }
        along_rows<CI, CO, CO>(from, w, to, count);
    }
}

enum Role { OUTPUT, INPUT, WEIGHT, INPUT_OF_FEW };

// One of the three of a convolution from the other two: y (N, OH, OW, CO), x (N, H, W, CI) or w (KH, KW, CI, CO).
// For x the weights are (KH, KW, CO, CI), but for few pixels (KH, KW, CI, CO). There are WORK numbers to work in.
template <Role role, int N, int H, int W, int CI, int OH, int OW, int CO, int KH, int KW, int S, int D, int P, int WORK = 0>
ALONE static void convolution(const T* first, const T* second, T* __restrict result, T* __restrict work = nullptr) {
    typedef Reach<H, OH, S, D, P> Rows;
    typedef Reach<W, OW, S, D, P> Columns;
    constexpr int STEP = std::max(1, CHUNK / OW), LINES = N * OH;
    constexpr int SIZE = role == OUTPUT ? N * OH * OW * CO : role == WEIGHT ? KH * KW * CI * CO : N * H * W * CI;
    std::memset(result, 0, sizeof(T) * SIZE);
    if constexpr (role == INPUT_OF_FEW) return few_pixels<N, H, W, CI, OH, OW, CO, KH, KW, S, D, P>(first, second, result);
    constexpr int VECTOR = width_for(CO), WIDE = std::min(ABREAST, CO / VECTOR), SIDE = std::min(ABREAST / 2, CO / VECTOR);
    if constexpr ((role == OUTPUT || role == WEIGHT) && CI == 1 && KH * KW <= 9 && CO % (VECTOR * WIDE) == 0) {
        constexpr int LINE = std::max((OW - 1) * S + (KW - 1) * D + 1, W + P), COLUMN = (OH - 1) * S + (KH - 1) * D + 1;
        static_assert(WORK >= std::max(COLUMN, H + P) * LINE);
        T* const image = work;  // with borders
        std::memset(image, 0, sizeof(T) * WORK);
        for (int n = 0; n < N; ++n) {
            for (int h = 0; h < H; ++h) std::memcpy(image + (h + P) * LINE + P, first + (n * H + h) * W, sizeof(T) * W);
            const int64_t out = int64_t(n) * OH * OW * CO;
            if constexpr (role == WEIGHT)
                for (int co = 0; co < CO; co += SIDE * VECTOR)
                    weights_of_one<SIDE, VECTOR, CO, LINE, OH, OW, KH, KW, S, D>(image, second + out + co, result + co);
            else
                for (int co = 0; co < CO; co += WIDE * VECTOR)
                    for (int oh = 0; oh < OH; ++oh) {
                        constexpr int R = rows_for(OW, 6);
                        const T* const line = image + oh * S * LINE;
                        T* const y = result + out + oh * OW * CO + co;
                        int ow = 0;
                        for (; ow + R <= OW; ow += R)
                            outputs_of_one<R, WIDE, VECTOR, CO, LINE, KH, KW, S, D>(line + ow * S, second + co, y + ow * CO);
                        if constexpr (OW % R != 0)
                            outputs_of_one<OW % R, WIDE, VECTOR, CO, LINE, KH, KW, S, D>(line + ow * S, second + co, y + ow * CO);
                    }
        }
        return;
    }
    for (int begin = 0; begin < LINES; begin += STEP) {
        const int end = std::min(begin + STEP, LINES);
        for (int kh = 0; kh < KH; ++kh)
            for (int kw = 0; kw < KW; ++kw) {
                const int low = Columns::from(kw), count = Columns::to(kw) - low, tap = (kh * KW + kw) * CI * CO;
                if (count <= 0) continue;
                for (int line = begin; line < end; ++line) {
                    const int oh = line % OH, h = oh * S + kh * D - P;
                    if (h < 0 || h >= H) continue;
                    const int64_t in = (int64_t(line / OH * H + h) * W + low * S + kw * D - P) * CI;
                    const int64_t out = (int64_t(line) * OW + low) * CO;
                    if constexpr (role == OUTPUT)
                        run_of_pixels<CO, CI, S * CI, CO>(first + in, second + tap, result + out, count);
                    if constexpr (role == INPUT)
                        run_of_pixels<CI, CO, CO, S * CI>(first + out, second + tap, result + in, count);
                    if constexpr (role == WEIGHT) {
                        const int most = std::min(Rows::to(kh) - oh, end - line);  // lines of this image in the chunk
                        outer_sum<CI, CO, S * CI, S * W * CI, CO, OW * CO>(first + in, second + out, result + tap, most, count);
                        line += most - 1;
                    }
                }
            }
    }
}
