// What comes before every generated function. T is defined before: float or double.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <omp.h>
#include <type_traits>

// GCC 12 otherwise drops stores into what such a function reads: its analysis of who reads what is at fault.
#define ALONE __attribute__((noipa))

// The bytes of a vector register of the processor that is compiled for, and how many such registers it has. Longer
// vectors and more sums at once would lie in memory, where a step takes eight to eleven times as long.
#if defined(__AVX512F__)
#define BYTES 64
constexpr int REGISTERS = 32;
#elif defined(__AVX__)
#define BYTES 32
constexpr int REGISTERS = 16;
#elif defined(__aarch64__)
#define BYTES 16
constexpr int REGISTERS = 32;
#else
#define BYTES 16
constexpr int REGISTERS = 16;
#endif

// What formulas are written in: the same words for a number and for a vector of numbers.
constexpr int LANES = BYTES / int(sizeof(T));

struct Mask;

struct Lanes {
    typedef T Register __attribute__((vector_size(BYTES)));
    typedef T Memory __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias));
    Register v;
    Lanes() = default;
    Lanes(Register v) : v(v) {}
    Lanes(T number) : v(number - Register{}) {}
    inline Lanes(Mask mask);
    static Lanes from(const T* place) { return Register(*(const Memory*)place); }
    void to(T* place) const { *(Memory*)place = v; }
    friend Lanes operator+(Lanes a, Lanes b) { return a.v + b.v; }
    friend Lanes operator-(Lanes a, Lanes b) { return a.v - b.v; }
    friend Lanes operator*(Lanes a, Lanes b) { return a.v * b.v; }
    friend Lanes operator/(Lanes a, Lanes b) { return a.v / b.v; }
    friend Lanes operator-(Lanes a) { return -a.v; }
};

struct Mask {
    typedef decltype(Lanes::Register{} < Lanes::Register{}) Register;
    Register v;
};

Lanes::Lanes(Mask mask) : v(mask.v ? Lanes(T(1)).v : Lanes(T(0)).v) {}

#define COMPARISON(name, sign) \
    static inline bool name(T a, T b) { return a sign b; } \
    static inline Mask name(Lanes a, Lanes b) { return {a.v sign b.v}; }
COMPARISON(eq, ==)
COMPARISON(ne, !=)
COMPARISON(lt, <)
COMPARISON(le, <=)
COMPARISON(gt, >)
COMPARISON(ge, >=)

static inline bool either(bool a, bool b) { return a || b; }
static inline Mask either(Mask a, Mask b) { return {a.v | b.v}; }

static inline T where(bool c, T a, T b) { return c ? a : b; }
static inline T where(T c, T a, T b) { return c != 0 ? a : b; }
static inline Lanes where(Mask c, Lanes a, Lanes b) { return c.v ? a.v : b.v; }
static inline Lanes where(Lanes c, Lanes a, Lanes b) { return where(ne(c, T(0)), a, b); }

#define FUNCTION(name) \
    static inline T name##_of(T a) { return std::name(a); } \
    static inline Lanes name##_of(Lanes a) { \
        for (int i = 0; i < LANES; ++i) a.v[i] = std::name(a.v[i]); \
        return a; \
    }
FUNCTION(exp)
FUNCTION(log)
FUNCTION(log1p)
FUNCTION(sqrt)
FUNCTION(tanh)
FUNCTION(abs)

static inline T pow_of(T a, T b) { return std::pow(a, b); }
static inline Lanes pow_of(Lanes a, Lanes b) {
    for (int i = 0; i < LANES; ++i) a.v[i] = std::pow(a.v[i], b.v[i]);
    return a;
}
