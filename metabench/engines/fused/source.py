"""The source of a meta-iteration: CUDA, or C++ for a processor that plays the GPU's part."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.fx import GraphModule

from metabench.engines.fused.kernel import Kernel
from metabench.engines.fused.memory import Lifetime, Plan, planned
from metabench.engines.fused.statements import Pieces
from metabench.engines.native.value import Value, row_major
from metabench.engines.native.writing import filled, strides_held
from metabench.engines.outer import BETA1, BETA2, CLIP_EPSILON

FOLDER = Path(__file__).parent
GPU = (FOLDER / "machine.cu").read_text(encoding="utf-8")
COMMON = [(FOLDER / name).read_text(encoding="utf-8") for name in ("kernel.cu", "convolutions.cu")]
WARP = 32
"""Threads that run together; numbers in a line of the cache, too."""
MOST_THREADS = 1024
"""Threads on a multiprocessor at once: each has 64 registers then."""
RESERVED = 256
"""Numbers of shared memory that a block takes besides its own: 1 KiB of float32."""
AT_ONCE = 24
"""Numbers that a thread asks for before it writes the first one down."""
FOREVER = 1 << 30
"""The last level of what is kept from one task to the next."""

ITERATE = """
KERNEL iterate(const Arguments given) {{
    T* const out = given.work + int64_t(block()) * {width};
    T* const mean = given.work + int64_t(blocks()) * {width};
    T* const norms = mean + {width};
    T* const spill = norms + (blocks() + 31) / 32 * 32 + int64_t(block()) * {spilled};
    const int start = 0;
{meta}
    for (int task = block(); task < given.tasks; task += blocks()) {{
        const bool first = task == block();
{task}
        barrier();
{levels}
    }}
    update(given, given.work, mean, norms, {width});
}}
"""


class Input(NamedTuple):
    """A tensor that a direction is computed from: a meta-parameter, or a part of a task."""

    name: str
    element: str
    """The C++ of an element, with its number left open."""
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Source:
    """The text of a meta-iteration, and what it needs. Sizes are in numbers."""

    text: str
    shared: int
    """Shared memory of a block."""
    width: int
    """A block's line of sums: the direction and the loss, and what fills up the line."""
    spilled: int
    """What a block has in the GPU's memory."""

    def work(self, blocks: int) -> int:
        """Work space of so many blocks, in the GPU's memory."""
        return blocks * (self.width + self.spilled) + self.width + _filled_up(blocks)


def source_of(
    graph: GraphModule,
    params: int,
    scheduled: int,
    inputs: Sequence[Tensor],
    number: str,
    threads: int,
    capacity: int,
) -> Source:
    """The source for a traced direction of `inputs` like these: so many parameters, numbers of the stage, and a task.

    Raises `Unsupported` for an operation that it does not have.
    """
    shared = params + scheduled
    meta, task = _parameters(inputs[:shared]), _parts_of_a_task(inputs[shared:], shared)
    kernel = Kernel(threads)
    held = [Value(each.name, each.shape, strides_held(each.shape)) for each in meta]
    filled(graph, kernel, [*held, *(Value(each.name, each.shape, row_major(each.shape)) for each in task)], params)
    plan = plan_of(kernel, meta, task, capacity)
    pieces = Pieces(plan.places)
    levels = _levels(kernel, pieces, threads)
    parameters, shared = sum(each.size for each in meta[:params]), max(plan.shared, threads)
    width = _filled_up(parameters + 1)
    constants = {
        "THREADS": threads,
        "RESIDENT": _resident(shared, capacity, threads),
        "PARAMETERS": parameters,
        "BETA1": BETA1,
        "BETA2": BETA2,
        "CLIP_EPSILON": CLIP_EPSILON,
    }
    iterate = ITERATE.format(
        width=width,
        spilled=plan.spilled,
        meta=_loads(meta, plan, threads),
        task=_loads(task, plan, threads),
        levels="\n".join(levels),
    )
    defined = [f"#define {name} {value!r}" for name, value in constants.items()]
    text = "\n".join([f"typedef {number} T;", *defined, GPU, *COMMON, *pieces.functions(), iterate])
    return Source(text, shared, width, plan.spilled)


