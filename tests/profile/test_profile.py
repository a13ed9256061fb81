"""`metabench profile`, from its options to its files, on tiny cells."""

import json
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest
import torch
from typer.testing import CliRunner

from browser import address, browser, resize, scheme
from drawn import check_texts
from metabench.cli.main import app
from metabench.correctness.gate import Correctness
from metabench.engines.base import ENGINES
from metabench.errors import Incorrect, Unsupported, UserError
from metabench.measure.launches import Launches
from metabench.measure.marks import Marks
from metabench.profile import measuring, recording
from metabench.profile.facts import facts, warnings
from metabench.profile.measuring import cell_of, implementation_parts, profiled
from metabench.profile.pictures import pictures
from metabench.profile.plain_data import as_json
from metabench.profile.tables import counts, memory_table, operators_table, phases_table
from metabench.profile.terminal import as_text
from metabench.profile.trace import RANGE, Span
from metabench.profile.write import write_profile
from metabench.report.phases import phase_word
from metabench.sweep import proving
from metabench.sweep.workload import Workload
from metabench.tasks.base import TASKS, EpisodeShape

TINY = {"task": "sinusoid", "meta_batch": 2, "threads": 1}


def sinusoids():
    return TASKS.get("sinusoid").build(EpisodeShape(1, 10, 10), None)


@pytest.fixture(scope="module")
def found():
    return {e: profiled(cell_of(f"maml/{e}", TINY, 1), None, 0.0, peaks=False) for e in ("loop", "vmap")}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("maml/vmap", ("maml", "vmap")),
        ("mmal/vmap", ("mmal", "vmap")),
        ("mine.py:Mine/vmap", ("mine.py:Mine", "vmap")),
        ("sub/mine.py:Mine/sub/my.py:build", ("sub/mine.py:Mine", "sub/my.py:build")),
        ("maml/sub/my.py:build", ("maml", "sub/my.py:build")),
    ],
)
def test_an_implementation_has_two_names_whatever_their_slashes(name, parts):
    assert implementation_parts(name) == parts


def test_an_implementation_without_an_engine_is_refused():
    with pytest.raises(UserError, match="an implementation is ALGORITHM/ENGINE, such as maml/vmap"):
        implementation_parts("maml")


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


def test_operators_are_medians_over_ten_iterations_or_more(found):
    for profile in found.values():
        recording = profile.recording
        assert recording.seconds.n >= 10
        assert recording.trace.seconds == min(recording.seconds.samples)
        assert all(each.own.low <= each.own.value <= each.own.high for each in recording.operators)
        calls = {each.name: each.calls for each in recording.operators}
        assert calls["aten::mm"] == sum(o.span.name == "aten::mm" for o in profile.trace.operators)
        data = as_json(profile)
        assert data["recorded"]["self_s"] == pytest.approx(sum(each["self_s"] for each in data["operators"]))
        assert data["recorded"]["iterations"] == recording.seconds.n


def test_tables_and_facts_hold_every_phase(found):
    profile = found["vmap"]
    assert [row[0] for row in phases_table(profile).rows] == [phase_word(name) for name in profile.phases.seconds]
    assert all("[" in row[1] or row[1].startswith("at most ") for row in phases_table(profile).rows)
    assert len(operators_table(profile).rows) == 15
    said = dict(facts(profile))
    assert "GPU" not in said
    assert "GFLOP/s" in said["achieved"] or "cannot be told" in said["achieved"]
    assert "Phases" in as_text(profile, Path("out"), full=True)


def test_each_denominator_is_named_where_its_shares_stand(found):
    profile = found["vmap"]
    phases, operators, memory = phases_table(profile), operators_table(profile), memory_table(profile)
    assert phases.columns[2] == "share of all phases" and "Shares are of all phases together: " in phases.says
    assert (
        operators.columns[4] == "share of self time"
        and "Shares are of the self time of all operators: " in operators.says
    )
    assert (
        "% of the recorded iteration (" in operators.says
        and "% of the recorded" in dict(facts(profile))["in operators"]
    )
    assert all(table.columns and all(table.columns) for table in (phases, operators, memory))
    assert max(row[2].value for row in memory.rows) == 1


def test_the_words_are_those_of_the_field(found):
    for profile in found.values():
        shown = as_text(profile, Path("out"), full=True)
        assert "query loss (forward)" in shown and "gradient averaging" in shown
        assert "without instrumentation" in shown and "paired" in shown and "leaf operator calls" in shown
        for word in ("without marks", "in pairs", "that call no other, ", "average "):
            assert word not in shown


