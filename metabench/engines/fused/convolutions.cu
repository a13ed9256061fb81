// Convolutions as products: a matrix of images, read where it lies, times a matrix of weights or of images. Images are
// (N, H, W, C), weights (KH, KW, CI, CO); rows of a result are all but its last dimension.

enum Role { OUTPUT, INPUT, WEIGHT };

// The pixel that a pixel of the result is computed from through a place of the kernel, or -1 if there is none.
template <Role role, int H, int W, int OH, int OW, int S, int D, int P> DEVICE int reached(int pixel, int kh, int kw) {
    if constexpr (role == OUTPUT) {
        const int h = pixel / OW % OH * S + kh * D - P, w = pixel % OW * S + kw * D - P;
        return h >= 0 && h < H && w >= 0 && w < W ? (pixel / (OH * OW) * H + h) * W + w : -1;
    } else {
        const int h = pixel / W % H + P - kh * D, w = pixel % W + P - kw * D;
        const bool there = h >= 0 && h % S == 0 && h / S < OH && w >= 0 && w % S == 0 && w / S < OW;
        return there ? (pixel / (H * W) * OH + h / S) * OW + w / S : -1;
    }
}

// Images from images `a` and weights `b`: y from x, or x from y and weights that are (KH, KW, CO, CI). Rows of a tile
// are spread, which often gives one pixel of several images: it is reached or not in all of them. Four threads that
// hold a tile have every fourth part of the channels.
template <Role role, int N, int H, int W, int CI, int OH, int OW, int CO, int KH, int KW, int S, int D, int P, int TM,
          int TN, int LANES, bool LINED_A, bool LINED_B, class Use>
DEVICE void images(int me, const T* a, const T* b, Use use) {
    constexpr int FROM = role == OUTPUT ? CI : CO, TO = role == OUTPUT ? CO : CI, STEP = FROM % 4 == 0 ? 4 : 1;
    constexpr int M = N * (role == OUTPUT ? OH * OW : H * W), ROW = M / TM;
    const auto sum = [=](T (&sums)[TM][TN], int m, int n, int lane) {
        for (int tap = 0; tap < KH * KW; ++tap) {
            int from[TM];
            bool any = false;
            UNROLL
            for (int r = 0; r < TM; ++r) {
                from[r] = reached<role, H, W, OH, OW, S, D, P>(m + r * ROW, tap / KW, tap % KW);
                any = any || from[r] >= 0;
            }
            if (!any) continue;
            UNROLL_BY(2)
            for (int k = lane * STEP; k < FROM; k += LANES * STEP) {
                T left[TM][STEP] = {}, right[TN][STEP];
                UNROLL
                for (int r = 0; r < TM; ++r)
                    if (from[r] >= 0) fetch_line<STEP, LINED_A>(left[r], a + from[r] * FROM + k);
                fetch<TN, STEP, 1, TO, LINED_B>(right, b + (tap * FROM + k) * TO + n);
                multiply(sums, left, right);
            }
        }
    };
    tiles<M, TO, TM, TN, ROW, 1, LANES>(me, sum, use);
}

// Weights from x and y. A tile is of one place of the kernel; four threads that hold one have every fourth line.
template <int N, int H, int W, int CI, int OH, int OW, int CO, int KH, int KW, int S, int D, int P, int TM, int TN,
          int LANES, bool LINED_A, bool LINED_B, class Use>
DEVICE void weights(int me, const T* a, const T* b, Use use) {
    constexpr bool A = LINED_A && CI % 4 == 0;
    const auto sum = [=](T (&sums)[TM][TN], int m, int n, int lane) {
        const int kh = m / CI / KW, kw = m / CI % KW, before = P - kw * D, after = W - 1 + before;
        const int low = before > 0 ? (before + S - 1) / S : 0;
        const int high = after < 0 ? 0 : after / S < OW ? after / S + 1 : OW;
        for (int line = lane; line < N * OH; line += LANES) {
            const int h = line % OH * S + kh * D - P;
            if (h < 0 || h >= H) continue;
            const T* const x = a + ((line / OH * H + h) * W - before) * CI + m % CI;
            const T* const y = b + line * OW * CO + n;
            UNROLL_BY(4)
            for (int w = low; w < high; ++w) add<TM, TN, 1, 1, CI, CO, 1, A, LINED_B>(sums, x + w * S * CI, y + w * CO);
        }
    };
    tiles<KH * KW * CI, CO, TM, TN, 1, 1, LANES>(me, sum, use);
}
