"""What is read as a row, and what is left out and named."""

import json
import re

import pytest
from msgspec.structs import replace

from metabench.errors import UserError
from metabench.record import reading as rows
from metabench.record.cell import identity
from metabench.record.reading import measurement_of, parse_json, read_environment, read_rows
from places import RESULTS

SAMPLES, OUTSIDE = "time.step.samples", "a figure lies outside of its interval"


def a_row(**changes):
    cell = {"algorithm": "maml", "engine": "loop", "task": "sinusoid", "model": "mlp-40x2", "inner_lr": 0.01}
    cell |= dict.fromkeys(("inner_steps", "meta_batch", "ways", "shots", "query", "iterations"), 1)
    cell |= {"seed": 0, "measure": ["time"], "first_order": 0.0}
    summary = {"median": 1.0, "low": 0.5, "high": 2.0, "iqr": 1.0, "n": 3, "block": 1, "samples": [0.5, 1, 2.0]}
    score = {"value": 0.5, "low": 0.4, "high": 0.6}
    quality = {"metric": "mse", "tasks": 9, "iterations": 1, "train_s": 1.0, "batch_norm": "none", **score}
    row = {"schema": 1, "id": identity(cell), "round": 0, "status": "ok", "reason": "", "cell": cell}
    row |= {"time": {"step": summary, "sampling": summary, "compile_s": 0.0, "noisy": False}, "memory": None}
    return row | {"quality": quality | {"by_step": [{"step": 0, **score}]}} | changes


