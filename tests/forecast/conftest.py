"""A run whose truth is known: 1 ms and 2 ms a task; an all-reduce of 50 µs a step at 1 GB/s, and a wait of a tenth."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metabench.record.cell import Cell
from metabench.record.measurement import Measurement
from metabench.record.timing import Time
from metabench.statistics.intervals import summarise

Row = dict[str, Any]
FIXED_S, EACH_S = 1e-3, 2e-3
LATENCY_S, BANDWIDTH, WAIT = 50e-6, 1e9, 0.1
FLOPS, BYTES, CALLS_FIXED, CALLS_EACH = 1e9, 1e7, 40, 300
PARAMETERS = {"mlp-40x2": 1761, "mlp-256x2": 66561}
PEAKS = {"matmul": 1e11, "convolution": 2e11, "bandwidth": 4e10, "noisy": False}
DRAWING_S, SAMPLING_S, SKIPPING_S = 4e-5, 1e-5, 1e-6


def make_row(number: int, **axes: Any) -> Row:
    """One line of `measurements.jsonl`, of a cell that was timed."""
    axes = {
        "model": "mlp-40x2",
        "threads": 1,
        "train_ways": 1,
        "train_shots": 10,
        **axes,
        "measure": tuple(axes["measure"]),
    }
    cell = Cell(algorithm="maml", engine="vmap", task="sinusoid", ways=1, shots=10, query=10, **axes)
    time = Time(step=summarise([1e-3] * 5), compile_s=0.0, sampling=summarise([1e-4] * 6))
    parameters = PARAMETERS.get(cell.model)
    made = Measurement(id=cell.id, round=number, status="ok", cell=cell, parameters=parameters, time=time)
    return made.to_json()


@pytest.fixture
def row() -> Callable[..., Row]:
    """Makes one measurement: see `make_row`."""
    return make_row


@pytest.fixture
def run_of(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run folder of the given rows."""

    def write(rows: list[Row], name: str = "run") -> Path:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "measurements.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
        environment = {"summary": "Test CPU, 2 cores", "sweep": {"name": "synthetic"}}
        (tmp_path / name / "environment.json").write_text(json.dumps(environment))
        return tmp_path / name

    return write


def compute(tasks: int) -> float:
    return FIXED_S + EACH_S * tasks


def communication(processes: int, tasks: int, model: str) -> float:
    size = 4 * PARAMETERS[model]
    moved = 2 * (processes - 1) * (LATENCY_S + size / processes / BANDWIDTH)
    return moved + WAIT * compute(-(-tasks // processes))


def made(number: int, tasks: int, processes: int, model: str, **changes: Any) -> Row:
    """One row, exactly as the model has it."""
    several = {} if processes == 1 else {"world_size": processes}
    found = make_row(number, meta_batch=tasks, model=model, measure=["time", "memory", "work"], **several, **changes)
    spent = communication(processes, tasks, model) if processes > 1 else None
    step = compute(-(-tasks // processes)) + (spent or 0.0)
    found["time"]["step"] |= dict.fromkeys(("median", "low", "high"), step) | {"samples": [step] * 5}
    own = tasks // processes
    drawn = DRAWING_S + SAMPLING_S * own + SKIPPING_S * (tasks - own)
    found["time"]["sampling"] |= dict.fromkeys(("median", "low", "high"), drawn)
    ahead = EACH_S * (-(-tasks // processes) - own)  # the leading process has fewest tasks, and waits in the all-reduce
    found["time"]["communication_s"] = spent + ahead if spent else None
    found["memory"] = {"tracked_bytes": 1_000_000 + 100_000 * tasks, "tracked_method": "allocator events"}
    if processes == 1 and number == 0:
        calls = CALLS_FIXED + CALLS_EACH * tasks
        found["work"] = {"flops": FLOPS * tasks, "bytes": BYTES * tasks, "calls": calls, "peaks": PEAKS}
    return found


@pytest.fixture
def rows() -> list[Row]:
    """Two models, one to two processes, three rounds."""
    return [
        made(number, tasks, processes, model)
        for number in range(3)
        for model in PARAMETERS
        for processes, sizes in ((1, (4, 8, 16)), (2, (8, 15, 16)))
        for tasks in sizes
    ]


@pytest.fixture
def hardware_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a machine in whose forecasts every figure is known; changes replace values, None removes."""

    def write(name: str = "toy", **changes: Any) -> Path:
        values: dict[str, Any] = {
            "devices_per_node": 4,
            "memory": 4e6,
            "peak_float32": 1e12,
            "share_of_peak": [0.1, 0.5],
            "bandwidth": 1e12,
            "share_of_bandwidth": 1,
            "call_s": 1e-6,
            "collective_s": 0,
            "inside_latency_s": 1e-6,
            "inside_bandwidth": 1e9,
            "between_latency_s": 1e-5,
            "between_bandwidth": 1e8,
            "wait": 0,
        }
        lines = [f"[{name}]", 'title = "Toy"']
        for key, value in (values | changes).items():
            if value is not None:
                text = value if isinstance(value, str) else json.dumps({"value": value})[10:-1]
                lines.append(f'{key} = {{ value = {text}, source = "test" }}')
        file = tmp_path / f"{name}.toml"
        file.write_text("\n".join(lines))
        return file

    return write
