"""`metabench profile`, from its options to its files, on tiny cells."""

import json
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from drawn import check_texts
from metabench.cli.main import app
from metabench.correctness.gate import Correctness
from metabench.errors import Incorrect, UserError
from metabench.measure.launches import Launches
from metabench.measure.marks import Marks
from metabench.profile import measuring, recording
from metabench.profile.measuring import cell_of, profiled
from metabench.profile.pictures import pictures
from metabench.profile.tables import as_json, counts, facts, operators_table, phases_table, warnings
from metabench.profile.trace import RANGE, Span
from metabench.profile.write import as_text, write_profile

TINY = {"task": "sinusoid", "meta_batch": 2, "threads": 1}


@pytest.fixture(scope="module")
def found():
    return {e: profiled(cell_of(f"maml/{e}", TINY, 1), None, 0.0, peaks=False) for e in ("loop", "vmap")}


def test_the_figures_agree_with_each_other(found):
    for profile in found.values():
        data = as_json(profile)
        json.dumps(data, allow_nan=False)
        whole = sum(part["value"] for name, part in data["phases"].items() if name != "sampling")
        assert data["phases_deviation"] == pytest.approx(whole / data["meta_iteration"]["median"] - 1)
        assert sum(data["calls_by_phase"].values()) == data["recorded"]["calls"]
        assert {span.name for span in profile.trace.phases} == data["phases"].keys() - {"sampling"}
        assert data["recorded"]["computing_s"] <= data["recorded"]["in_operators_s"] < data["recorded"]["recorded_s"]
        assert data["flops_per_second"] == pytest.approx(data["flops"] / data["meta_iteration"]["median"])
        assert data["gpu"] is None and data["peaks"] is None and data["share_of_peak"] is None
        assert max(data["memory_by_phase"].values()) > 0


def test_loop_calls_operators_for_each_task_and_vmap_once_for_all(found):
    more = profiled(cell_of("maml/loop", {**TINY, "meta_batch": 4}, 1), None, 0.0, peaks=False)
    inner = [as_json(p)["calls_by_phase"]["inner backward"] for p in (found["loop"], more)]
    assert inner[1] == 2 * inner[0]
    assert counts(found["loop"])["calls"] > counts(found["vmap"])["calls"]


def test_tables_and_facts_hold_every_phase(found):
    profile = found["vmap"]
    assert [row[0] for row in phases_table(profile).rows] == list(profile.phases.seconds)
    assert all("[" in row[1] for row in phases_table(profile).rows)
    assert len(operators_table(profile).rows) == 15
    said = dict(facts(profile))
    assert said["implementation"] == "maml/vmap" and "GFLOP/s" in said["achieved"] and "GPU" not in said
    assert "Phases" in as_text(profile)


def test_files(found, tmp_path):
    write_profile(found["vmap"], tmp_path / "new")
    names = {file.name for file in (tmp_path / "new").iterdir()}
    assert names == {"profile.json", "profile.html", "trace.json", "stacks.folded"} | {
        f"{name}.{kind}" for name in ("phases", "flame", "memory") for kind in ("svg", "png", "csv")
    }
    trace = json.loads((tmp_path / "new" / "trace.json").read_text())
    assert RANGE + "query" in {event.get("name") for event in trace["traceEvents"]}
    text = (tmp_path / "new" / "profile.html").read_text()
    assert text.count("<img ") == 3 and "maml/vmap" in text


def test_no_text_of_a_picture_is_cut_off_or_covers_another(found):
    for profile in found.values():
        for picture in pictures(profile):
            assert len(check_texts(picture)) > 5
            assert set(picture.frame.cells) == {profile.cell.id}


def test_what_runs_as_one_piece_says_so(monkeypatch, found):
    assert not any("one piece" in sentence for sentence in warnings(found["vmap"]))
    monkeypatch.setattr(measuring, "divisible", lambda engine: False)
    whole = profiled(cell_of("reptile/vmap", TINY, 1), None, 0.0, peaks=False)
    assert any("vmap runs its part as one piece" in sentence for sentence in warnings(whole))


def test_what_is_wrong_is_not_profiled(monkeypatch):
    monkeypatch.setattr(measuring, "gate", lambda *_: Correctness(1.0, 0.0))
    with pytest.raises(Incorrect, match="the engine's direction differs"):
        profiled(cell_of("maml/vmap", TINY, 1), None, 0.0, peaks=False)
    done = CliRunner().invoke(app, ["profile", "maml/vmap", "--threads", "1"])
    assert done.exit_code == 1


def test_mistakes_are_one_sentence():
    for given, why in (("maml", "ALGORITHM/ENGINE"), ("mamll/vmap", "did you mean 'maml'"), ("maml/lop", "'loop'")):
        with pytest.raises(UserError, match=why):
            cell_of(given, {"task": "sinusoid"}, 1)


def test_the_command(tmp_path):
    out = tmp_path / "out"
    options = ["--threads", "1", "--meta-batch", "2", "--seconds", "0", "--no-peaks", "--out", str(out), "--json"]
    done = CliRunner().invoke(app, ["profile", "anil/vmap", *options])
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert data == json.loads((out / "profile.json").read_text())
    assert (data["implementation"], data["cell"]["meta_batch"], data["cell"]["inner_steps"]) == ("anil/vmap", 2, 1)


def test_on_cuda_phases_are_nvtx_ranges(monkeypatch):
    log = []
    monkeypatch.setattr(torch.cuda.nvtx, "range_push", log.append)
    monkeypatch.setattr(torch.cuda.nvtx, "range_pop", lambda: log.append("end"))
    marks = Marks(recording.ranges(on_gpu=True))
    marks.begin("query")
    marks.turn("optimiser")
    marks.end()
    assert log == ["query", "end", "optimiser", "end"]


def test_a_step_that_is_bound_by_launches_is_said_to_be(found):
    """As on a GPU, whose kernels run for a tenth of the time."""
    loop = found["loop"]
    tenth = loop.phases.step.median / 10
    trace = replace(loop.trace, kernels=(Span("gemm", 0.0, tenth),))
    bound = replace(loop, trace=trace, launches=Launches(5200.0, 5300.0, tenth, ""))
    said = dict(facts(bound))
    assert said["launches"] == "5,200; the GPU is busy for this share of the time: 10 %, bound by launches"
    assert said["bound"].startswith("bound by launches: the GPU is busy for less than 50 % of the step")
    data = as_json(bound)["gpu"]
    assert (data["launches"], data["bound"], data["kernels"]) == (5200, "bound by launches", 1)
    assert data["busy_share"] == pytest.approx(0.1)
    unknown = replace(bound, launches=Launches(None, None, None, "the record shows no work of the GPU"))
    assert dict(facts(unknown))["launches"] == "not known: the record shows no work of the GPU"
    assert "bound" not in dict(facts(unknown)) and as_json(unknown)["gpu"]["busy_share"] is None
    assert "launches" not in dict(facts(loop))
