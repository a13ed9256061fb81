// Convolutions of 3x3 places and stride 1 in tiles of 2x2 outputs, 16 multiplications for 36: F(2x2, 3x3) of Lavin and
// Gray, "Fast Algorithms for Convolutional Neural Networks" (2016), y = Aᵀ [G w Gᵀ · Bᵀ x B] A for each tile.
// Roles and layouts are those of `convolution`. Of each tile there are 16 numbers a channel; those at the same of the
// 16 places are a matrix, tiles by channels, and with the weights of that place one matrix product.

// Bᵀ x, G w and Aᵀ m, from IN numbers to OUT; A y and Gᵀ u, which are for gradients of weights. Numbers are STEP apart.
struct OfInputs {
    static constexpr int IN = 4, OUT = 4;
    template <int STEP> static INLINE void side(const Lanes* x, Lanes* out) {
        out[0] = x[0] - x[2 * STEP], out[STEP] = x[STEP] + x[2 * STEP];
        out[2 * STEP] = x[2 * STEP] - x[STEP], out[3 * STEP] = x[STEP] - x[3 * STEP];
    }
};
struct OfWeights {
    static constexpr int IN = 3, OUT = 4;
    template <int STEP> static INLINE void side(const Lanes* w, Lanes* out) {
        const Lanes ends = (w[0] + w[2 * STEP]) * T(0.5), middle = w[STEP] * T(0.5);
        out[0] = w[0], out[STEP] = ends + middle, out[2 * STEP] = ends - middle, out[3 * STEP] = w[2 * STEP];
    }
};
struct ToOutputs {
    static constexpr int IN = 4, OUT = 2;
    template <int STEP> static INLINE void side(const Lanes* m, Lanes* out) {
        out[0] = m[0] + m[STEP] + m[2 * STEP], out[STEP] = m[STEP] - m[2 * STEP] - m[3 * STEP];
    }
};
struct OfOutputs {
    static constexpr int IN = 2, OUT = 4;
    template <int STEP> static INLINE void side(const Lanes* y, Lanes* out) {
        out[0] = y[0], out[STEP] = y[0] + y[STEP], out[2 * STEP] = y[0] - y[STEP], out[3 * STEP] = -y[STEP];
    }
};
struct ToWeights {
    static constexpr int IN = 4, OUT = 3;
    template <int STEP> static INLINE void side(const Lanes* u, Lanes* out) {
        const Lanes sum = (u[STEP] + u[2 * STEP]) * T(0.5);
        out[0] = u[0] + sum, out[STEP] = (u[STEP] - u[2 * STEP]) * T(0.5), out[2 * STEP] = sum + u[3 * STEP];
    }
};

// A transform along both sides: of the vectors at IN x IN places of `from`, written to OUT x OUT places of `to`.
template <class Form, class From, class To> static INLINE void along_both(From from, To to) {
    constexpr int IN = Form::IN, OUT = Form::OUT;
    Lanes in[IN * IN], half[OUT * IN], out[OUT * OUT];
#pragma GCC unroll 16
    for (int p = 0; p < IN * IN; ++p) in[p] = Lanes::from(from(p));
#pragma GCC unroll 4
    for (int c = 0; c < IN; ++c) Form::template side<IN>(in + c, half + c);
#pragma GCC unroll 4
    for (int r = 0; r < OUT; ++r) Form::template side<1>(half + IN * r, out + OUT * r);
#pragma GCC unroll 16
    for (int p = 0; p < OUT * OUT; ++p) out[p].to(to(p));
}

// C channels of images (H, W, C), of which tiles of SIDE x SIDE pixels, 2 apart, begin P above and left of the image.
// Tiles that come later than `first` by 0, 1, …; pixels outside of the image are 0 to read and lost to write.
template <int H, int W, int C, int TH, int TW, int SIDE, int P, class Number> struct Tiles {
    Number* const images;
    T nothing[C] = {};

    INLINE void of(int tile, Number* (&pixels)[SIDE * SIDE]) {
        const int n = tile / (TH * TW), top = tile / TW % TH * 2 - P, left = tile % TW * 2 - P;
#pragma GCC unroll 16
        for (int i = 0; i < SIDE * SIDE; ++i) {
            const int h = top + i / SIDE, w = left + i % SIDE;
            Number* const pixel = images + (int64_t(n * H + h) * W + w) * C;
            pixels[i] = h >= 0 && h < H && w >= 0 && w < W ? pixel : nothing;
        }
    }
};

