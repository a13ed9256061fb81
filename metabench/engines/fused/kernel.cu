// What comes before the generated statements: what formulas are written in, products of matrices, sums over blocks.
// Defined before: T (float or double), THREADS (of a block, a power of two), PARAMETERS, constants of the optimiser, and
// the words of the machine (DEVICE, UNROLL, thread(), block(), blocks(), barrier(), swapped(), fresh(), shared, and
// publish(), raised() and now() for the barrier of all blocks).

#define ME ((thread() - start) & (THREADS - 1))

#define COMPARISON(name, sign) DEVICE bool name(T a, T b) { return a sign b; }
COMPARISON(eq, ==)
COMPARISON(ne, !=)
COMPARISON(lt, <)
COMPARISON(le, <=)
COMPARISON(gt, >)
COMPARISON(ge, >=)

DEVICE T where(bool c, T a, T b) { return c ? a : b; }
DEVICE T where(T c, T a, T b) { return c != 0 ? a : b; }

DEVICE T exp_of(T a) { return exp(a); }
DEVICE T log_of(T a) { return log(a); }
DEVICE T log1p_of(T a) { return log1p(a); }
DEVICE T sqrt_of(T a) { return sqrt(a); }
DEVICE T tanh_of(T a) { return tanh(a); }
DEVICE T abs_of(T a) { return fabs(a); }
DEVICE T pow_of(T a, T b) { return pow(a, b); }

constexpr int WARP = THREADS < 32 ? THREADS : 32;

struct alignas(16) Four {
    T numbers[4];
};

// C numbers in line; four at once where they lie in a group of 4 (LINED: the first of them begins one).
template <int C, bool LINED> DEVICE void fetch_line(T (&to)[C], const T* from) {
    if constexpr (C == 4 && LINED) {
        const Four four = *(const Four*)from;
        UNROLL
        for (int c = 0; c < C; ++c) to[c] = four.numbers[c];
    } else {
        UNROLL
        for (int c = 0; c < C; ++c) to[c] = from[c];
    }
}

// Numbers of R rows and C columns.
template <int R, int C, int ROW, int COLUMN, bool LINED> DEVICE void fetch(T (&to)[R][C], const T* from) {
    if constexpr (COLUMN == 1) {
        UNROLL
        for (int r = 0; r < R; ++r) fetch_line<C, LINED && ROW % 4 == 0>(to[r], from + r * ROW);
    } else if constexpr (R == 4 && ROW == 1 && COLUMN % 4 == 0 && LINED) {
        UNROLL
        for (int c = 0; c < C; ++c) {
            const Four four = *(const Four*)(from + c * COLUMN);
            UNROLL
            for (int r = 0; r < R; ++r) to[r][c] = four.numbers[r];
        }
    } else {
        UNROLL
        for (int r = 0; r < R; ++r) {
            UNROLL
            for (int c = 0; c < C; ++c) to[r][c] = from[r * ROW + c * COLUMN];
        }
    }
}

// Adds C products to each sum of a tile of TM rows and TN columns.
template <int TM, int TN, int C> DEVICE void multiply(T (&sums)[TM][TN], const T (&left)[TM][C], const T (&right)[TN][C]) {
    UNROLL
    for (int c = 0; c < C; ++c) {
        UNROLL
        for (int m = 0; m < TM; ++m) {
            UNROLL
            for (int n = 0; n < TN; ++n) sums[m][n] += left[m][c] * right[n][c];
        }
    }
}

template <int TM, int TN, int C, int A0, int A1, int B0, int B1, bool LINED_A, bool LINED_B>
DEVICE void add(T (&sums)[TM][TN], const T* a, const T* b) {
    T left[TM][C], right[TN][C];
    fetch<TM, C, A0, A1, LINED_A>(left, a);
    fetch<TN, C, B1, B0, LINED_B>(right, b);
    multiply(sums, left, right);
}

