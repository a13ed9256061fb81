"""A processor in a GPU's place: the source of `fused` as C++, a thread of the system for each of its threads."""

import ctypes

import pytest
import torch

from metabench.algorithms.base import Algorithm
from metabench.engines import fused
from metabench.engines.fused import source
from metabench.engines.native.library import compiled
from metabench.engines.tracing import stage_of
from metabench.tensors import Params, Task, tensors_of

FLAGS = ("-O0", "-std=c++17", "-shared", "-fPIC", "-pthread", "-fno-strict-aliasing")
MACHINE = """
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <pthread.h>
#include <thread>
#include <vector>
using std::exp; using std::log; using std::log1p; using std::sqrt; using std::tanh; using std::fabs; using std::pow;

#define DEVICE static inline
#define APART static __attribute__((noinline))
#define KERNEL static void
#define UNROLL
#define UNROLL_BY(times)

constexpr int BLOCKS = 4;
static thread_local int own_thread, own_block;
static thread_local T* shared;
static int all_blocks;
static pthread_barrier_t inside[BLOCKS], pairs[BLOCKS][THREADS][THREADS];
static T slots[BLOCKS][THREADS];

DEVICE int thread() { return own_thread; }
DEVICE int block() { return own_block; }
DEVICE int blocks() { return all_blocks; }
DEVICE void barrier() { if (THREADS > 1) pthread_barrier_wait(&inside[own_block]); }
DEVICE void publish() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
DEVICE unsigned raised(unsigned* count, unsigned by) { return __atomic_fetch_add(count, by, __ATOMIC_SEQ_CST); }
DEVICE unsigned now(const unsigned* count) {
    std::this_thread::yield();
    return __atomic_load_n(count, __ATOMIC_SEQ_CST);
}
template <class Number> DEVICE Number fresh(const Number* place) { return *place; }
DEVICE T swapped(T value, int distance) {
    const int other = own_thread ^ distance;
    slots[own_block][own_thread] = value;
    pthread_barrier_t* const pair = &pairs[own_block][std::min(own_thread, other)][distance];
    pthread_barrier_wait(pair);
    const T found = slots[own_block][other];
    pthread_barrier_wait(pair);
    return found;
}
"""
RUN = """
extern "C" void run(const Arguments* given, int blocks, long bytes) {
    all_blocks = blocks;
    std::vector<std::thread> team;
    std::vector<T*> memories;
    for (int b = 0; b < blocks; ++b) {
        pthread_barrier_init(&inside[b], nullptr, THREADS);
        for (auto& row : pairs[b])
            for (auto& pair : row) pthread_barrier_init(&pair, nullptr, 2);
        T* const memory = (T*)std::aligned_alloc(64, (bytes + 63) / 64 * 64);
        for (long i = 0; i < bytes / long(sizeof(T)); ++i) memory[i] = T(1e30);
        memories.push_back(memory);
        for (int t = 0; t < THREADS; ++t)
            team.emplace_back([=] { own_block = b; own_thread = t; shared = memory; iterate(*given); });
    }
    for (auto& each : team) each.join();
    for (T* memory : memories) std::free(memory);
}
"""


class Processor:
    """A loaded function, as `device.Kernel` has it."""

    def __init__(self, text: str, shared: int, blocks: int) -> None:
        self.shared, self.most_blocks = shared, blocks
        self._run = compiled(text + RUN, FLAGS).run
        self._run.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_long]

    def launch(self, given: "ctypes.Array[ctypes.c_void_p]", blocks: int) -> None:
        self._run(given[0], blocks, self.shared)


def in_its_place(monkeypatch: pytest.MonkeyPatch, threads: int, blocks: int, capacity: int = 1 << 20) -> None:
    """Let `fused` run on the processor, with so many threads a block and bytes of shared memory."""

    def kernel(text: str, shared: int, threads: int, device: torch.device) -> Processor:
        return Processor(text, shared, blocks)

    monkeypatch.setattr(fused, "Kernel", kernel)
    monkeypatch.setattr(fused, "THREADS", threads)
    monkeypatch.setattr(fused, "most_shared", lambda device: capacity)
    monkeypatch.setattr(source, "GPU", MACHINE)
    fused._source_for.cache_clear()


def source_for(made: Algorithm, meta: Params, episodes: Task) -> source.Source:
    """What `fused` makes of an algorithm on the device at hand."""
    like = next(iter(meta.values()))
    task = tuple((tensor.shape[1:], tensor.dtype) for tensor in tensors_of(episodes))
    params = tuple((name, p.shape) for name, p in meta.items())
    capacity = fused.most_shared(like.device) // like.element_size()
    return fused._source_for(stage_of(made)[0], params, task, like.dtype, fused.THREADS, capacity)