constexpr int APART = 16;  // numbers between the matrices of two places, which else would share sets of the first cache

// MOST tiles are in work at once: few enough for the second cache to hold their numbers of all places.
template <Role role, int N, int H, int W, int CI, int OH, int OW, int CO, int P, int MOST> struct Winograd {
    // A gradient of inputs is a convolution of outputs (of K channels) with the weights turned round, to M channels.
    static constexpr bool BACK = role == INPUT;
    static constexpr int K = BACK ? CO : CI, M = BACK ? CI : CO, PAD = BACK ? 2 - P : P;
    static constexpr int IH = BACK ? OH : H, IW = BACK ? OW : W, RH = BACK ? H : OH, RW = BACK ? W : OW;
    static constexpr int TH = (RH + 1) / 2, TW = (RW + 1) / 2, ALL = N * TH * TW;
    static constexpr int U = K * M + APART, V = MOST * K + APART, Y = MOST * M + APART;
    Tiles<IH, IW, K, TH, TW, 4, PAD, const T> inputs;
    Tiles<RH, RW, M, TH, TW, 2, 0, std::conditional_t<role == WEIGHT, const T, T>> outputs;
    T *const u, *const v, *const y;  // 16 matrices each, of weights, inputs and outputs

    void transform_weights(const T* w) {
        for (int i = 0; i < K * M; i += LANES)
            along_both<OfWeights>([=](int k) { return w + (BACK ? 8 - k : k) * K * M + i; },
                                  [=](int p) { return u + p * U + i; });
    }

    void transform_inputs(int first, int count) {
        for (int t = 0; t < count; ++t) {
            const T* pixels[16];
            inputs.of(first + t, pixels);
            for (int k = 0; k < K; k += LANES)
                along_both<OfInputs>([&](int p) { return pixels[p] + k; }, [=](int p) { return v + p * V + t * K + k; });
        }
    }

    void transform_outputs(int first, int count) {
        for (int t = 0; t < count; ++t) {
            T* pixels[4];
            outputs.of(first + t, pixels);
            for (int m = 0; m < M; m += LANES)
                along_both<ToOutputs>([=](int p) { return y + p * Y + t * M + m; }, [&](int p) { return pixels[p] + m; });
        }
    }

    void transform_gradients(int first, int count) {
        for (int t = 0; t < count; ++t) {
            const T* pixels[4];
            outputs.of(first + t, pixels);
            for (int m = 0; m < M; m += LANES)
                along_both<OfOutputs>([&](int p) { return pixels[p] + m; }, [=](int p) { return y + p * Y + t * M + m; });
        }
    }

    void gather_weights(T* w) {
        for (int i = 0; i < K * M; i += LANES)
            along_both<ToWeights>([=](int p) { return u + p * U + i; }, [=](int k) { return w + k * K * M + i; });
    }

    template <int COUNT> void some(int first) {
        transform_inputs(first, COUNT);
        if constexpr (role == WEIGHT) {
            transform_gradients(first, COUNT);
            for (int p = 0; p < 16; ++p) outer_sum<K, M, K, 0, M, 0>(v + p * V, y + p * Y, u + p * U, 1, COUNT);
        } else {
            for (int p = 0; p < 16; ++p) product<COUNT, M, K, K, 1, M>(v + p * V, u + p * U, y + p * Y);
            transform_outputs(first, COUNT);
        }
    }

    void all() {
        for (int first = 0; first + MOST <= ALL; first += MOST) some<MOST>(first);
        if constexpr (ALL % MOST != 0) some<ALL % MOST>(ALL - ALL % MOST);
    }
};

// `convolution` with WORK numbers of space to work in.
template <Role role, int N, int H, int W, int CI, int OH, int OW, int CO, int P, int MOST, int WORK>
ALONE static void winograd(const T* first, const T* second, T* __restrict result, T* __restrict work) {
    typedef Winograd<role, N, H, W, CI, OH, OW, CO, P, MOST> Form;
    static_assert(WORK >= 16 * (Form::U + Form::V + Form::Y));
    T *const v = work + 16 * Form::U, *const y = v + 16 * Form::V;
    if constexpr (role == WEIGHT) {
        Form form{{first}, {second}, work, v, y};
        std::memset(work, 0, sizeof(T) * 16 * Form::U);
        form.all();
        form.gather_weights(result);
    } else {
        Form form{{first}, {result}, work, v, y};
        form.transform_weights(second);
        form.all();
    }
}