// The sums of four lanes: each lane is left with the sums of its own column, in the first place.
template <int TM, int TN> DEVICE void share_columns(T (&sums)[TM][TN], int lane) {
    UNROLL
    for (int width = TN / 2; width > 0; width /= 2) {
        const bool upper = lane & width;
        UNROLL
        for (int m = 0; m < TM; ++m) {
            UNROLL
            for (int n = 0; n < width; ++n) {
                const T mine = upper ? sums[m][n + width] : sums[m][n], other = upper ? sums[m][n] : sums[m][n + width];
                sums[m][n] = mine + swapped(other, width);
            }
        }
    }
}

// A matrix of M rows and N columns, handed to `use` number by number. A thread holds the sums of a tile of TM by TN in
// registers, or four threads hold a tile; `sum` adds its lane's part to them. Rows of a tile are ROW apart, and columns
// COLUMN. Warps stay together, since their threads exchange numbers: one that has no tile goes along with the first.
template <int M, int N, int TM, int TN, int ROW, int COLUMN, int LANES, class Sum, class Use>
DEVICE void tiles(int me, Sum sum, Use use) {
    constexpr int ACROSS = N / TN, COUNT = M / TM * ACROSS;
    const int lane = me % LANES;
    for (int at = me / WARP * WARP; at < COUNT * LANES; at += THREADS) {
        const int wanted = (at + me % WARP) / LANES, tile = wanted < COUNT ? wanted : 0;
        const int down = tile / ACROSS, across = tile % ACROSS;
        const int m = down / ROW * ROW * TM + down % ROW, n = across / COLUMN * COLUMN * TN + across % COLUMN;
        T sums[TM][TN] = {};
        sum(sums, m, n, lane);
        if constexpr (LANES > 1) share_columns(sums, lane);
        if (wanted != tile) continue;
        UNROLL
        for (int i = 0; i < TM; ++i) {
            UNROLL
            for (int j = 0; j < TN / LANES; ++j) use(m + i * ROW, n + lane + j * COLUMN, sums[i][j]);
        }
    }
}

// a (M, K) times b (K, N). Rows and columns of a tile are spread, so that threads side by side read and write side by
// side. Where four threads hold a tile, each has every fourth part of K.
template <int M, int N, int K, int A0, int A1, int B0, int B1, int TM, int TN, int LANES, bool LINED_A, bool LINED_B,
          class Use>
DEVICE void product(int me, const T* a, const T* b, Use use) {
    constexpr int ROW = M / TM, COLUMN = LANES > 1 ? 1 : N / TN;
    constexpr bool A = LINED_A && A0 % 4 == 0, B = LINED_B && ((B1 == 1 && COLUMN == 1) || B1 % 4 == 0);
    constexpr int STEP = A1 == 1 || B0 == 1 ? 4 : 1, STEPS = K / STEP;
    const auto sum = [=](T (&sums)[TM][TN], int m, int n, int lane) {
        const T *left = a + m * A0, *right = b + n * B1;
        UNROLL_BY(16)
        for (int i = 0; i < STEPS; i += LANES) {
            const int k = (i + lane) * STEP;
            if (i + LANES <= STEPS || i + lane < STEPS)
                add<TM, TN, STEP, A0 * ROW, A1, B0, B1 * COLUMN, A, B>(sums, left + k * A1, right + k * B0);
        }
        if constexpr (K % STEP != 0) {
            constexpr int k = STEPS * STEP;
            if (lane == STEPS % LANES)
                add<TM, TN, K % STEP, A0 * ROW, A1, B0, B1 * COLUMN, A, B>(sums, left + k * A1, right + k * B0);
        }
    };
    tiles<M, N, TM, TN, ROW, COLUMN, LANES>(me, sum, use);
}

// The sum over lanes, which all of them get.
template <int LANES> DEVICE T over_lanes(T sum) {
    UNROLL
    for (int distance = LANES / 2; distance > 0; distance /= 2) sum += swapped(sum, distance);
    return sum;
}

