// Convolutions of 3x3 places and stride 1 in tiles of 2x2 outputs, 16 multiplications for 36: F(2x2, 3x3) of Lavin and
// Gray, "Fast Algorithms for Convolutional Neural Networks" (2016), y = Aᵀ [G w Gᵀ · Bᵀ x B] A for each tile.
// Roles and layouts are those of `convolution`. Of each tile there are 16 numbers a channel; those at the same of the
// 16 places are a matrix, tiles by channels, and with the weights of that place one matrix product.

// Along one side, by numbers that are STEP apart: Bᵀ x, G w and Aᵀ m; A y and Gᵀ u, which are for gradients of weights.
template <int FROM, int TO> static INLINE void of_inputs(const Lanes* x, Lanes* out) {
    out[0] = x[0] - x[2 * FROM], out[TO] = x[FROM] + x[2 * FROM];
    out[2 * TO] = x[2 * FROM] - x[FROM], out[3 * TO] = x[FROM] - x[3 * FROM];
}
template <int FROM, int TO> static INLINE void of_weights(const Lanes* w, Lanes* out) {
    const Lanes ends = (w[0] + w[2 * FROM]) * T(0.5), middle = w[FROM] * T(0.5);
    out[0] = w[0], out[TO] = ends + middle, out[2 * TO] = ends - middle, out[3 * TO] = w[2 * FROM];
}
template <int FROM, int TO> static INLINE void to_outputs(const Lanes* m, Lanes* out) {
    out[0] = m[0] + m[FROM] + m[2 * FROM], out[TO] = m[FROM] - m[2 * FROM] - m[3 * FROM];
}
template <int FROM, int TO> static INLINE void of_outputs(const Lanes* y, Lanes* out) {
    out[0] = y[0], out[TO] = y[0] + y[FROM], out[2 * TO] = y[0] - y[FROM], out[3 * TO] = -y[FROM];
}
template <int FROM, int TO> static INLINE void to_weights(const Lanes* u, Lanes* out) {
    const Lanes sum = (u[FROM] + u[2 * FROM]) * T(0.5);
    out[0] = u[0] + sum, out[TO] = (u[FROM] - u[2 * FROM]) * T(0.5), out[2 * TO] = sum + u[3 * FROM];
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
        for (int i = 0; i < K * M; i += LANES) {
            Lanes in[9], half[12], out[16];
#pragma GCC unroll 9
            for (int k = 0; k < 9; ++k) in[k] = Lanes::from(w + (BACK ? 8 - k : k) * K * M + i);
#pragma GCC unroll 3
            for (int c = 0; c < 3; ++c) of_weights<3, 3>(in + c, half + c);
#pragma GCC unroll 4
            for (int r = 0; r < 4; ++r) of_weights<1, 1>(half + 3 * r, out + 4 * r);
#pragma GCC unroll 16
            for (int p = 0; p < 16; ++p) out[p].to(u + p * U + i);
        }
    }

    void transform_inputs(int first, int count) {
        for (int t = 0; t < count; ++t) {
            const T* pixels[16];
            inputs.of(first + t, pixels);
            for (int k = 0; k < K; k += LANES) {
                Lanes in[16], half[16], out[16];
#pragma GCC unroll 16
                for (int p = 0; p < 16; ++p) in[p] = Lanes::from(pixels[p] + k);
#pragma GCC unroll 4
                for (int c = 0; c < 4; ++c) of_inputs<4, 4>(in + c, half + c);
#pragma GCC unroll 4
                for (int r = 0; r < 4; ++r) of_inputs<1, 1>(half + 4 * r, out + 4 * r);
#pragma GCC unroll 16
                for (int p = 0; p < 16; ++p) out[p].to(v + p * V + t * K + k);
            }
        }
    }

    void transform_outputs(int first, int count) {
        for (int t = 0; t < count; ++t) {
            T* pixels[4];
            outputs.of(first + t, pixels);
            for (int m = 0; m < M; m += LANES) {
                Lanes in[16], half[8], out[4];
#pragma GCC unroll 16
                for (int p = 0; p < 16; ++p) in[p] = Lanes::from(y + p * Y + t * M + m);
#pragma GCC unroll 4
                for (int c = 0; c < 4; ++c) to_outputs<4, 4>(in + c, half + c);
#pragma GCC unroll 2
                for (int r = 0; r < 2; ++r) to_outputs<1, 1>(half + 4 * r, out + 2 * r);
#pragma GCC unroll 4
                for (int p = 0; p < 4; ++p) out[p].to(pixels[p] + m);
            }
        }
    }

    void transform_gradients(int first, int count) {
        for (int t = 0; t < count; ++t) {
            const T* pixels[4];
            outputs.of(first + t, pixels);
            for (int m = 0; m < M; m += LANES) {
                Lanes in[4], half[8], out[16];
#pragma GCC unroll 4
                for (int p = 0; p < 4; ++p) in[p] = Lanes::from(pixels[p] + m);
#pragma GCC unroll 2
                for (int c = 0; c < 2; ++c) of_outputs<2, 2>(in + c, half + c);
#pragma GCC unroll 4
                for (int r = 0; r < 4; ++r) of_outputs<1, 1>(half + 2 * r, out + 4 * r);
#pragma GCC unroll 16
                for (int p = 0; p < 16; ++p) out[p].to(y + p * Y + t * M + m);
            }
        }
    }

    void gather_weights(T* w) {
        for (int i = 0; i < K * M; i += LANES) {
            Lanes in[16], half[12], out[9];
#pragma GCC unroll 16
            for (int p = 0; p < 16; ++p) in[p] = Lanes::from(u + p * U + i);
#pragma GCC unroll 4
            for (int c = 0; c < 4; ++c) to_weights<4, 4>(in + c, half + c);
#pragma GCC unroll 3
            for (int r = 0; r < 3; ++r) to_weights<1, 1>(half + 4 * r, out + 3 * r);
#pragma GCC unroll 9
            for (int k = 0; k < 9; ++k) out[k].to(w + k * K * M + i);
        }
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
