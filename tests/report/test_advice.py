"""Which engine is named, and in which words, from recorded measurements; and one real run."""

import json

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from metabench.cli.main import app
from metabench.errors import UserError
from metabench.record.timing import Disturbance
from metabench.report import advice as advise
from metabench.report.render.tables import plain
from metabench.statistics.intervals import summarise
from metabench.sweep.brief import sweep_of
from runs import made

MIB = 1 << 20
SPREAD = [0.99, 1.01, 0.995, 1.005, 1.0, 0.992, 1.008, 0.997, 1.003]


def cell(engine, **axes):
    axes = {"algorithm": "maml", "task": "sinusoid", **axes}
    return sweep_of(axes, engine, rounds=1, time_limit_s=60, cores=1).cells[0]


def measured(engine, milliseconds, mib=None, *, compiling=None, cache="cold", number=0, spread=SPREAD, **memory):
    """A row whose samples lie around a time."""
    step = summarise([milliseconds / 1000 * share for share in spread])
    time = {"step": step, "noisy": False, "compile_s": compiling or 0.0}
    time["compile_cache"] = cache if compiling else ""
    if mib is not None:
        memory["tracked_bytes"] = mib * MIB
    own = cell(engine)
    return made(own, number, "ok", "", time=time, memory=memory if memory else None)


def failed(engine, status, reason):
    own = cell(engine)
    return made(own, 0, status, reason)


RECORDED = [
    measured("loop", 8.0, 10),
    failed("higher", "unsupported", "it is not installed: pip install it"),
    measured("compile", 0.5, 40, compiling=12.0),
    measured("vmap", 1.0, 30),
    failed("learn2learn", "incorrect", "its direction differs from loop's"),
]


def said(rows, limit=None):
    return advise.sentences(advise.judge(rows, limit))


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ("loop", "compile is 16.0"),
        ("compile", "None is faster than compile."),
        ("learn2learn", "learn2learn did not pass the correctness gate: its direction differs from loop's"),
        ("higher", "higher cannot be run here: it is not installed: pip install it"),
    ],
)
def test_an_engine_of_the_users_own_is_held_against_the_fastest(own, sentence):
    said = advise.sentences(advise.judge(RECORDED, None, [own]))
    assert said[-1].startswith(sentence)
    assert said[:-1] == advise.sentences(advise.judge(RECORDED))
    assert own != "loop" or said[-1].endswith(" times as fast as loop.")


def test_an_engine_that_cannot_be_told_apart_is_said_to_be_so():
    rows = [measured("loop", 1.0, 10), measured("vmap", 1.01, 10)]
    assert advise.sentences(advise.judge(rows, None, ["vmap"]))[-1] == "loop and vmap cannot be told apart."


