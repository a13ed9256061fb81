"""`native`: a meta-iteration as one C++ function, made for an algorithm, its network and the shape of its tasks.

The direction of a task is traced and written out as loops of known sizes (`code`), compiled by the C++ compiler at
hand, and run for all tasks of the meta-batch, spread over the threads; the outer update follows in the same call. A
compiler of tensor programs calls something for each operation; here the processor runs from the first task to the last
without leaving the function.
"""

import ctypes
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate, pairwise
from pathlib import Path

import torch
from torch import Tensor
from torch.fx import GraphModule

from metabench.algorithms.base import Algorithm
from metabench.autodiff import FUNCTIONAL
from metabench.engines.base import ENGINES, Engine, Iteration, by_unit_descent
from metabench.engines.compiler import compiler
from metabench.engines.flat import Episodes, Flat
from metabench.engines.native.abreast import for_tasks, rows_of, wide_bytes
from metabench.engines.native.factors import factored
from metabench.engines.native.images import KEPT
from metabench.engines.native.library import compiled, kept_libraries
from metabench.engines.native.repeats import Repeats
from metabench.engines.native.writing import written
from metabench.engines.outer import BETA1, BETA2, CLIP_EPSILON, Outer
from metabench.engines.pages import working_memory
from metabench.engines.tracing import Stage, direction_of_tensors, traced
from metabench.errors import Unsupported
from metabench.tensors import Params

