"""What is loaded from run folders: frames, tables, figures and the answer, against the rows themselves."""

import json
import math
from itertools import groupby
from statistics import fmean

import pytest
from msgspec.structs import replace

import metabench as mb
from metabench.record.cell import Cell
from metabench.record.measurement import Measurement
from metabench.report.columns import MEANINGS, UNITS
from metabench.report.results import read_run
from metabench.statistics.intervals import summarise
from places import AVX2
from runs import made

DEFAULT = AVX2 / "default"
SPREAD = [0.99, 1.01, 0.995, 1.005, 1.0, 0.992, 1.008, 0.997, 1.003]


@pytest.fixture(scope="module")
def default() -> mb.Results:
    return mb.load(DEFAULT)


@pytest.fixture
def folder_of(tmp_path):
    """Writes rows as a run folder."""

    def write(rows: list[Measurement], name: str = "run"):
        (tmp_path / name).mkdir()
        lines = "".join(json.dumps(row.to_json()) + "\n" for row in rows)
        (tmp_path / name / "measurements.jsonl").write_text(lines, encoding="utf-8")
        return tmp_path / name

    return write


def timed(algorithm: str, seconds: float, number: int = 0, status: str = "ok", **parts) -> Measurement:
    cell = Cell(algorithm=algorithm, task="sinusoid", measure=("time",))
    time = {
        "step": summarise([seconds * share for share in SPREAD]),
        "noisy": False,
        "compile_s": 0.0,
        "compile_cache": "",
    }
    return made(cell, number, status, "" if status == "ok" else "a reason", time=time, **parts)


def failed(algorithm: str, status: str, reason: str, number: int = 0) -> Measurement:
    return made(Cell(algorithm=algorithm, task="sinusoid", measure=("time",)), number, status, reason)


def test_a_frame_has_every_row_as_it_was_measured(default):
    frame = default.frame()
    rows = read_run(DEFAULT).measurements
    assert list(zip(frame["id"], frame["round"], frame["status"], strict=True)) == [
        (row.id, row.round, row.status) for row in rows
    ]
    medians = [row.time.step.median if row.time else None for row in rows]
    assert [None if math.isnan(value) else value for value in frame["step_median_s"]] == medians
    assert list(frame["algorithm"]) == [row.cell.algorithm for row in rows]


def test_a_frame_of_configurations_has_the_mean_of_their_repetitions_within_its_interval(default):
    frame = default.frame("configuration").set_index("id")
    rows = sorted(read_run(DEFAULT).measurements, key=lambda row: row.id)
    found = {name: list(group) for name, group in groupby(rows, lambda row: row.id)}
    assert set(frame.index) == set(found) and frame.index.is_unique
    several = 0
    for name, group in found.items():
        line = frame.loc[name]
        medians = [row.time.step.median for row in group if row.time]
        assert line["repetitions"] == line["ok_repetitions"] == len(group)
        mean = math.exp(fmean(map(math.log, medians))) if medians else math.nan
        assert line["step_s"] == pytest.approx(mean, nan_ok=True)
        if len(medians) > 1:
            several += 1
            assert line["step_low_s"] < line["step_s"] < line["step_high_s"]
        memory = next((row.memory.tracked_bytes for row in group if row.memory), None)
        assert memory is None or line["tracked_bytes"] == memory
    assert several > 5


@pytest.mark.parametrize("per", ["repetition", "configuration"])
def test_every_column_has_a_meaning_and_those_of_a_quantity_a_unit(default, per):
    frame = default.frame(per)
    assert set(frame.attrs["meaning"]) == set(frame.columns) - set(default.measurements[0].cell.others)
    ends = {"_s": "s", "_bytes": "bytes", "_mhz": "MHz", "_joules": "J", "_watts": "W"}
    for name in frame.columns:
        end = next((end for end in ends if name.endswith(end)), None)
        if end and name not in ("measure",) and MEANINGS[name] and not name.startswith("gate"):
            assert frame.attrs["units"].get(name) == ends[end], name
    assert set(UNITS) <= set(MEANINGS)


def test_a_repetition_that_failed_is_seen_and_its_configuration_is_not_ok(folder_of):
    rows = [timed("maml", 0.01), timed("maml", 0.02, 1, "timeout"), failed("fomaml", "oom", "too large")]
    results = mb.load(folder_of(rows))
    assert list(results.frame()["status"]) == ["ok", "timeout", "oom"]
    by_name = results.frame("configuration").set_index("algorithm")
    assert by_name["status"].to_dict() == {"maml": "timeout", "fomaml": "oom"}
    assert (by_name.loc["maml", "repetitions"], by_name.loc["maml", "ok_repetitions"]) == (2, 1)
    assert by_name.loc["maml", "step_s"] == pytest.approx(math.sqrt(0.01 * 0.02))
    assert math.isnan(by_name.loc["fomaml", "step_s"]) and by_name.loc["fomaml", "reason"] == "too large"
    assert any("fomaml" in sentence for sentence in results.problems)


def test_no_figure_is_shown_of_a_configuration_that_was_incorrect(folder_of):
    rows = [timed("maml", 0.01, memory={"tracked_bytes": 5}), failed("maml", "incorrect", "wrong", 1)]
    frame = mb.load(folder_of(rows)).frame("configuration")
    assert list(frame["status"]) == ["incorrect"]
    assert frame["step_s"].isna().all() and frame["tracked_bytes"].isna().all()


def test_an_empty_run_has_the_columns_of_a_full_one(folder_of, default):
    empty = mb.load(folder_of([]))
    assert set(empty.frame().columns) == set(default.frame().columns)
    assert set(empty.frame("configuration").columns) == set(default.frame("configuration").columns)


