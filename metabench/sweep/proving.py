"""A cell proved right in this process: what a profile begins with, and a benchmark of pytest."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from metabench.correctness.fault import refuse
from metabench.correctness.gate import Correctness, gate
from metabench.errors import Unsupported
from metabench.machine.threads import torch_threads
from metabench.record.cell import Cell
from metabench.sweep.cell_tasks import training_tasks
from metabench.sweep.workload import Workload, initial_meta
from metabench.tensors import Params


class Proved(NamedTuple):
    """What passed the gate."""

    workload: Workload
    meta: Params
    gate: Correctness


@contextmanager
def configured(cell: Cell) -> Iterator[None]:
    """Give torch the threads and the precision of a cell meanwhile."""
    if cell.precision == "tf32" and cell.device != "cuda":
        raise Unsupported("tf32 is a precision of CUDA devices: on a processor it would be float32")
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = cell.precision == "tf32"
    try:
        with torch_threads(cell.threads):
            yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def proved(cell: Cell, data_dir: Path | None) -> Proved:
    """Prove the cell's implementation right by the gate; what is then timed needs a proof of its own.

    Raises `Unsupported`, `Incorrect`, `Diverged`, `UserError`.
    """
    if cell.world_size > 1:
        raise Unsupported("several processes share no meta-batch here: measure world_size by metabench run")
    distribution = training_tasks(cell, data_dir)
    workload = Workload(cell, distribution)
    workload.check()
    meta = initial_meta(cell, workload.algorithm)
    for stage in workload.ends:
        result = gate(stage, workload.build(stage), distribution, torch.device(cell.device))
        refuse(result.fault)
    return Proved(workload, meta, result)
