"""Counts the instructions of meta-iterations in an emulated processor: Valgrind, where the real one does not tell."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from metabench.engines.native.library import TARGET, compiled
from metabench.errors import Unsupported, in_short
from metabench.measure.clock import no_garbage_collection
from metabench.measure.energy import NoCounter
from metabench.record.cell import Cell
from metabench.record.measurement import Instructions
from metabench.sweep.cell_tasks import training_tasks
from metabench.sweep.child import begin
from metabench.sweep.companions import python
from metabench.sweep.workload import EPISODE_POOL, Workload, initial_meta

EMULATOR = "valgrind"
WARM_UP = 2
OLDER = {TARGET: "x86-64-v3", "ATEN_CPU_CAPABILITY": "avx2"} if platform.machine() == "x86_64" else {}
"""Variables that keep code of ours and of torch to what the emulator knows of this processor."""
METHOD = f"counted in an emulated processor (valgrind){', without AVX-512' if OLDER else ''}"
SAME = {"PYTHONHASHSEED": "0"}
"""Variables that make two processes do the same."""
COLLECTED = re.compile(r"Collected : (\d+)")
SWITCH = """
#include <valgrind/callgrind.h>
extern "C" void begin() { CALLGRIND_START_INSTRUMENTATION; }
extern "C" void end() { CALLGRIND_STOP_INSTRUMENTATION; }
"""
FLAGS = ("-O2", "-shared", "-fPIC")


def instructions_emulated(cell: Cell, data_dir: Path | None) -> Instructions:
    """The instructions of a meta-iteration, as the mean over a few. Raises `NoCounter`, which says why.

    A process of its own runs in the emulator, some ten times as slowly; there, everything is done one thread at a time.
    """
    if cell.device != "cpu":
        raise NoCounter("an emulator has no GPU")
    if not (emulator := shutil.which(EMULATOR)):
        raise NoCounter(f"there is no {EMULATOR}, which would count instead: install it")
    try:
        compiled(SWITCH, FLAGS)
    except Unsupported as error:
        raise NoCounter(f"{EMULATOR}'s switch cannot be compiled: {in_short(error)}") from error
    with TemporaryDirectory() as folder:
        job, log, messages = (Path(folder) / name for name in ("job.json", "log", "messages"))
        job.write_text(json.dumps({"cell": cell.to_json(), "data_dir": str(data_dir) if data_dir else None}), "utf-8")
        options = ["--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=/dev/null", f"--log-file={log}"]
        command = [emulator, *options, *python(f"from {__name__} import main; main()"), str(job)]
        variables = {**os.environ, **SAME, **OLDER}
        with messages.open("wb") as said:  # its standard input closes when this process ends, and so ends the other
            code = subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, stdout=said, stderr=said).wait()
        found = COLLECTED.search(log.read_text(errors="replace")) if log.exists() else None
        last = (messages.read_text(errors="replace").splitlines() or ["it said nothing"])[-1]
    if code or not found:
        raise NoCounter(f"{EMULATOR} ended with exit code {code}: {last}")
    return Instructions(int(found[1]) / EPISODE_POOL, None, EPISODE_POOL, METHOD)


def main() -> None:
    """Entry point of the process in the emulator: meta-iterations, of which those after the first ones are counted."""
    job: dict[str, Any] = begin(Path(sys.argv[1]))
    cell = Cell.from_json(job["cell"])
    torch.set_num_threads(cell.threads)
    workload = Workload(cell, training_tasks(cell, Path(job["data_dir"]) if job["data_dir"] else None))
    run = workload.repeatable(initial_meta(cell, workload.algorithm))
    switch = compiled(SWITCH, FLAGS)
    with no_garbage_collection():
        for _ in range(WARM_UP):
            run.waited()
        switch.begin()
        for _ in range(EPISODE_POOL):
            run.waited()
        switch.end()
    os._exit(0)  # to take torch apart would take long here
