"""What a profile advises, on profiles that were recorded: on a quiet machine, on a busy one, of one piece."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from metabench.measure.phases import Phases
from metabench.profile.advice import advice
from metabench.profile.crowding import Crowding
from metabench.profile.facts import facts, warnings
from metabench.profile.measuring import Profile, cell_of
from metabench.profile.recording import Recording
from metabench.profile.tables import operators_table, phases_table
from metabench.profile.terminal import MOST_LINES, as_text
from metabench.profile.trace import OperatorTime, Span, Trace
from metabench.record.measurement import Launches
from metabench.record.timing import Mean, Summary
from metabench.statistics.ratios import Interval

RECORDED = json.loads(Path(__file__).with_name("recorded_profiles.json").read_text(encoding="utf-8"))
QUIET = Crowding(0.0, 1.0, 2)


def summary(median, low, high):
    return Summary(median, low, high, 0.0, 20, 1, (median,))


def profile_of(name, **changes):
    """The profile with the recorded times of that name."""
    given = RECORDED[name]
    cell = cell_of(given["implementation"], {"task": given["task"], "threads": 1}, 1)
    seconds = {phase: Mean(*part, 20) for phase, part in given["phases"].items()}
    spans = tuple(Span(phase, 0.0, part[0]) for phase, part in given["phases"].items() if phase != "sampling")
    operators = tuple(OperatorTime(each, calls, Interval(*own)) for each, calls, *own in given["operators"])
    recording = Recording("{}", Trace(spans, (), (), ()), summary(*given["recorded"]), operators)
    phases = Phases(summary(*given["meta_iteration"]), seconds, summary(1.0, 0.99, 1.01))
    made = Profile(
        *(cell, given["task"], "a machine", name != "one piece", False, phases, recording, None, 10**9, 10**8, None),
        *(QUIET, "compile", {}),
    )
    return replace(made, **changes)


def test_the_phase_with_most_of_the_time_is_named_with_its_share():
    said = advice(profile_of("quiet", asked={"task": "omniglot", "inner_steps": 1}))
    assert said == (
        "Most of the time goes into the outer backward pass (61 %); of the operators, aten::convolution_backward (22 % "
        "of the operators' self time) takes most. Try `metabench profile maml/compile --task omniglot --inner-steps "
        "1`, or `metabench advise --algorithm maml --task omniglot --inner-steps 1` to time every engine."
    )


def test_the_share_is_that_of_the_table():
    profile = profile_of("quiet")
    shares = {row[0]: row[2] for row in phases_table(profile).rows}
    assert shares["outer backward"] in advice(profile) and shares["outer backward"] == "61 %"
    assert operators_table(profile).rows[0][4] == "22 %"


def test_an_operator_that_noise_hides_is_not_named():
    said = advice(profile_of("busy"))
    assert said.startswith("Most of the time goes into the outer backward pass (58 %). Try ")
    assert "aten::" not in said


def test_phases_that_noise_does_not_tell_apart_are_both_named():
    said = advice(profile_of("crowded", alternative="vmap"))
    assert said.startswith(
        "The largest parts of the time go into the outer backward pass (45 %) and the inner backward pass (at most 35 "
        "%), which noise does not tell apart. Try `metabench profile maml/vmap`"
    )


def test_an_engine_of_one_piece_has_no_phase_to_name():
    said = advice(profile_of("one piece", alternative=""))
    assert said == (
        "compile-tasks runs the meta-iteration as one piece; no operator in it is seen to take most. `metabench advise "
        "--algorithm reptile` times every engine."
    )


def test_a_time_that_is_open_names_no_cause_and_is_no_plain_figure():
    quiet = profile_of("quiet")
    open_step = replace(quiet, phases=replace(quiet.phases, step=summary(0.3, 0.0, 0.5)))
    assert advice(open_step).startswith("The timings are too noisy to name a cause: close other programs")
    said = dict(facts(open_step))
    assert said["meta-iteration"].startswith("at most 500 ms, ")
    assert said["achieved"].startswith("cannot be told") and "for each" not in said["leaf operator calls"]
    for table in (phases_table(profile_of("crowded")), operators_table(profile_of("one piece"))):
        assert all(" [0" not in text for row in table.rows for text in row)
        assert any(text.startswith("at most ") for row in table.rows for text in row)


@pytest.mark.parametrize(
    ("launches", "why"),
    [
        (Launches(5200.0, 5300.0, 4e-3, ""), "launching its work: the GPU is busy for 9.0 % of it."),
        (Launches(10.0, 5300.0, 4e-3, ""), "gaps between its kernels: the GPU is busy for 9.0 % of it."),
        (Launches(10.0, 5300.0, 43e-3, ""), "the outer backward pass (61 %)"),
    ],
)
def test_a_gpu_that_waits_is_the_cause(launches, why):
    quiet = profile_of("quiet")
    waiting = replace(quiet, launches=launches, phases=replace(quiet.phases, step=summary(0.0442, 0.0424, 0.0450)))
    assert advice(waiting).startswith(f"Most of the time goes into {why}")


@pytest.mark.parametrize(
    ("crowding", "says"),
    [
        (Crowding(1.3, 7.6, 2), "Overloaded: 7.6 programs wanted to run on 2 cores."),
        (Crowding(0.6, 2.1, 2), "Other programs kept 0.6 of 2 cores busy during the profile"),
        (Crowding(0.1, 1.2, 2), ""),
        (Crowding(0.0, 8.0, 2), ""),
        (Crowding(None, 8.0, 2), "Overloaded: 8.0 programs wanted to run on 2 cores."),
        (Crowding(None, None, 1), ""),
    ],
)
def test_a_load_above_the_cores_is_the_first_warning(crowding, says):
    found = warnings(profile_of("quiet", crowding=crowding))
    assert found[0].startswith(says) if says else not any("programs" in sentence for sentence in found)


@pytest.mark.parametrize("name", RECORDED)
def test_a_terminal_gets_forty_lines_the_advice_last(name):
    profile = profile_of(name, crowding=Crowding(1.3, 7.6, 2))
    lines = as_text(profile, Path("folder")).splitlines()
    assert len(lines) <= MOST_LINES == 40
    assert lines[-1] == advice(profile)
    assert "ui.perfetto.dev" in lines[-2] and "folder/profile.html" in lines[-2] and "--full" in lines[-2]
    full = as_text(profile, Path("folder"), full=True).splitlines()
    assert len(full) > len(lines) and full[-1] == advice(profile)