def with_part(path: str, value):
    """A row with one value put in place of another."""
    row = json.loads(json.dumps(a_row()))
    *parents, last = path.split(".")
    at = row
    for name in parents:
        at = at[int(name)] if name.isdigit() else at[name]
    at[last] = value
    if path.startswith("cell."):
        row["id"] = identity(row["cell"])
    return row


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*/*/measurements.jsonl")), ids=lambda file: file.parent.name)
def test_every_row_of_every_committed_run_is_one(file):
    found, damages = read_rows(file)
    assert len(found) == len(file.read_text().splitlines()) > 0
    assert damages == []


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("id", "0" * 16, "its id is not that of its cell"),
        ("id", "../../etc/passwd", "its id is not that of its cell"),
        ("round", -1, "'round': expected a whole number >= 0"),
        ("round", True, "'round': expected a whole number, got true or false"),
        ("round", 10**17, "'round': expected a whole number <= 9007199254740992"),
        ("status", "fine", "'status': invalid enum value 'fine'"),
        ("status", ["ok"], "'status': expected a text, got a list"),
        ("reason", {"a": 1}, "'reason': expected a text, got a table"),
        ("reason", "x" * 10**6, "'reason': expected a text of length <= 20000"),
        ("cell", [], "'cell': expected a table, got a list"),
        ("cell.engine", "", "'cell.engine': expected a text of length >= 1"),
        ("cell.seed", "0", "'cell.seed': expected a whole number, got a text"),
        ("cell.meta_batch", 0, "'cell.meta_batch': expected a whole number >= 1"),
        ("cell.measure", "time", "'cell.measure': expected a list, got a text"),
        ("cell.measure", [["time"]], "'cell.measure[...]': expected a text, got a list"),
        ("cell.first_order", None, "'cell.first_order': expected a number, got nothing"),
        ("cell.status", "ok", "its cell has an axis that is none"),
        ("cell.<b>", 1, "its cell has an axis that is none"),
        ("cell.new", {"deep": 1}, "its cell has an axis that is none"),
        (
            "time.step.samples",
            [1.0, 0.0],
            "'time.step.samples[...]': expected a number >= 1e-12",
        ),
        (
            "time.step.samples",
            {"0": 1.0},
            "'time.step.samples': expected a list, got a table",
        ),
        ("time.step.median", 3.0, f"'time.step': {OUTSIDE}"),
        ("time.noisy", "no", "'time.noisy': expected true or false, got a text"),
        ("quality.high", 1e300, "'quality.high': expected a number <= 1e+100"),
        (
            "quality.by_step.0.low",
            0.7,
            "'quality.by_step[...]': a figure lies outside of its interval",
        ),
        ("quality.task_scores", {"unit": 0.0, "numbers": [1]}, "'quality.task_scores.unit': expected a number > 0.0"),
        (
            "quality.task_scores",
            {"unit": 0.2, "numbers": [True]},
            "'quality.task_scores.numbers[...]': expected a whole number or a number, got true or false",
        ),
        (
            "quality.task_scores",
            {"unit": 1.0, "numbers": [0.5] * 8},
            "'quality': the value is not the mean of the scores of the tasks",
        ),
        (
            "quality.task_scores",
            {"unit": 1.0, "numbers": [0.5] * 8 + [0.6]},
            "'quality': the value is not the mean of the scores of the tasks",
        ),
        ("warnings", "one", "'warnings': expected a list, got a text"),
    ],
)
def test_a_row_of_wrong_types_is_named_by_what_is_wrong(path, value, says):
    with pytest.raises(ValueError) as raised:
        measurement_of(with_part(path, value))
    assert re.sub(r"\[\d+\]", "[...]", str(raised.value)) == says


def test_scores_of_tasks_are_read_as_they_were_written():
    row = with_part("quality.task_scores", {"unit": 0.25, "numbers": [2, 4, 0] * 3})
    assert measurement_of(row).quality.task_scores.values == [0.5, 1.0, 0.0] * 3
    written = json.dumps(measurement_of(row).to_json()["quality"]["task_scores"]["numbers"])
    assert written.startswith("[2, 4, 0, 2")  # a whole number stays as short
    assert measurement_of(a_row()).quality.task_scores is None  # as earlier versions wrote it


def test_what_is_lacking_is_named():
    row = a_row()
    del row["time"]["compile_s"]
    with pytest.raises(ValueError, match="'time': it has no 'compile_s'"):
        measurement_of(row)


def test_what_other_versions_add_is_of_no_concern():
    assert measurement_of(a_row()).noise is None
    assert measurement_of(a_row(reference={"pair": 3, "side": "b", "new": 1}, more={"x": [1, None]})).noise.pair == 3
    newer = measurement_of(with_part("cell.new_axis", "value"))
    assert newer.cell["new_axis"] == "value" and "new_axis" in newer.cell.axes
    whole = replace(newer, id=newer.cell.id)
    assert measurement_of(whole.to_json()) == whole


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"nonsense", "it is not JSON"),
        (b"\xff\xfe", "it is not text"),
        (b"[" * 10**6, "it is not JSON"),
        (b'{"schema": 1' + b"0" * 10**5 + b"}", "it is not JSON"),
        (b'{"schema": 1, "schema": 1}', "it is not JSON"),
        (b'{"schema": NaN}', "it is not JSON"),
        (b'{"schema": 1e999}', "it is not a measurement"),
        (b'{"schema": 0}', "it is not a measurement"),
        (
            b'{"schema": true}',
            "it is not a measurement: 'schema': expected a whole number, got true or false",
        ),
        (b"null", "it is not a measurement"),
        (b"x" * 5000, "it is longer than 0 MiB"),
        (b"x" * 2048, "it is longer than 0 MiB"),
    ],
)
def test_a_line_that_is_no_row_is_left_out_and_found_again(tmp_path, monkeypatch, line, why):
    if why.startswith("it is longer"):
        monkeypatch.setattr(rows, "LONGEST_LINE", 2048)
    file, whole = tmp_path / "measurements.jsonl", json.dumps(a_row()).encode()
    file.write_bytes(b"\n".join([whole, line, b"", whole]) + b"\n")
    found, (damage,) = read_rows(file)
    assert len(found) == 2
    assert (damage.number, damage.why) == (2, why)
    assert file.read_bytes()[damage.start : damage.end] == line + b"\n"


def test_a_byte_order_mark_before_the_rows_is_skipped(tmp_path):
    file = tmp_path / "measurements.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(a_row()).encode() + b"\n")
    found, damages = read_rows(file)
    assert (len(found), damages) == (1, [])


def test_very_many_damaged_lines_are_counted(tmp_path):
    file = tmp_path / "measurements.jsonl"
    file.write_text("no\n" * 25)
    said = rows.in_words(read_rows(file)[1])
    assert len(said) == 21
    assert said[-1] == "So are 5 more lines."


def test_what_is_too_large_is_refused_unread(tmp_path, monkeypatch):
    file = tmp_path / "measurements.jsonl"
    with file.open("wb") as stream:
        stream.truncate(rows.MOST_BYTES + 1)  # takes no room on disk
    with pytest.raises(UserError, match="is too large: 1,073,741,825 bytes, where at most 1,073,741,824 are read"):
        read_rows(file)
    with (tmp_path / "environment.json").open("wb") as stream:
        stream.truncate(rows.MOST_ENVIRONMENT + 1)
    with pytest.raises(UserError, match="is too large"):
        read_environment(tmp_path / "environment.json")


def test_an_environment_is_checked(tmp_path):
    file = tmp_path / "environment.json"
    assert read_environment(file) is None
    for text, says in (
        ("{", "is not valid JSON: mend it, or delete it to do without"),
        (
            "[]",
            r"does not describe a machine \(expected a table, got a list\): mend it, or",
        ),
        ('{"warnings": [1]}', "'warnings.*expected a text"),
        ('{"sweep": "x"}', "'sweep': expected a table"),
        ('{"summary": null}', "'summary': expected a text"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=says):
            read_environment(file)


def test_json_is_strict():
    assert parse_json('{"a": [1, 2.5, null, true, "\\u00e9"]}') == {"a": [1, 2.5, None, True, "é"]}
    for text in (
        "Infinity",
        "-Infinity",
        "[NaN]",
        '{"a": 1, "a": 2}',
        "[" * 10**5,
        "9" * 5000,
        '"half \\ud800 a pair"',
    ):
        with pytest.raises(ValueError):
            parse_json(text)
