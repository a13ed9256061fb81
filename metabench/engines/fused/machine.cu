// The words of a GPU.
#define DEVICE static __device__ __forceinline__
#define APART static __device__ __noinline__
#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
#define PRAGMA(text) _Pragma(#text)
#define UNROLL PRAGMA(unroll)
#define UNROLL_BY(times) PRAGMA(unroll times)
#define __builtin_inf() __longlong_as_double(0x7ff0000000000000ll)
#define __builtin_nan(text) __longlong_as_double(0x7ff8000000000000ll)

typedef long long int64_t;

extern __shared__ __align__(16) T shared[];

DEVICE int thread() { return threadIdx.x; }
DEVICE int block() { return blockIdx.x; }
DEVICE int blocks() { return gridDim.x; }
DEVICE void barrier() { __syncthreads(); }
template <class Number> DEVICE Number fresh(const Number* place) { return __ldcg(place); }

// What the thread of the warp has that is `distance` away; all threads of the warp come here.
DEVICE T swapped(T value, int distance) { return __shfl_xor_sync(~0u, value, distance); }

DEVICE void publish() { __threadfence(); }
DEVICE unsigned raised(unsigned* count, unsigned by) { return atomicAdd(count, by); }
DEVICE unsigned now(const unsigned* count) { return *(const volatile unsigned*)count; }