def test_an_engine_by_path_is_compared_with_the_others(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("def engine(algorithm):\n    return None\n")
    monkeypatch.chdir(tmp_path)
    axes = {"algorithm": "maml", "task": "sinusoid"}
    sweep = sweep_of(axes, "loop,vmap", 1, 60, 1, ["mine.py:engine", "vmap"])
    assert [cell.engine for cell in sweep.cells] == ["loop", "vmap", "mine.py:engine"]
    with pytest.raises(UserError, match="'mine.py' has no 'engin': did you mean 'engine'?"):
        sweep_of(axes, "loop", 1, 60, 1, ["mine.py:engin"])


def test_the_fastest_and_what_its_compiling_costs():
    advice = advise.judge(RECORDED)
    assert [c.engine for c in advice.engines][:3] == ["compile", "vmap", "loop"]
    assert advice.fastest == advise.Choice("compile", (), "vmap", 24_000)  # 12 s ÷ (1.0 - 0.5 ms)
    assert advice.engines[1].times_as_fast.value == pytest.approx(8)
    assert said(RECORDED) == [
        "Fastest: compile, 500 µs an iteration, 16.0 times as fast as loop, 40.0 MiB tracked.",
        "compile repays its 12.0 s of compiling (cold cache) after about 24,000 iterations against vmap.",
    ]


@pytest.mark.parametrize(
    ("limit", "engine"), [(40 * MIB, "compile"), (40 * MIB - 1, "vmap"), (10 * MIB, "loop"), (10 * MIB - 1, None)]
)
def test_a_memory_limit_is_the_largest_peak_allowed(limit, engine):
    advice = advise.judge(RECORDED, limit)
    assert advice.fastest.engine == "compile"
    assert (advice.fastest_within_limit and advice.fastest_within_limit.engine) == engine


def test_the_words_for_a_memory_limit():
    assert said(RECORDED, 35 * MIB)[2:] == [
        "Within 35.0 MiB: vmap, 1.00 ms an iteration, 8.0 times as fast as loop, 30.0 MiB tracked."
    ]
    assert said(RECORDED, 35 * MIB)[:2] == said(RECORDED)
    assert said(RECORDED, MIB)[2:] == ["Within 1.00 MiB: no engine."]


@pytest.mark.parametrize(("threads", "remedy"), [(1, "close them"), (2, "close them, or ask for --threads 1")])
def test_advice_says_what_was_disturbed_and_what_helps(threads, remedy):
    rows = [replace(row, cell=replace(row.cell, threads=threads)) for row in (RECORDED[0], RECORDED[3])]
    rows = [replace(row, id=row.cell.id) for row in rows]
    assert "disturbed" not in " ".join(said(rows))
    disturbed = Disturbance("others were busy", 3.0)
    rows[0] = replace(rows[0], time=replace(rows[0].time, disturbed=disturbed))
    assert said(rows)[0] == f"Other programs disturbed the times of loop: {remedy}, and measure again."
    assert " (disturbed)" in plain(advise.table(advise.judge(rows)))


def test_what_is_within_the_noise_cannot_be_told_apart():
    # 1.08 in medians: less than two processes with the same work differ by
    rows = [measured("loop", 8.0), measured("compile", 1.0, compiling=12.0), measured("vmap", 1.08)]
    assert advise.judge(rows).fastest == advise.Choice("compile", ("vmap",), "vmap", None)
    assert said(rows)[1:] == [
        "compile cannot be told apart from vmap: more --rounds may tell.",
        "vmap spares the 12.0 s of compiling (cold cache).",
    ]
    # 1.5, but with samples that overlap widely
    wide = [0.4, 0.6, 0.9, 1.1, 1.6, 2.5]
    rows = [measured("loop", 8.0), measured("compile", 1.0, spread=wide), measured("vmap", 1.5, spread=wide)]
    assert advise.judge(rows).fastest.tied == ("vmap",)
    # 8, but with samples too few for an interval
    rows = [measured("loop", 8.0, spread=[0.9, 1.0, 1.1]), measured("compile", 1.0)]
    assert advise.judge(rows).fastest.tied == ("loop",)
    assert "8.00 ms [?]" in plain(advise.table(advise.judge(rows)))


def test_three_rounds_tell_apart_what_one_cannot():
    pairs = [(measured("vmap", 1.00, number=i), measured("loop", 1.05, number=i)) for i in range(3)]
    rows = [row for pair in pairs for row in pair]
    assert advise.judge(rows[:2]).fastest.tied == ("loop",)
    assert advise.judge(rows).fastest.tied == ()
    # but not if one of the three says the contrary
    rows[-2:] = [measured("vmap", 1.10, number=2), measured("loop", 1.05, number=2)]
    assert advise.judge(rows).fastest.tied != ()


def test_an_engine_that_failed_in_one_round_is_not_advised():
    late = replace(failed("vmap", "timeout", "too late"), round=1)
    rows = [measured("vmap", 1.0), late, measured("loop", 8.0), measured("loop", 8.0, number=1)]
    assert advise.judge(rows).fastest.engine == "loop"
    assert "timeout (1 of 2 rows)" in plain(advise.table(advise.judge(rows)))


def test_the_table_is_sorted_and_unsupported_engines_stand_below_it():
    table = advise.table(advise.judge(RECORDED))
    assert table.columns[3] == "times as fast as loop"
    assert [row[0] for row in table.rows] == ["compile", "vmap", "loop", "learn2learn"]
    assert [row[1] for row in table.rows] == ["ok", "ok", "ok", "incorrect"]
    assert [row[-1] for row in table.rows] == ["12.0 s (cold cache)", "–", "–", "–"]
    assert table.rows[2][3] == "1" and table.rows[3][2:] == ("–", "–", "–", "–")
    assert "higher cannot be run here: it is not installed: pip install it" in table.notes
    assert "learn2learn did not pass the correctness gate: its direction differs from loop's" in table.notes
    assert "maml: sinusoid, 10 points" in table.title


def test_without_a_time_of_loop_speed_ups_are_over_the_slowest():
    rows = [measured("compile", 0.5), measured("vmap", 1.0), failed("loop", "crashed", "it fell")]
    assert advise.judge(rows).baseline == "vmap"
    assert said(rows) == ["Fastest: compile, 500 µs an iteration, 2.00 times as fast as vmap."]


def test_peaks_say_how_they_were_found():
    rows = [
        measured("loop", 8.0, tracked_bytes=2 * MIB, resident_bytes=9 * MIB),
        measured("vmap", 4.0, tracked_bytes=None, resident_bytes=9 * MIB),
        measured("jax", 1.0, tracked_bytes=None, resident_bytes=9 * MIB),
        measured("compile", 2.0, cuda_allocated_bytes=5 * MIB, tracked_bytes=1, nvml_bytes=99 * MIB),
        measured("jax-im2col", 16.0, cuda_allocated_bytes=None, nvml_bytes=99 * MIB),
    ]
    peaks = {c.engine: (c.peak.bytes // MIB, c.peak.method) for c in advise.judge(rows).engines}
    assert peaks == {
        "loop": (2, "tracked"),
        "vmap": (9, "resident"),
        "jax": (9, "resident"),
        "compile": (5, "allocated"),
        "jax-im2col": (99, "on the GPU"),
    }
    assert sum(note.startswith("Peak memory, ") for note in advise.table(advise.judge(rows)).notes) == 4


def test_no_engine_at_all():
    rows = [failed("loop", "unsupported", "conv4 needs images"), failed("vmap", "oom", "no more memory")]
    assert said(rows, MIB) == ["Fastest: no engine.", "Within 1.00 MiB: no engine."]
    assert "conv4 needs images" in plain(advise.table(advise.judge(rows[:1])))


@pytest.fixture
def recorded(monkeypatch):
    """The command line in this process, on recorded rows; `None` among them is Ctrl-C."""

    def run(rows, *arguments):
        def measure(sweep, data_dir, progress):
            for row in rows:
                if row is None:
                    raise KeyboardInterrupt
                yield row

        monkeypatch.setattr("metabench.api.advising.measure_briefly", measure)
        monkeypatch.setattr("signal.signal", lambda *_: None)
        return CliRunner().invoke(app, ["advise", "--algorithm", "maml", *arguments])

    return run


def test_json_is_strict_and_says_the_same(recorded):
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    done = recorded(RECORDED, "--json", "--memory-limit", "35MiB")
    assert done.exit_code == 0
    found = json.loads(done.stdout, parse_constant=refuse)
    assert found["fastest"] == {"engine": "compile", "tied": [], "plain": "vmap", "repaid_after": 24_000}
    assert found["fastest_within_limit"]["engine"] == "vmap"
    assert found["memory_limit"] == 35 * MIB
    assert found["sentences"] == said(RECORDED, 35 * MIB)
    assert not found["interrupted"]
    assert found["setting"]["model"] == "mlp-40x2"
    engines = {engine["engine"]: engine for engine in found["engines"]}
    assert engines["vmap"]["step"]["value"] == pytest.approx(1e-3)
    assert engines["higher"]["status"] == "unsupported" and engines["higher"]["step"] is None


def test_an_interruption_prints_what_is_there(recorded):
    done = recorded([*RECORDED[:1], None, *RECORDED[1:]], "--engines", "loop,vmap")
    assert done.exit_code == 130
    assert "Fastest: loop, 8.0" in done.stdout and "vmap" not in done.stdout
    assert "interrupted after 1 of 2 measurements" in done.stderr
    assert json.loads(recorded([RECORDED[0], None], "--json").stdout)["interrupted"]
    at_once = recorded([None])
    assert (at_once.exit_code, at_once.stdout) == (130, "")


def test_nothing_to_advise_is_a_failure(recorded):
    done = recorded([failed("loop", "crashed", "it fell")])
    assert done.exit_code == 1
    assert "loop crashed: it fell" in done.stdout
    assert "no engine could be measured" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--engines", "loop,vmpa"), "unknown engine 'vmpa': did you mean 'vmap'?"),
        (("--model", "mlp-40"), "unknown model 'mlp-40': did you mean 'mlp-40x2'?"),
        (("--task", "sinus"), "unknown task 'sinus': did you mean 'sinusoid'?"),
        (("--precision", "float16"), "unknown precision 'float16': did you mean 'bfloat16'?"),
        (("--meta-batch", "0"), "axis 'meta_batch' takes whole numbers of 1 or more, not 0"),
        (("--memory-limit", "lots"), "'lots' is not a size of memory"),
    ],
)
def test_mistakes_are_named(recorded, arguments, sentence):
    done = recorded([], *arguments)
    assert isinstance(done.exception, UserError) and sentence in str(done.exception)


def test_a_missing_data_set_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))
    arguments = ["advise", "--algorithm", "maml", "--task", "omniglot", "--data-dir", str(tmp_path / "nowhere")]
    monkeypatch.setattr("signal.signal", lambda *_: None)
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, UserError) and "nowhere does not exist" in str(done.exception)


def test_a_real_setting(metabench):
    small = ("--meta-batch", "8", "--threads", "1", "--memory-limit", "1GB")
    done = metabench("advise", "--algorithm", "maml", "--engines", "loop,vmap", *small)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    rows = [line.split("│")[1:4] for line in lines if line.startswith("│")]
    timed = [row for row in rows if row[0].strip()][1:]  # a wide header goes on in a second line
    assert {(engine.strip(), status.strip()) for engine, status, _ in timed} == {("loop", "ok"), ("vmap", "ok")}
    assert all("ms [" in time or "µs [" in time for *_, time in timed)
    fastest = next(line for line in lines if line.startswith("Fastest: "))
    assert fastest.removeprefix("Fastest: ").split(",")[0] == timed[0][0].strip()
    assert any(line.startswith("Within 954 MiB: ") for line in lines)
