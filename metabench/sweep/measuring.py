"""What is measured in a cell, phase by phase: the gate, then all that its `measure` names, and a GPU's launches."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import torch
from msgspec.structs import replace

from metabench.algorithms.base import parameter_count
from metabench.correctness.differences import DEFINITION_TOLERANCE
from metabench.correctness.fault import refuse
from metabench.correctness.gate import ENGINE_TOLERANCE, GATE_TASKS, Correctness, gate
from metabench.correctness.timed import TimedProof
from metabench.engines.distributed import Group
from metabench.errors import Unsupported
from metabench.machine.conditions import clock_mhz
from metabench.machine.limits import limit_memory, parse_size
from metabench.machine.nvml import gpu_state, unused_gpus
from metabench.measure.clock import Budget, measure_time, time_once
from metabench.measure.energy import measure_energy
from metabench.measure.instructions import measure_instructions
from metabench.measure.launches import measure_launches
from metabench.measure.memory import measure_memory
from metabench.measure.roofline import iteration_calls, measure_peaks, step_bytes, step_flops
from metabench.record.cell import Cell
from metabench.record.measurement import Energy, Gate, Instructions, Launches, Memory, Theory, Work
from metabench.record.timing import GpuState, Phases, StepTime, Time, finite
from metabench.sweep.apart import measure_adaptation, measure_double_backward
from metabench.sweep.cell_tasks import held_out_tasks, training_tasks
from metabench.sweep.checkpoints import Place
from metabench.sweep.clocking import disturbance_of
from metabench.sweep.emulated import instructions_emulated
from metabench.sweep.scoring import measure_quality
from metabench.sweep.workload import EPISODE_POOL, Workload, in_precision, initial_meta, library_of, measured_phases
from metabench.tasks.base import TaskDistribution
from metabench.tensors import Params

SAMPLING_BUDGET = Budget(seconds=0.1)


def measure_cell(
    cell: Cell,
    settings: dict[str, Any],
    data_dir: Path | None,
    record: Callable[[dict[str, Any]], None],
    group: Group | None = None,
    checkpoints: Path | None = None,
) -> None:
    """Run all phases of a cell, recording each one's outcome; raises what ends it early.

    Each process of a cell runs this; all but the leading one record no figures. `checkpoints` is the folder in which a
    training is kept while it goes on.
    """
    device = torch.device(cell.device)
    record({"phase": "set-up"})
    # Before anything uses CUDA. Processes that share a GPU would each count the others' memory.
    unused = unused_gpus() if device.type == "cuda" and group is None else {}
    if cell.precision == "tf32" and device.type != "cuda":
        raise Unsupported("tf32 is a precision of CUDA devices: on a processor it would be float32")
    distribution = training_tasks(cell, data_dir)
    provenance = distribution.provenance
    record({"data": {"name": provenance.name, "content_hash": provenance.content_hash, **provenance.details}})
    workload = Workload(cell, distribution, group)
    if limit := settings.get("memory_limit"):  # the settings of an older version, which measures this one, lack it
        limit_memory(parse_size(limit), device, workload.engine.foreign is not None)
    if library := library_of(workload.engine):
        record({"library": library})
    kind = type(workload.algorithm)
    record({"implementation": Theory(kind.family, kind.order, workload.engine.concurrent_tasks)})
    meta = initial_meta(cell, workload.algorithm)
    record({"parameters": parameter_count(meta)})

    @cache
    def held_out() -> TaskDistribution:
        found = held_out_tasks(cell, data_dir)
        workload.check(found)
        return found

    record({"phase": "correctness gate"})
    workload.check()
    for stage in workload.ends:
        result = gate(stage, workload.on_whole(stage), distribution, device, max(GATE_TASKS, cell.world_size))
        record({"gate": gate_record(result)})
        refuse(result.fault)
    proof = workload.proof(meta)
    proof.prepare()

    timed, budget = None, Budget(seconds=settings["time_budget_s"])
    if "time" in cell.measure:
        record({"phase": "timing"})
        timed = _time(workload, meta, budget, proof)
        record({"time": timed})
    else:
        refuse(proof.before(workload.repeatable(meta).iteration))
    record({"gate": gate_record(result, proof)})
    if "memory" in cell.measure:
        record({"phase": "memory"})
        record({"memory": _memory(workload, meta, unused)})
    if "phases" in cell.measure and workload.group is None:  # processes that wait for each other have no phases of one
        record({"phase": "phases"})
        record({"phases": _phases(workload, meta)})
    if "work" in cell.measure and workload.leads:
        record({"phase": "work"})
        record({"work": _work(workload, meta)})
    if "energy" in cell.measure:
        record({"phase": "energy"})
        record({"energy": _energy(workload, meta)})
    if "instructions" in cell.measure:
        record({"phase": "instructions"})
        record({"instructions": _instructions(workload, meta, data_dir)})
    if "adaptation" in cell.measure and workload.group is None:  # a task is adapted to in one process
        record({"phase": "adaptation"})
        record({"adaptation": measure_adaptation(workload, meta, held_out(), budget)})
    if "double_backward" in cell.measure and workload.group is None:
        record({"phase": "double backward"})
        record({"double_backward": measure_double_backward(workload, meta, budget)})
    if "quality" in cell.measure:
        record({"phase": "quality"})
        said: list[str] = []

        def say(sentence: str) -> None:
            said.append(sentence)
            record({"warnings": said})

        every_s = settings.get("checkpoint_s", 0.0)
        place = Place(checkpoints, cell.id, every_s) if checkpoints and every_s else None
        shared = checkpoints / cell.training_id if checkpoints and workload.group is None else None
        judging = settings["curve_points"], place, say, shared
        record({"quality": measure_quality(workload, meta, held_out(), *judging)})
    # Last, since the profiler slows down what comes after it.
    if timed and device.type == "cuda" and workload.group is None:
        record({"phase": "launches"})
        record({"launches": _launches(workload, meta, timed.step.median)})


def gate_record(result: Correctness, proof: TimedProof | None = None) -> Gate:
    """What is kept of the proofs."""
    errors = finite(result.engine_error), finite(result.definition_error)
    timed = proof.worst if proof else None
    return Gate(
        *errors,
        ENGINE_TOLERANCE,
        DEFINITION_TOLERANCE,
        timed_error=timed.error if timed else None,
        rounding_error=timed.rounding if timed else None,
        timed_excess=timed.excess if timed else None,
        timed_allowed=timed.allowed if timed else None,
        timed_s=proof.seconds if proof else None,
    )


def _time(workload: Workload, meta: Params, budget: Budget, proof: TimedProof) -> Time | None:
    device = torch.device(workload.cell.device)
    kept = workload.engine.kept or (lambda: 0)
    before = kept()
    run = workload.repeatable(meta)
    iteration = run.iteration
    first_step = time_once(run, device, iteration.wait)
    refuse(proof.before(iteration))
    clock, gpu = [clock_mhz()], [_gpu(device)]
    step_timing = workload.led(run, lambda: measure_time(run, device, budget, iteration.wait))
    gpu.append(_gpu(device))  # at once: clocks fall when the work is over
    communication = workload.communication(run)
    refuse(proof.after(iteration, run.episodes, step_timing.summary.median if step_timing else None))
    if step_timing is None:
        return None
    clock.append(clock_mhz())
    compile_cache = "warm" if 0 < before == kept() else "cold"
    sample = workload.sampler(next(iter(meta.values())))
    sampling = measure_time(sample, device, SAMPLING_BUDGET)
    compile_s = max(0.0, first_step - step_timing.summary.median) if workload.engine.compiles else 0.0
    return Time(
        step=step_timing.summary,
        compile_s=compile_s,
        sampling=sampling.summary,
        first_step_s=first_step,
        communication_s=median(communication) if communication else None,
        noisy=step_timing.noisy,
        note=step_timing.note,
        compile_cache=compile_cache if workload.engine.compiles else "",
        clock_mhz=clock,
        gpu=gpu if any(gpu) else [],
        choices=dict(iteration.choices),
        processor_share=step_timing.processor_share,
        others_cores=step_timing.others,
        disturbed=disturbance_of(workload, step_timing),
    )


def _gpu(device: torch.device) -> GpuState | None:
    """Clocks, the reasons why they are low, temperature and power of the device now, where it is a GPU that tells."""
    return gpu_state(device) if device.type == "cuda" else None


def _launches(workload: Workload, meta: Params, seconds: float) -> Launches:
    """What a meta-iteration asks of the GPU; `seconds` is what one takes by the clock."""

    def start() -> tuple[Callable[[], object], Callable[[], object]]:
        run = workload.repeatable(meta)
        return run, run.iteration.wait

    found = measure_launches(start, seconds)
    # Of the time by the clock: under the profiler a step takes longer. Kernels do, too, by a little.
    share = None if found.busy_s is None else min(1.0, found.busy_s / seconds)
    return replace(found, busy_share=share)


def _energy(workload: Workload, meta: Params) -> Energy | None:
    """The energy of a meta-iteration: of all processes together on a processor, of the one GPU on CUDA."""
    device = torch.device(workload.cell.device)
    if workload.group and device.type == "cuda":
        return Energy(None, None, None, None, "unavailable (processes on several GPUs)")
    run = workload.repeatable(meta)
    return workload.led(run, lambda: measure_energy(run, run.iteration.wait, device))


def _instructions(workload: Workload, meta: Params, data_dir: Path | None) -> Instructions:
    if workload.group:
        return Instructions(None, None, None, "unavailable (several processes share the work)")
    run = workload.repeatable(meta).waited
    return measure_instructions(run, EPISODE_POOL, lambda: instructions_emulated(workload.cell, data_dir))


def _memory(workload: Workload, meta: Params, unused: Mapping[str, int]) -> Memory | None:
    """What a meta-iteration takes in one process, with what the engine has taken once to work in."""
    run = workload.repeatable(meta)
    device, foreign = torch.device(workload.cell.device), workload.engine.foreign
    run.waited()
    return workload.led(run, lambda: measure_memory(run.waited, device, run.iteration.held, foreign, unused))


def _phases(workload: Workload, meta: Params) -> Phases:
    found = measured_phases(workload, meta)
    step = StepTime(found.step.median, found.step.low, found.step.high, found.step.n)
    return Phases(step, found.seconds)


def _work(workload: Workload, meta: Params) -> Work:
    """The operations of a meta-iteration, and what the machine can do at the most, now and with as many threads."""
    cell, like = workload.cell, next(iter(meta.values()))
    episodes = dataclasses.replace(workload, group=None).sampler(like)()
    flops = in_precision(cell, step_flops)(workload.stage(1.0), episodes, meta)
    dtype = torch.bfloat16 if cell.precision == "bfloat16" else like.dtype
    moved = in_precision(cell, step_bytes)(workload.stage(1.0), episodes, meta)
    calls = iteration_calls(workload.repeatable(meta)) if _calls_operators(workload) else None
    return Work(flops, measure_peaks(cell.threads, dtype, like.device), moved, calls)


def _calls_operators(workload: Workload) -> bool:
    """Whether a meta-iteration is made of torch's operators, called one by one in a single process."""
    engine = workload.engine
    return not (engine.compiles or engine.start or engine.foreign or workload.group)