def _filled_up(numbers: int) -> int:
    """Numbers in whole lines of the cache."""
    return -(-numbers // WARP) * WARP


def _parameters(tensors: Sequence[Tensor]) -> list[Input]:
    """The meta-parameters, which lie one after the other."""
    starts = accumulate((tensor.numel() for tensor in tensors), initial=0)
    return [
        Input(f"in{i}", f"given.theta[{start} + {{}}]", tuple(tensor.shape))
        for i, (tensor, start) in enumerate(zip(tensors, starts, strict=False))
    ]


def _parts_of_a_task(tensors: Sequence[Tensor], params: int) -> list[Input]:
    """The tensors of a task, each of which lies among those of all tasks; indices become numbers like all others."""
    found = []
    for i, tensor in enumerate(tensors):
        kind = "int64_t" if tensor.dtype == torch.int64 else "T"
        element = f"((const {kind}*)given.episodes[{i}])[int64_t(task) * {tensor.numel()} + {{}}]"
        found.append(Input(f"in{params + i}", element, tuple(tensor.shape)))
    return found


def _resident(shared: int, capacity: int, threads: int) -> int:
    """Blocks that are to run on a multiprocessor at once: as many as its shared memory and its registers hold."""
    return max(1, min(capacity // (shared + RESERVED), MOST_THREADS // threads))


def plan_of(kernel: Kernel, meta: Sequence[Input], task: Sequence[Input], capacity: int) -> Plan:
    """Where all that is read from memory lies: meta-parameters for good, a task's tensors from its beginning on."""
    lives = {}
    for each in [*meta, *task]:
        if each.name in kernel.fetched:
            last = kernel.read[each.name] if each in task else FOREVER
            lives[each.name] = Lifetime(each.size, -1, last)
    for name, ready in kernel.ready.items():
        if name in kernel.fetched:
            last = max(kernel.read.get(name, -1), ready)
            lives[name] = Lifetime(kernel.sizes[name], kernel.begun[name], last)
    return planned(lives, capacity)


def _loads(inputs: Sequence[Input], plan: Plan, threads: int) -> str:
    """Copies of whole tensors into their places: of small ones, many numbers at once, since memory answers late."""
    read = [each for each in inputs if each.name in plan.places]
    small = [each for each in read if each.size <= AT_ONCE * threads]
    pieces = [(each, begin) for each in small for begin in range(0, each.size, threads)]
    lines = []
    for batch in (pieces[i : i + AT_ONCE] for i in range(0, len(pieces), AT_ONCE)):
        reads, writes = [], []
        for number, (each, begin) in enumerate(batch):
            memory, place = plan.places[each.name]
            index = f"{begin} + ME"
            reads.append(f"const T x{number} = {index} < {each.size} ? T(fresh(&{each.element.format(index)})) : T(0);")
            writes.append(f"if ({index} < {each.size}) {memory}[{place} + {index}] = x{number};")
        lines.append(f"    {{ {' '.join([*reads, *writes])} }}")
    for each in read:
        if each not in small:
            memory, place = plan.places[each.name]
            loop = f"UNROLL_BY(8) for (int e = ME; e < {each.size}; e += THREADS)"
            lines.append(f"    {loop} {memory}[{place} + e] = T(fresh(&{each.element.format('e')}));")
    return "\n".join(lines)


def _levels(kernel: Kernel, pieces: Pieces, threads: int) -> list[str]:
    """Calls of the statements, level by level; those of a level begin at different warps."""
    found = []
    for level in range(kernel.levels):
        calls, start = [], 0
        here = [statement for statement in kernel.statements if statement.level == level]
        for statement in sorted(here, key=lambda each: -each.threads):
            calls.append(pieces.call(statement.text(kernel.fetched), start % threads))
            start += -(-statement.threads // WARP) * WARP
        found.append(f"        {' '.join(calls)} barrier();")
    return found
