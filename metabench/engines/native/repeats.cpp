// Inner steps that are all alike, in a loop, and the way back through them with few of their states kept. A struct S says
// what a step is: `S::advance` writes the state after it, and `S::pull_back` the cotangents of the state before it, behind
// which it adds to those of what is given to all steps. A state is one line of `S::width` numbers.
#include <initializer_list>

typedef const void* const* Given;

// The places of a line's tensors.
template <class S> struct Places {
    const T* at[S::parts];
    explicit Places(const T* line) {
        for (int i = 0; i < S::parts; ++i) at[i] = line + S::starts[i];
    }
};

// So many steps, at least one. `other` is a line to work in.
template <class S> static void steps_of(const T* from, T* to, int steps, Given given, T* other, T* scratch) {
    for (int left = steps; left > 0; --left) {
        T* const next = left % 2 ? to : other;
        S::advance(Places<S>(from).at, given, next, scratch);
        from = next;
    }
}

// How many of the steps are computed again, where `kept` states are kept at once (Griewank and Walther 2000).
static int computed_again(int steps, int kept) {
    if (kept == 1) return steps - 1;
    int64_t reached = kept;  // C(kept - 1 + times, times)
    int times = 1;
    for (; reached < steps; ++times) reached = reached * (kept + times) / (times + 1);
    const int64_t alone = reached * (kept - 1) / (kept - 1 + times);  // C(kept - 2 + times, times)
    return steps - int(std::min<int64_t>(steps - 1, alone));
}

template <class S> static void there(const T* from, T* to, std::initializer_list<const void*> given, T* work) {
    steps_of<S>(from, to, S::steps, given.begin(), work, work + S::width);
}

// The way there that leaves in `places` the states with which the way back begins.
template <class S>
static void there(const T* from, T* to, std::initializer_list<const void*> given, T* work, T* places) {
    int steps = S::steps, kept = S::kept;
    for (; steps > 1; places += S::width, kept = std::max(kept - 1, 1)) {
        const int next = steps > kept ? computed_again(steps, kept) : 1;
        steps_of<S>(from, places, next, given.begin(), work, work + S::width);
        from = places;
        steps -= next;
    }
    steps_of<S>(from, to, steps, given.begin(), work, work + S::width);
}

// Back through the steps from a state. `line` has the cotangents of the state after them, and gets those before them.
// `places` are for the states that are kept, and have the first of them if they `are_there`.
template <class S>
static void back_from(
    const T* state, int steps, int kept, Given given, T* line, T* places, bool are_there, T* work, T* scratch
) {
    while (steps > kept) {
        const int again = computed_again(steps, kept), fewer = std::max(kept - 1, 1);
        if (!are_there) steps_of<S>(state, places, again, given, work, scratch);
        back_from<S>(places, steps - again, fewer, given, line, places + S::width, are_there, work, scratch);
        are_there = false;
        steps = again;
    }
    auto before = [&](int step) { return step ? places + (step - 1) * S::width : state; };
    for (int i = 0; i + 1 < steps && !are_there; ++i)
        S::advance(Places<S>(before(i)).at, given, places + i * S::width, scratch);
    for (int i = steps - 1; i >= 0; --i) {
        std::memcpy(work, line, sizeof(T) * S::width);
        const T* parts[2 * S::parts];
        for (int p = 0; p < S::parts; ++p) parts[p] = before(i) + S::starts[p], parts[S::parts + p] = work + S::starts[p];
        S::pull_back(parts, given, line, scratch);
    }
}

// `line` has the cotangents of the last state in the beginning, and room for what is added up behind them.
template <class S>
static void back(const T* from, T* line, std::initializer_list<const void*> given, T* work, T* places, bool are_there) {
    std::memset(line + S::width, 0, sizeof(T) * S::added);
    back_from<S>(from, S::steps, S::kept, given.begin(), line, places, are_there, work, work + S::width);
}