@pytest.fixture(scope="module")
def folder(found, tmp_path_factory):
    made = tmp_path_factory.mktemp("profile") / "new"
    write_profile(found["vmap"], made)
    return made


def test_files(folder):
    names = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert names == {"profile.json", "profile.html", "trace.json", "stacks.folded"} | {
        f"plots/{name}.{kind}" for name in ("phases", "flame", "memory") for kind in ("svg", "png", "csv")
    }
    trace = json.loads((folder / "trace.json").read_text())
    assert RANGE + "query" in {event.get("name") for event in trace["traceEvents"]}


def test_every_link_of_the_page_leads_to_a_file_or_a_place_on_it(folder):
    text = (folder / "profile.html").read_text(encoding="utf-8")
    links = {unquote(link) for link in re.findall(r'<a [^>]*?href="([^"]*)"', text)}
    places = {link[1:] for link in links if link.startswith("#")}
    files = {link for link in links if not link.startswith(("#", "data:"))}
    assert {"trace.json", "stacks.folded", "profile.json", "plots/phases.csv"} <= files
    assert all((folder / file).is_file() for file in files)
    assert places <= {unquote(place) for place in re.findall(r'id="([^"]*)"', text)}
    assert "open trace.json in ui.perfetto.dev" in text and "1 figure, 1 table" in text


@pytest.mark.parametrize(("width", "colours"), [(1440, "light"), (390, "light"), (1440, "dark")])
def test_a_browser_shows_the_page_and_asks_for_nothing(folder, width, colours):
    with browser() as opened:
        resize(opened, width)
        scheme(opened, colours)
        opened.get(address(folder / "profile.html"))
        first = opened.execute_script("return document.body.innerText.slice(0, 1500)")
        assert "metabench advise --algorithm maml" in first
        assert opened.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        heads = opened.execute_script(
            "return [...document.querySelectorAll('thead th')].map(h => h.textContent.trim())"
        )
        assert heads and all(heads)
        assert opened.get_log("browser") == []
        asked = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
        urls = [each["params"]["request"]["url"] for each in asked if each["method"] == "Network.requestWillBeSent"]
        assert [url for url in urls if not url.startswith(("data:", address(folder / "profile.html")))] == []


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


def test_what_is_wrong_is_not_profiled(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(proving, "gate", lambda *_: Correctness(1.0, 0.0))
    with pytest.raises(Incorrect, match="the engine's direction differs"):
        profiled(cell_of("maml/vmap", TINY, 1), None, 0.0, peaks=False)
    done = CliRunner().invoke(app, ["profile", "maml/vmap", "--threads", "1"])
    assert done.exit_code == 1 and not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_noticed_before_anything_is_measured(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr("metabench.profile.measuring.profiled", lambda *_: pytest.fail("nothing is to be measured"))
    done = CliRunner().invoke(app, ["profile", "maml/vmap", "--threads", "1", "--out", str(tmp_path / "file" / "new")])
    assert isinstance(done.exception, UserError) and "cannot write to" in str(done.exception)


def test_mistakes_are_one_sentence():
    for given, why in (("maml", "ALGORITHM/ENGINE"), ("mamll/vmap", "did you mean 'maml'"), ("maml/lop", "'loop'")):
        with pytest.raises(UserError, match=why):
            cell_of(given, {"task": "sinusoid"}, 1)


def test_the_alternative_is_an_engine_that_carries_the_algorithm(found):
    assert found["loop"].alternative == "vmap"  # all tasks at once
    assert found["vmap"].alternative == "compile"
    alone = Workload(cell_of("maml/loop", {**TINY, "meta_batch": 1}, 1), sinusoids())
    assert measuring.alternative_to(alone) == "compile"  # of one task there is nothing to batch
    compiled = Workload(cell_of("maml/compile", TINY, 1), sinusoids())
    assert measuring.alternative_to(compiled) == ""
    relation = Workload(cell_of("maml/higher", TINY, 1), sinusoids())
    assert measuring.alternative_to(relation) == "vmap"


def test_an_engine_that_does_not_carry_the_algorithm_is_not_advised(monkeypatch):
    def refuse(algorithm):
        raise Unsupported("not this one")

    vmap = ENGINES.get("vmap")
    monkeypatch.setattr(ENGINES, "_entries", {**dict(ENGINES), "vmap": replace(vmap, build=refuse)})
    assert measuring.alternative_to(Workload(cell_of("maml/loop", TINY, 1), sinusoids())) == "compile"


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
    bound = replace(loop, recording=replace(loop.recording, trace=trace), launches=Launches(5200.0, 5300.0, tenth, ""))
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