struct Arguments {
    T *theta, *mean, *square, *loss, *work;
    unsigned* ticket;
    const void* episodes[5];
    double rate, clip, size, root, epsilon;
    int tasks;
};

// A barrier of all blocks, which run at once: the last one to come turns the highest bit round.
DEVICE void everyone(unsigned* ticket) {
    barrier();
    if (thread() == 0) {
        const unsigned top = 1u << 31;
        publish();
        const unsigned before = raised(ticket, block() == 0 ? top - (blocks() - 1) : 1);
        while (((before ^ now(ticket)) & top) == 0) {}
        publish();
    }
    barrier();
}

// What a block's threads hold for the outer update: each of some threads has parameters of its own.
struct Slice {
    int begin, end, columns, groups, column, group;
};

DEVICE Slice slice_of_block() {
    const int size = (PARAMETERS + blocks()) / blocks(), begin = block() * size;
    const int columns = size < THREADS ? size : THREADS;
    const int end = begin + size < PARAMETERS + 1 ? begin + size : PARAMETERS + 1;
    return {begin, end, columns, THREADS / columns, thread() % columns, thread() / columns};
}

// The means over tasks of this block's slice, in `mean`; gives the sum of the squares of this thread's own. Sums are
// always taken in the same order, so that equal calls give equal results.
DEVICE T mean_over_tasks(const Slice& own, const Arguments& given, const T* lines, T* mean, int width) {
    T squares = 0;
    for (int from = own.begin; from < own.end; from += own.columns) {
        const int place = from + own.column;
        const bool mine = own.group < own.groups && place < own.end;
        T sum = 0;
        if (mine) {
            UNROLL_BY(8)
            for (int line = own.group; line < blocks(); line += own.groups)
                sum += fresh(lines + int64_t(line) * width + place);
        }
        barrier();
        shared[thread()] = sum;
        barrier();
        if (mine && own.group == 0) {
            sum = 0;
            for (int group = 0; group < own.groups; ++group) sum += shared[group * own.columns + own.column];
            sum /= given.tasks;
            if (place < PARAMETERS) squares += sum * sum;
            else *given.loss = sum;
            mean[place] = sum;
        }
    }
    return squares;
}

// What the direction is multiplied by, so that its norm is `clip` at most.
DEVICE T clipping(const Slice& own, const Arguments& given, T squares, T* norms) {
    barrier();
    shared[thread()] = squares;
    barrier();
    if (thread() == 0) {
        T sum = 0;
        for (int i = 0; i < own.columns; ++i) sum += shared[i];
        norms[block()] = sum;
    }
    everyone(given.ticket);
    double sum = 0;
    UNROLL_BY(8)
    for (int i = 0; i < blocks(); ++i) sum += fresh(norms + i);
    const double share = given.clip / (sqrt(sum) + CLIP_EPSILON);
    return share < 1 ? T(share) : T(1);
}

// The mean over tasks, clipping and the outer update, spread over all blocks.
DEVICE void update(const Arguments& given, const T* lines, T* mean, T* norms, int width) {
    const Slice own = slice_of_block();
    everyone(given.ticket);
    const T squares = mean_over_tasks(own, given, lines, mean, width);
    const T factor = given.clip > 0 ? clipping(own, given, squares, norms) : T(1);
    if (own.group > 0) return;
    for (int i = own.begin + own.column; i < own.end && i < PARAMETERS; i += own.columns) {
        const T g = factor * mean[i];
        if (!given.mean) {
            given.theta[i] -= T(given.rate) * g;
            continue;
        }
        const T first = given.mean[i] + T(1 - BETA1) * (g - given.mean[i]);
        const T second = T(BETA2) * given.square[i] + T(1 - BETA2) * g * g;
        given.mean[i] = first;
        given.square[i] = second;
        given.theta[i] -= T(given.size) * first / (sqrt(second) / T(given.root) + T(given.epsilon));
    }
}
