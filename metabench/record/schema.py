"""What a row and an environment must be like for a report to be made of them: the one place where that is checked."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

Status: TypeAlias = Literal["ok", "incorrect", "oom", "crashed", "timeout", "diverged", "unsupported", "skipped"]
"""Of those that are not ok, the one that says most stands first."""
STATUSES: tuple[Status, ...] = get_args(Status)
LARGEST = 1e100
"""Of any figure: what is larger is no result, and its square would overflow."""
LARGEST_WHOLE = 2**53
"""From which on not every reader of JSON has every whole number."""
LONGEST_TEXT = 20_000
LONGEST_NAME = 200
MIN_SAMPLES = 6
"""Of a time: fewer give no 95 % interval of the median."""
SHORTEST_S, LONGEST_S = 1e-12, 1e9
"""Of a sample: less than a cycle of any clock, more than any machine runs."""
_AXIS = re.compile("[a-z][a-z0-9_]{0,39}")
_NOT_AXES = ("id", "round", "status", "reason")  # columns of results.csv beside the axes


@dataclass(frozen=True)
class Value:
    """A number, a text, a truth value."""

    says: str
    """What it is, in words: `a number of 0 or more`."""
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Table:
    """Values by name. Those that are optional may be missing; names that are not known are of no concern."""

    required: Mapping[str, "Schema"] = field(default_factory=dict)
    optional: Mapping[str, "Schema"] = field(default_factory=dict)


@dataclass(frozen=True)
class Each:
    """A list of values of one kind, of bounded length where that is given."""

    of: "Schema"
    most: int | None = None


@dataclass(frozen=True)
class Maybe:
    """A value, or null."""

    of: "Schema"


Schema: TypeAlias = Value | Table | Each | Maybe


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST


def _is_text(value: Any) -> bool:
    # A surrogate on its own cannot be written to any file.
    return isinstance(value, str) and len(value) <= LONGEST_TEXT and not re.search("[\ud800-\udfff]", value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_WHOLE


PHASES = (
    "sampling",
    "inner forward",
    "inner backward",
    "inner update",
    "query",
    "outer backward",
    "implicit solve",
    "average",
    "directions",
    "optimiser",
    "meta-iteration",
)
"""What a meta-iteration is divided into, in its order; `directions` and `meta-iteration` where an engine runs them as
one piece. See measure/phases.py."""
SIDES = ("a", "b")
"""Of a pair of the reference."""
NUMBER = Value("a number", _is_number)
AMOUNT = Value("a number of 0 or more", lambda v: _is_number(v) and v >= 0)
POSITIVE = Value("a positive number", lambda v: _is_number(v) and v > 0)
SAMPLE = Value("a time in seconds", lambda v: _is_number(v) and SHORTEST_S <= v <= LONGEST_S)
WHOLE = Value("a whole number of 0 or more", _is_whole)
TEXT = Value("text", _is_text)
NAME = Value("a name", lambda v: _is_text(v) and 0 < len(v) <= LONGEST_NAME)
COMMIT = Value("a commit", lambda v: isinstance(v, str) and re.fullmatch("[0-9a-f]{40,64}", v) is not None)
TRUTH = Value("true or false", lambda v: isinstance(v, bool))
STATUS = Value("a status", lambda v: isinstance(v, str) and v in STATUSES)
SIDE = Value("a side of a pair", lambda v: isinstance(v, str) and v in SIDES)

_SCORE: Mapping[str, Schema] = {"value": NUMBER, "low": NUMBER, "high": NUMBER}
_SUMMARY = Table(
    dict.fromkeys(("median", "low", "high"), SAMPLE)
    | {"iqr": AMOUNT, "n": WHOLE, "block": WHOLE, "samples": Each(SAMPLE)}
)
MOST_FITTED = 1000
"""Points of a curve that is drawn; there are some hundred."""
_POINTS = Each(NUMBER, MOST_FITTED)
_FITS = Table(
    {
        "x": _POINTS,
        "tasks": Each(
            Table(
                {
                    **dict.fromkeys(("support_x", "support_y", "y"), _POINTS),
                    "predictions": Each(Table({"step": WHOLE, "y": _POINTS}), 3),
                }
            ),
            10,
        ),
    }
)
_GPU = Table(
    {},
    {
        **dict.fromkeys(("sm_mhz", "memory_mhz", "celsius"), Maybe(WHOLE)),
        "watts": Maybe(AMOUNT),
        "reasons": Maybe(Each(TEXT)),
    },
)
SHARE = Value("a share between 0 and 1", lambda v: _is_number(v) and 0 <= v <= 1)
_TIME = Table(dict.fromkeys(("median", "low", "high"), SAMPLE))
_INTERVAL = Table(dict.fromkeys(("value", "low", "high"), AMOUNT))
CELL = Table(
    {
        **dict.fromkeys(("algorithm", "engine", "task", "model"), NAME),
        **dict.fromkeys(("inner_steps", "meta_batch", "ways", "shots", "query", "seed", "iterations"), WHOLE),
        "inner_lr": AMOUNT,
        "measure": Each(NAME),
    },
    {
        **dict.fromkeys(("precision", "device", "preset", "outer", "outer_decay"), NAME),
        **dict.fromkeys(("inner_optimizer", "batch_norm"), NAME),
        **dict.fromkeys(("train_ways", "train_shots", "eval_steps", "eval_query", "eval_tasks"), WHOLE),
        **dict.fromkeys(("threads", "outer_warmup"), WHOLE),
        "world_size": Value("a number of processes", lambda v: _is_whole(v) and v > 0),
        **dict.fromkeys(("outer_lr", "outer_clip", "first_order"), AMOUNT),
        "checkpoint": TRUTH,
    },
)
"""Axes that old runs do not have are optional."""
ROW = Table(
    {"schema": WHOLE, "id": NAME, "round": WHOLE, "status": STATUS, "cell": CELL},
    {
        "reason": Maybe(TEXT),
        "started": Maybe(TEXT),
        "seconds": Maybe(AMOUNT),
        "data": Maybe(Table({"name": NAME, "content_hash": TEXT})),
        "parameters": Maybe(WHOLE),
        "library": Maybe(TEXT),
        "machine": Maybe(NAME),
        "gate": Maybe(Table({}, dict.fromkeys(("engine_error", "definition_error"), Maybe(AMOUNT)))),
        "time": Maybe(
            Table(
                {"step": _SUMMARY, "compile_s": AMOUNT},
                {
                    "sampling": Maybe(_SUMMARY),
                    "first_step_s": Maybe(AMOUNT),
                    "communication_s": Maybe(AMOUNT),
                    "noisy": TRUTH,
                    "gpu": Each(Maybe(_GPU), 2),
                    **dict.fromkeys(("compile_cache", "note"), Maybe(TEXT)),
                },
            )
        ),
        "memory": Maybe(
            Table(
                {},
                {
                    **dict.fromkeys(("tracked_bytes", "resident_bytes", "nvml_bytes"), Maybe(WHOLE)),
                    **dict.fromkeys(("cuda_allocated_bytes", "cuda_reserved_bytes"), Maybe(WHOLE)),
                    **dict.fromkeys(("tracked_method", "resident_method", "nvml_method"), Maybe(TEXT)),
                },
            )
        ),
        "phases": Maybe(Table({"step": _TIME, "seconds": Table({}, dict.fromkeys(PHASES, _INTERVAL))})),
        "work": Maybe(
            Table(
                {
                    "flops": AMOUNT,
                    "peaks": Table(
                        {"matmul": POSITIVE, "convolution": POSITIVE, "noisy": TRUTH}, {"bandwidth": POSITIVE}
                    ),
                },
                {"bytes": AMOUNT, "calls": WHOLE},
            )
        ),
        "quality": Maybe(
            Table(
                {
                    "metric": NAME,
                    "tasks": WHOLE,
                    "iterations": WHOLE,
                    "train_s": AMOUNT,
                    "batch_norm": NAME,
                    **_SCORE,
                },
                {
                    "fits": Maybe(_FITS),
                    "by_step": Each(Table({"step": WHOLE, **_SCORE})),
                    "curve": Each(
                        Table({"iteration": WHOLE, "seconds": AMOUNT}, dict.fromkeys(("loss", "value"), Maybe(NUMBER)))
                    ),
                },
            )
        ),
        "energy": Maybe(
            Table(
                {"method": TEXT},
                {**dict.fromkeys(("joules", "watts", "seconds"), Maybe(AMOUNT)), "iterations": Maybe(WHOLE)},
            )
        ),
        "launches": Maybe(
            Table(
                {"note": TEXT},
                {**dict.fromkeys(("launches", "kernels", "busy_s"), Maybe(AMOUNT)), "busy_share": Maybe(SHARE)},
            )
        ),
        "warnings": Maybe(Each(TEXT)),
        "reference": Maybe(Table({"pair": WHOLE, "side": SIDE})),
    },
)
_MACHINE = Table(
    {},
    {
        "processor": Maybe(Table({}, {"name": Maybe(TEXT)})),
        "memory": Maybe(Table({}, {"total_bytes": Maybe(WHOLE)})),
        "gpus": Maybe(Each(Table({}, {"name": Maybe(TEXT)}))),
        "metabench": Maybe(Table({}, {"commit": Maybe(COMMIT), "dirty": Maybe(TRUTH)})),
        **dict.fromkeys(("packages", "environment", "python"), Maybe(Table())),
    },
)
ENVIRONMENT = Table(
    {},
    {
        "summary": TEXT,
        "warnings": Each(TEXT),
        "stand_in": TEXT,
        "pairing": Maybe(TEXT),
        "sweep": Table({}, {"name": TEXT, "title": TEXT}),
        "machine": Maybe(_MACHINE),
        "backend": NAME,
        "machines": Maybe(Table()),
    },
)


def fault(value: Any, schema: Schema, name: str = "") -> str:
    """What is wrong with a value read from JSON, as the end of a sentence on it; empty if it is as it must be."""
    if isinstance(schema, Maybe):
        return "" if value is None else fault(value, schema.of, name)
    if isinstance(schema, Value):
        return "" if schema.holds(value) else f"{_called(name)} is not {schema.says}"
    if isinstance(schema, Each):
        if not isinstance(value, list):
            return f"{_called(name)} is not a list"
        if schema.most is not None and len(value) > schema.most:
            return f"{_called(name)} has more than {schema.most} items"
        return next((found for item in value if (found := fault(item, schema.of, name))), "")
    if not isinstance(value, dict):
        return f"{_called(name)} is not a table"
    missing = next((key for key in schema.required if key not in value), "")
    if missing:
        return f"it has no '{_below(name, missing)}'"
    known = {**schema.required, **schema.optional}
    return next(
        (found for key in known if key in value and (found := fault(value[key], known[key], _below(name, key)))), ""
    )


def row_fault(row: Any) -> str:
    """The same of a row, whose parts must agree, too: its name with its cell, and a figure with its interval."""
    found = fault(row, ROW)
    if found:
        return found
    cell = row["cell"]
    for axis, value in cell.items():
        if axis not in CELL.required and axis not in CELL.optional and not _is_axis(axis, value):
            return "its cell has an axis that is none"
    if row["id"] != identity(cell):
        return "its id is not that of its cell"
    for name, figure in _figures(row):
        if not figure["low"] <= figure[name] <= figure["high"]:
            return "it has a figure that lies outside of its interval"
    return _fits_fault((row.get("quality") or {}).get("fits"))


def _fits_fault(fits: Any) -> str:
    """Of tasks that are drawn, whose numbers of points must agree."""
    for task in fits["tasks"] if fits else ():
        curves = [task["y"], *(prediction["y"] for prediction in task["predictions"])]
        if any(len(curve) != len(fits["x"]) for curve in curves) or len(task["support_x"]) != len(task["support_y"]):
            return "it has a curve whose x and y are not as many"
    return ""


def identity(cell: Mapping[str, Any]) -> str:
    """The id of a cell: 16 hexadecimal digits that depend on everything but what is measured."""
    axes = {name: value for name, value in cell.items() if name != "measure"}
    return hashlib.sha256(json.dumps(axes, sort_keys=True).encode()).hexdigest()[:16]


def _is_axis(name: str, value: Any) -> bool:
    """Whether a cell of another version may have it."""
    known = isinstance(value, bool) or _is_number(value) or _is_text(value)
    return known and bool(_AXIS.fullmatch(name)) and name not in _NOT_AXES


def _figures(row: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Everything of a row that has an interval, and the name of what lies inside."""
    time, quality, phases = (row.get(part) or {} for part in ("time", "quality", "phases"))
    timed = [("median", time[kind]) for kind in ("step", "sampling") if time.get(kind)]
    if phases:
        timed.append(("median", phases["step"]))
        timed += [("value", phases["seconds"][name]) for name in PHASES if name in phases["seconds"]]
    return timed + [("value", score) for score in (quality, *quality.get("by_step", [])) if score]


def _called(name: str) -> str:
    return f"its '{name}'" if name else "it"


def _below(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key