FILES = ("elements", "products", "convolutions", "winograd", "repeats")
KERNELS = [Path(__file__).with_name(f"{name}.cpp") for name in FILES]
IN_A_HURRY = ("-fno-gcse", "-fno-gcse-after-reload")
"""Passes that are left out: they took half of the time on a long function, and gained nothing."""
FLAGS = ("-O3", "-std=c++17", "-fopenmp", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math", *IN_A_HURRY)
C_TYPES = {torch.float32: "float", torch.float64: "double"}

TASKS = """
        for (int i = {first} + {turn} * {abreast}; i < {end}; i += crowd * {abreast}) {{
            const void* task[{abreast} * {parts}];
            for (int p = 0; p < {abreast} * {parts}; ++p)
                task[p] = (const char*)episodes[p % {parts}] + (i + p / {parts}) * sizes[p % {parts}];
            row{abreast}::direction(meta, task, sum, scratch);
        }}"""
"""The directions of the tasks from `first` to `end`, so many abreast. Threads take turns."""
ITERATE = """
extern "C" int iterate(T* theta, T* mean, T* square, const void* const* episodes, T* work, double rate, double clip,
                       double epsilon, double done, int tasks, double* loss) {{
    const T* meta[] = {{{meta}}};
    static const int64_t sizes[] = {{{sizes}}};
    T* const sums = work + int64_t({threads}) * {scratch};
    int ran = 1;
#pragma omp parallel num_threads({threads}) if ({threads} > 1)
    {{
        const int me = omp_get_thread_num(), crowd = omp_get_num_threads();
        if (me == 0) ran = crowd;
        T* const scratch = work + int64_t(me) * {scratch};
        T* const sum = sums + int64_t(me) * {width};
        std::memset(sum, 0, sizeof(T) * {width});
{directions}
    }}
    if (ran != {threads}) return ran;  // nobody wrote the sums of the others
    for (int t = 1; t < {threads}; ++t)
        for (int i = 0; i < {width}; ++i) sums[i] += sums[int64_t(t) * {width} + i];
    const T share = T(1) / tasks;
    T norm = 0;
    for (int i = 0; i < {parameters}; ++i) {{ sums[i] *= share; norm += sums[i] * sums[i]; }}
    *loss = sums[{parameters}] * share;
    if (clip > 0) {{
        const T factor = std::min(T(1), T(clip / (std::sqrt(double(norm)) + {clip_epsilon})));
        for (int i = 0; i < {parameters}; ++i) sums[i] *= factor;
    }}
    if (!mean) {{
        for (int i = 0; i < {parameters}; ++i) theta[i] -= T(rate) * sums[i];
        return ran;
    }}
    const T size = T(rate / (1 - std::pow({beta1}, done + 1))), root = T(std::sqrt(1 - std::pow({beta2}, done + 1)));
    for (int i = 0; i < {parameters}; ++i) {{
        mean[i] += T(1 - {beta1}) * (sums[i] - mean[i]);
        square[i] = T({beta2}) * square[i] + T(1 - {beta2}) * sums[i] * sums[i];
        theta[i] -= size * mean[i] / (std::sqrt(square[i]) / root + T(epsilon));
    }}
    return ran;
}}
"""
"""One meta-iteration; it returns how many threads ran, and has updated nothing where these are too few."""


def start(algorithm: Algorithm, meta: Params, outer: Outer) -> Iteration:
    """Whole iterations; the first of them compiles."""
    like = next(iter(meta.values()))
    if like.device.type != "cpu":
        raise Unsupported("native is made of the processor's instructions: on a GPU use compile")
    if like.dtype not in C_TYPES:
        raise Unsupported(f"native computes in float32 and float64, not in {like.dtype}: use loop or compile")
    compiler("native")
    if algorithm.checkpoint:
        raise Unsupported("native keeps what its compiler chooses: checkpoint has no say; use loop, vmap or compile")
    return Iterations(replace(algorithm, autodiff=FUNCTIONAL), meta, outer)


class Iterations(Flat):
    """Whole meta-iterations: one call of a compiled function each."""

    def __init__(self, algorithm: Algorithm, meta: Params, outer: Outer) -> None:
        super().__init__("native", algorithm, meta, outer)
        self.functions: dict[object, Function] = {}
        self.loss = ctypes.c_double()
        # With few steps kept, memory counts, and inner steps are functions of one task.
        self.wide = 0 if algorithm.kept_steps else wide_bytes(self.meta)

    def run(self, episodes: Episodes) -> dict[str, float]:
        key = episodes.signature, torch.get_num_threads(), episodes.tasks if self.wide else 0
        if key not in self.functions:
            self.functions[key] = Function(self.stage, self.meta, episodes, self.wide)
        function, outer = self.functions[key], self.outer
        ran = function.iterate(
            *(*self.pointers[:3], episodes.pointers, function.work.data_ptr()),
            *(outer.lr * outer.factor(self.count), outer.clip, outer.epsilon, self.count, episodes.tasks, self.loss),
        )
        if ran != function.threads:
            raise Unsupported(
                f"native was made for {function.threads} threads, and OpenMP gives it {ran}: "
                f"unset OMP_THREAD_LIMIT and OMP_DYNAMIC, or take threads = {ran}"
            )
        self.count += 1
        return {"loss": self.loss.value}

    def wait(self) -> None:
        """Return at once: each iteration is done when its call returns."""

    @property
    def held(self) -> int:
        return sum(function.work.nbytes for function in self.functions.values())


class Function:
    """The compiled `iterate` for one algorithm and one shape of tasks, and the memory that it works in.

    With many bytes of wide matrices, it is for so many tasks as well.
    """

    def __init__(self, stage: Stage, meta: Params, episodes: Episodes, wide: int) -> None:
        self.threads, like = torch.get_num_threads(), next(iter(meta.values()))
        rows = rows_of(episodes.tasks, self.threads, wide)
        shapes, parts = tuple((name, p.shape) for name, p in meta.items()), len(episodes.tensors)
        bodies = [body_for(stage, shapes, episodes.signature, number) for number in rows]
        scratch = max(numbers for _, numbers in bodies)
        ends = [f"tasks / {rows[0]} * {rows[0]}", "tasks"]
        spaces = [f"namespace row{number} {{ {body} }}" for number, (body, _) in zip(rows, bodies, strict=True)]
        turns = ["me", "(crowd - 1 - me)"]  # tasks that are left are for the threads that had fewer
        directions = [
            TASKS.format(first=first, turn=turn, end=end, abreast=number, parts=parts)
            for (first, end), turn, number in zip(pairwise(["0", *ends]), turns, rows, strict=False)
        ]
        starts = list(accumulate((p.numel() for p in meta.values()), initial=0))
        parameters = starts.pop()
        starts += range(parameters, parameters + len(stage.scheduled))
        width = -(-(parameters + 1) // 16) * 16
        source = "\n".join(
            [
                f"typedef {C_TYPES[like.dtype]} T;",
                *(kernel.read_text(encoding="utf-8") for kernel in KERNELS),
                *spaces,
                ITERATE.format(
                    directions="".join(directions),
                    meta=", ".join(f"theta + {start}" for start in starts),
                    sizes=", ".join(str(t[0].numel() * t.element_size()) for t in episodes.tensors),
                    threads=self.threads,
                    scratch=scratch,
                    width=width,
                    parameters=parameters,
                    beta1=BETA1,
                    beta2=BETA2,
                    clip_epsilon=CLIP_EPSILON,
                ),
            ]
        )
        self.work = working_memory(self.threads * (scratch + width), like)
        self.iterate = compiled(source, FLAGS).iterate
        pointer, real = ctypes.c_void_p, ctypes.c_double
        self.iterate.argtypes = [*[pointer] * 5, *[real] * 4, ctypes.c_int, ctypes.POINTER(real)]
        self.iterate.restype = ctypes.c_int


@lru_cache(maxsize=8)
def body_for(
    stage: Stage,
    params: tuple[tuple[str, torch.Size], ...],
    task: tuple[tuple[torch.Size, torch.dtype], ...],
    tasks: int = 1,
) -> tuple[str, int]:
    """The C++ of a direction, and how many numbers of scratch it takes: the same whatever the precision.

    It is the sum of the directions of so many tasks.
    """
    repeats = Repeats()
    autodiff = stage.algorithm.autodiff._replace(repeating=repeats)
    stage = replace(stage, algorithm=replace(stage.algorithm, autodiff=autodiff))
    graph, inputs = direction_of(stage, params, task)
    shared = len(params) + len(stage.scheduled)
    inputs += inputs[shared:] * (tasks - 1)
    return written(for_tasks(factored(graph), shared, tasks), inputs, shared, len(params), repeats.met)


def direction_of(
    stage: Stage, params: tuple[tuple[str, torch.Size], ...], task: tuple[tuple[torch.Size, torch.dtype], ...]
) -> tuple[GraphModule, list[Tensor]]:
    """The traced direction of a task, and inputs like its own: parameters, the stage's numbers, the task's tensors."""
    inputs = [torch.zeros(shape, dtype=torch.float64) for _, shape in params]
    inputs += [torch.zeros((), dtype=torch.float64) for _ in stage.scheduled]
    inputs += [torch.zeros(shape, dtype=dtype if dtype == torch.int64 else torch.float64) for shape, dtype in task]
    return traced(direction_of_tensors(stage, [name for name, _ in params]), inputs, KEPT), inputs


ENGINES.register("native")(
    Engine(
        "a whole meta-iteration as one C++ function, made for the network and the tasks",
        by_unit_descent(start),
        start,
        compiles=True,
        kept=kept_libraries,
        autocasts=False,
    )
)