def test_frame_takes_one_of_two_words(default):
    with pytest.raises(mb.UserError, match="per='repetition' or per='configuration', not 'cells'"):
        default.frame("cells")


def test_a_table_is_found_by_the_beginning_of_its_title_or_by_its_section(default):
    assert default.table("time with inner STEPS").title == "Time with inner steps: cpu, float32"
    assert default.table("Noise floor").section == "Noise floor"
    with pytest.raises(mb.UserError, match="6 tables are called 'Growth': 'Time with inner steps: cpu, float32'; "):
        default.table("Growth")
    with pytest.raises(mb.UserError, match="no table 'Noise flor': did you mean 'Noise floor'?"):
        default.table("Noise flor")
    assert [each.title for each in default.tables].count(default.table("Noise floor").title) == 1


def test_the_frame_of_a_table_holds_the_values_behind_its_texts(default):
    table = default.table("Noise floor")
    frame = table.frame()
    pairs = {(row.noise.pair, row.noise.side): row.time.step.median for row in default.run.noise_rows}
    for line in frame.to_dict("records"):
        assert line["time a"] == pytest.approx(pairs[line["pair"], "a"])
        assert line["a ÷ b"] == pytest.approx(pairs[line["pair"], "a"] / pairs[line["pair"], "b"])
    shown = table.frame(text=True)
    assert shown["time a"].str.endswith("ms").all() and frame.attrs["title"] == table.title
    cost = default.table("Cost and quality: omniglot").frame()
    assert cost["relative time (maml = 1)"].iloc[0] == 1 and cost["relative time (maml = 1)"].dtype.kind == "f"
    assert len(cost.attrs["cells"]) == len(cost)
    assert set(cost.attrs["cells"][0]) <= set(default.frame()["id"])


def test_what_others_wrote_is_escaped_in_html_and_in_markdown(folder_of):
    hostile = "<script>alert(1)</script> | *bold* \x1b[2J"
    results = mb.load(folder_of([timed("maml", 0.01), failed("fomaml", "crashed", hostile)]))
    shown = results.table("Failures")
    assert "<script>" not in shown._repr_html_() and "&lt;script&gt;" in shown._repr_html_()
    assert r"\*bold\*" in shown._repr_markdown_() and "\x1b" not in repr(shown)
    for text in (results._repr_html_(), results.answer._repr_html_()):
        assert "<script>" not in text and "\x1b" not in text


def test_the_answer_is_what_the_terminal_prints(default, capsys):
    from metabench.report.answer import answer_of

    answer = answer_of(read_run(DEFAULT))
    said = " ".join(str(default.answer).split())
    assert all(" ".join(sentence.split()) in said for sentence in answer.sentences)
    assert answer.question in said and "report.html" not in said
    assert str(default) == str(default.answer) and str(DEFAULT) in repr(default)
    assert answer.question in default._repr_html_() and default._repr_html_().count("<table>") == len(answer.tables)
    assert all(sentence in default.warnings for sentence in default.run.warnings)


def test_a_figure_is_data_a_specification_and_a_picture(default, tmp_path):
    figure = default.figure("engines")
    bundle = figure._repr_mimebundle_()
    assert bundle["image/svg+xml"].startswith("<svg") and bundle["application/vnd.vegalite.v5+json"] == figure.spec
    assert sum(map(len, figure.spec["datasets"].values())) == len(figure.frame())
    assert figure.save(tmp_path / "a.svg").read_text(encoding="utf-8") == figure.svg
    with pytest.raises(mb.UserError, match="unknown format 'jpg'"):
        figure.save(tmp_path / "a.jpg")
    with pytest.raises(mb.UserError, match="no figure 'engine': did you mean 'engines'?"):
        default.figure("engine")
    assert "engines" in repr(default.figures)


def test_a_report_is_written_beside_and_the_run_stays_as_it_was(folder_of, tmp_path):
    folder = folder_of([timed("maml", 0.01), timed("fomaml", 0.005)])
    results = mb.load(folder)
    page = results.report(tmp_path / "out")
    assert page == tmp_path / "out" / "report.html" and "<html" in page.read_text(encoding="utf-8")
    assert (tmp_path / "out" / "tables.md").exists()
    assert [file.name for file in folder.iterdir()] == ["measurements.jsonl"]
    assert results.report() == folder / "report.html"


@pytest.mark.filterwarnings("error::pandas.errors.PerformanceWarning")
def test_several_folders_are_read_as_one(folder_of, tmp_path):
    first = folder_of([timed("maml", 0.01)], "first")
    second = folder_of([replace(timed("maml", 0.02), seconds=2.0), timed("fomaml", 0.005)], "second")
    both = mb.load([first, second])
    assert [*both.frame()["round"]] == [0, 1, 1] and len(both) == 3
    assert [name.split(" at ")[0] for name in both.frame()["run"]] == ["first", "second", "second"]
    maml = both.frame("configuration").set_index("algorithm").loc["maml"]
    assert maml["repetitions"] == 2 and maml["step_s"] == pytest.approx(math.sqrt(0.01 * 0.02))
    with pytest.raises(mb.UserError, match="of 2 folders"):
        _ = both.folder
    page = both.report(tmp_path / "out")
    written = mb.load(page.parent).frame()
    assert list(written["step_median_s"]) == list(both.frame()["step_median_s"])


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(mb.UserError, match="there is no run folder"):
        mb.load(tmp_path / "none")
    with pytest.raises(mb.UserError, match="at least one run folder"):
        mb.load([])


@pytest.mark.parametrize("given", [None, 3])
def test_what_is_no_folder_is_refused_in_a_sentence(given):
    with pytest.raises(mb.UserError, match=f"load takes a run folder, or several, not {given}"):
        mb.load(given)
