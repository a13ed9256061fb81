"""Verdicts on runs whose truth is known: conftest.py's times, peaks and scores."""

import json
import math
from dataclasses import replace

import pytest

import runs
from metabench.record.cell import AXES
from metabench.record.environment import Environment
from metabench.report.claims.claim import Claim
from metabench.report.claims.judging import judge_claims
from metabench.report.claims.rules import Measured, judge, range_of
from metabench.report.claims.selection import UNLESS_NAMED, UNSAID
from metabench.report.claims.tables import claims_frame, claims_json, claims_table, verdict_text
from metabench.report.claims.undecided import remedy
from metabench.report.results import run_of
from metabench.statistics.ratios import Interval
from runs import timed_apart

FASTER = {"rule": "ratio", "figure": "time", "of": {"algorithm": "fomaml"}, "against": {"algorithm": "maml"}}
SMALLER = {**FASTER, "figure": "memory"}
MSE = {"rule": "interval", "metric": "mse", "of": {"algorithm": "maml"}}


def scored(made, score):
    """The row with another score."""
    ends = {"value": score, "low": score - 0.01, "high": score + 0.01}
    made["quality"] |= {**ends, "by_step": [{"step": 2, **ends}]}
    return made


@pytest.fixture
def pair(row):
    """MAML and FOMAML in three rounds; FOMAML takes 0.6 of the time and half of the memory."""
    return runs.run([row(number, algorithm=name) for number in range(3) for name in ("maml", "fomaml")])


def test_a_claim_that_names_no_query_sets_is_about_balanced_ones(held, row):
    of = {**MSE, "claimed": 0.5, "allowance": 1.0}
    drawn = runs.run([row(measure=["quality"], eval_queries="independent")])
    assert held([drawn], **of).shown is None
    assert "eval queries independent, not balanced" in held([drawn], **of).reason
    assert held([drawn], **{**of, "of": {"algorithm": "maml", "eval_queries": "independent"}}).shown


def test_a_claim_that_names_no_test_classes_is_about_new_ones(held, row):
    of = {**MSE, "claimed": 0.5, "allowance": 1.0}
    leaked = runs.run([row(measure=["quality"], eval_classes="any")])
    assert "eval classes any, not new" in held([leaked], **of).reason
    assert held([leaked], **{**of, "of": {"algorithm": "maml", "eval_classes": "any"}}).shown


def test_trainings_on_other_query_sets_are_not_compared(held, row):
    order = {
        "rule": "order",
        "figure": "quality",
        "metric": "mse",
        "of": {"algorithm": "fomaml"},
        "against": {"algorithm": "maml"},
    }
    mixed = [
        row(algorithm="maml", measure=["quality"], eval_queries="single"),
        row(algorithm="fomaml", measure=["quality"]),
    ]
    assert "nothing to compare with" in held([runs.run(mixed)], **order).reason


def test_ratios_are_formed_within_rounds(held, pair):
    found = held([pair], **FASTER, claimed=0.6, allowance=0.1)
    assert (found.verdict, found.reason) == ("holds", "")
    (answer,) = found.answers
    assert answer.measured.figure.value == pytest.approx(0.6, rel=0.01)  # though rounds differ by a factor of two
    assert set(answer.cells) == {row.id for row in pair.measurements}
    assert held([pair], **FASTER, claimed=0.8, allowance=0.1).verdict == "does not hold"
    edge = held([pair], **FASTER, claimed=answer.measured.figure.value, allowance=1e-6)
    assert (edge.verdict, edge.reason) == ("cannot tell", "interval too wide")


def test_an_interval_that_holds_the_noise_floor_may_be_too_wide(held, row, pairs):
    made = [row(number, algorithm=name) for number in range(3) for name in ("maml", "fomaml")]
    loud = replace(runs.run(made), noise_rows=tuple(runs.records(pairs((1, 1.5), (1.5, 1), (1, 1.4)))))
    found = held([loud], **FASTER, claimed=0.8, allowance=0.1)
    assert (found.verdict, found.reason) == ("cannot tell", "interval too wide")


def test_an_interval_without_an_end_is_written(held, row):
    """Two samples of a single process bound nothing; JSON has no number for that."""
    made = [row(0, algorithm=name) for name in ("maml", "fomaml")]
    for one in made:
        one["time"]["step"]["samples"] = one["time"]["step"]["samples"][:2]
    found = held([runs.run(made)], **FASTER, claimed=0.8)
    assert math.isinf(found.shown.measured.figure.high)
    (told,) = claims_json([found])
    (setting,) = told["settings"]
    assert (setting["measured_high"], math.isfinite(setting["measured_value"])) == (None, True)
    json.dumps(told, allow_nan=False)


def test_a_single_round_says_nothing_of_processes(held, row):
    one = runs.run([row(0, algorithm=name) for name in ("maml", "fomaml")])
    found = held([one], **FASTER, claimed=0.8)
    assert (found.verdict, found.reason) == ("cannot tell", "only 1 repetition, and no noise floor")
    assert found.shown.measured.figure.value == pytest.approx(0.6, rel=0.02)


def disturbed(made):
    made["time"]["disturbed"] = {"reason": "half of the samples took 9 times as long", "factor": 9.0}
    return made


def test_a_disturbed_time_decides_nothing(held, row):
    rows = [row(number, algorithm=name) for number in range(3) for name in ("maml", "fomaml")]
    assert held([runs.run(rows)], **FASTER, claimed=0.6, allowance=0.1).verdict == "holds"
    for number in (-1, -2):  # of either side
        marked = [*rows[:number], disturbed(row(2, algorithm=rows[number]["cell"]["algorithm"])), *rows[number:][1:]]
        found = held([runs.run(marked)], **FASTER, claimed=0.6, allowance=0.1)
        assert (found.verdict, found.reason) == ("cannot tell", "other programs disturbed the time")
        assert held([runs.run(marked)], **SMALLER, claimed=0.5).verdict == "holds"
    growing = [row(number, meta_batch=size) for number in range(3) for size in (5, 25, 100)]
    time = {"rule": "exponent", "figure": "time", "along": "meta_batch", "of": {"algorithm": "maml"}, "allowance": 0.1}
    assert held([runs.run(growing)], **time, claimed=1).verdict == "holds"
    disturbed(growing[0])
    assert held([runs.run(growing)], **time, claimed=1).reason == "other programs disturbed the time"


@pytest.mark.parametrize("claim", ["inference", "derivatives"])
def test_a_disturbed_time_of_what_is_timed_apart_decides_nothing(held, row, claim):
    def judged(why):
        parts = {"task": (2.0, 1.0, 1.0), "derivatives": (1.0, 2.0)}
        measure = ["adaptation", "double_backward"]
        made = [
            timed_apart(row(number, algorithm=name, measure=measure), disturbed=why, **parts)
            for number in range(3)
            for name in ("maml", "anil")
        ]
        if claim == "derivatives":
            return held([runs.run(made)], rule="ratio", figure="double_backward", of={"algorithm": "maml"}, claimed=2)
        return held([runs.run(made)], **{**INFERENCE, "setting": {}}, claimed=1)

    assert (judged("").verdict, judged("others").verdict) == ("holds", "cannot tell")
    assert judged("others").reason == "other programs disturbed the time"


def test_peaks_are_exact(held, pair):
    assert held([pair], **SMALLER, claimed=0.5).verdict == "holds"
    assert held([pair], **SMALLER, claimed=0.45, allowance=0.1).verdict == "does not hold"
    found = held([pair], **SMALLER, claimed=0.45, allowance=0.2)
    assert found.verdict == "holds" and "0.500 (exact)" in claims_table([found]).rows[0]


@pytest.mark.parametrize(("what", "figure"), [(FASTER, 0.6), (SMALLER, 0.5)], ids=["time", "memory"])
def test_what_a_gpu_is_said_to_do_is_shown_as_measured_without_one(held, pair, what, figure):
    found = held([pair], **what, claimed=figure, setting={"device": "cuda"})
    assert (found.verdict, found.reason) == ("cannot tell", "measured on a processor, not on a GPU")
    assert found.shown.measured.figure.value == pytest.approx(figure, rel=0.01)


def test_a_ratio_that_shrinks_with_a_size(held, row):
    """1/K of the memory at K inner steps; the synthetic technique takes a quarter, whatever K is."""
    made = [row(checkpoint=flag, inner_steps=steps) for flag in (True, False) for steps in (4, 8)]
    claim = {
        "rule": "ratio",
        "figure": "memory",
        "claimed": 1,
        "per": "inner_steps",
        "allowance": 0.1,
        "of": {"algorithm": "maml", "checkpoint": True},
        "against": {"checkpoint": False},
    }
    found = held([runs.run(made)], **claim)
    assert [answer.said.verdict for answer in found.answers] == ["holds", "does not hold"]
    assert (found.verdict, found.reason) == ("does not hold", "in 1 of 2 settings")


def test_a_claim_that_names_no_technique_is_about_cells_without_one(held, row):
    plain = [row(inner_steps=steps) for steps in (1, 5, 10)]
    techniques = {"second_order": "forward-over-reverse", "kept_steps": 10}
    other = [row(inner_steps=steps, **techniques) for steps in (1, 5, 10)]
    for made in other:
        made["memory"]["tracked_bytes"] = 1000
    claim = {"rule": "exponent", "figure": "memory", "along": "inner_steps", "of": {"algorithm": "maml"}}
    alone = held([runs.run(plain)], **claim, claimed=1)
    both = held([runs.run([*plain, *other])], **claim, claimed=1)
    assert alone.shown.measured.figure == both.shown.measured.figure


def test_every_technique_goes_without_saying_but_those_of_presets():
    techniques = {name for name, axis in AXES.items() if axis.role == "technique"}
    assert techniques - set(UNLESS_NAMED) == {"inner_optimizer", "outer_clip"}


def test_growth_per_step_of_two_lines(held, row):
    """Peaks are scale · (1 + K): of the technique a quarter, so four times as many steps fit."""
    made = [row(checkpoint=flag, inner_steps=steps) for flag in (True, False) for steps in (1, 5, 10)]
    claim = {
        "rule": "ratio",
        "figure": "memory",
        "along": "inner_steps",
        "of": {"algorithm": "maml", "checkpoint": False},
    }
    found = held([runs.run(made)], **claim, against={"checkpoint": True}, claimed=4)
    assert found.verdict == "holds"
    assert found.shown.measured.figure.value == pytest.approx(4)


def test_exponents(held, row):
    made = [row(number, meta_batch=size) for number in range(3) for size in (5, 25, 100)]
    time = {"rule": "exponent", "figure": "time", "along": "meta_batch", "of": {"algorithm": "maml"}, "allowance": 0.1}
    found = held([runs.run(made)], **time, claimed=1)
    assert found.verdict == "holds" and found.shown.measured.figure.value == pytest.approx(1, abs=0.02)
    assert held([runs.run(made)], **time, claimed=2).verdict == "does not hold"
    memory = {**time, "figure": "memory", "claimed": 0, "allowance": 0}
    assert held([runs.run(made)], **memory).verdict == "holds"  # synthetic peaks do not depend on it
    two = held([runs.run([r for r in made if r["cell"]["meta_batch"] != 5])], **time, claimed=1)
    assert two.verdict == "cannot tell" and two.reason.startswith("not measured")


def test_a_growth_that_holds_on_one_engine_and_not_on_another_says_so(held, row):
    def grown(engine, size, peak):
        made = row(0, engine=engine, meta_batch=size)
        made["memory"] = made["memory"] | {"tracked_bytes": peak}
        return made

    made = [grown("vmap", size, 1000 * size) for size in (5, 25, 100)]
    made += [grown("loop", size, 7000) for size in (5, 25)]  # two sizes are enough for what does not change
    claim = {"rule": "exponent", "figure": "memory", "along": "meta_batch", "of": {"algorithm": "maml"}, "claimed": 1}
    found = held([runs.run(made)], **claim)
    assert (found.verdict, found.reason) == ("holds in part", "holds on vmap; not on loop")
    assert claims_table([found]).rows[0][-1] == "holds in part: holds on vmap; not on loop"
    assert claims_table([found]).rows[0][4] == "1.00 (exact; 0.00 to 1.00)"
    only = held([runs.run(made)], **claim | {"of": {"algorithm": "maml", "engine": "loop"}})
    assert (only.verdict, only.shown.measured.figure.value) == ("does not hold", 0)
    flat = held([runs.run(made[-2:])], **claim | {"claimed": 0})
    assert flat.verdict == "holds"


def test_a_fixed_part_may_explain_what_grows_less_than_linearly(claim_of):
    """What the laws of growth cannot tell, the claim cannot tell either."""
    claim = claim_of(rule="exponent", figure="time", along="meta_batch", of={"algorithm": "maml"}, claimed=1)
    for figure, may_be_straight, said in (
        (Interval(0.6, 0.45, 0.79), True, ("cannot tell", "a fixed part may explain it")),
        (Interval(0.6, 0.45, 0.79), False, ("does not hold", "")),
        (Interval(1.6, 1.45, 1.79), True, ("does not hold", "")),
    ):
        found = judge(claim, Measured(figure, may_be_straight=may_be_straight), range_of(claim), [])
        assert (found.verdict, found.reason, found.reaches) == (*said, None)


def test_growth_with_a_size_that_is_not_known(held, row):
    refused = runs.run([row(0, "unsupported", "no images")])
    found = held([refused], rule="exponent", figure="time", along="parameters", of={"algorithm": "maml"}, claimed=1)
    assert (found.verdict, found.reason) == ("cannot tell", "not measured: there are not enough figures for it")


def test_a_published_score_is_reached_or_not(held, row):
    """MAML's error is 0.41 in the mean of three seeds, ± 0.03 over tasks."""
    run = runs.run([row(seed=seed) for seed in range(3)])
    assert held([run], **MSE, claimed=0.46).verdict == "holds"
    assert held([run], **MSE, claimed=2.0).verdict == "holds"  # better is reached, too
    assert held([run], **MSE, claimed=0.2).verdict == "does not hold"
    assert held([run], **MSE, claimed=0.2, allowance=0.3).verdict == "holds"
    assert held([run], **MSE, claimed=0.41).reason == "interval too wide"
    assert held([run], **{**MSE, "rule": "range"}, claimed=[1.5, 2.5]).verdict == "does not hold"
    assert held([run], **{**MSE, "rule": "one-sided"}, at_most=0.5).verdict == "holds"
    assert held([run], **{**MSE, "rule": "one-sided"}, at_least=0.5).verdict == "does not hold"
    after = held([run], **MSE, claimed=0.82, allowance=0.1, after=1)  # twice the final error
    assert after.verdict == "holds" and after.shown.measured.figure.value == pytest.approx(0.82, rel=1e-3)


@pytest.mark.parametrize(
    ("claimed", "axes", "verdict", "reaches", "repeats"),
    [
        (0.46, {}, "holds", "yes", "holds"),
        (0.46, {"departs": ["a", "b"]}, "holds but for", "yes", "holds but for"),
        (0.46, {"setting": {"iterations": 60_000}}, "reached in another setting", "yes", "cannot tell"),
        (
            0.46,
            {"setting": {"model": "mlp-80x2"}, "departs": ["a"]},
            "reached in another setting",
            "yes",
            "cannot tell",
        ),
        (0.2, {}, "does not hold", "no", "does not hold"),
        (0.2, {"departs": ["a", "b"]}, "cannot tell", "no", "cannot tell"),
        (0.2, {"setting": {"iterations": 60_000}}, "cannot tell", "no", "cannot tell"),
        (0.41, {}, "cannot tell", "cannot tell", "cannot tell"),
        (0.41, {"departs": ["a"]}, "cannot tell", "cannot tell", "cannot tell"),
        (0.41, {"setting": {"iterations": 60_000}}, "cannot tell", "cannot tell", "cannot tell"),
    ],
)
def test_whether_a_score_is_reached_and_whether_its_setting_repeats_it(
    held, row, claimed, axes, verdict, reaches, repeats
):
    """MAML's error is 0.41 after 1000 iterations: reached in whatever setting, refuted in the source's alone."""
    found = held([runs.run([row(seed=seed) for seed in range(3)])], **MSE, claimed=claimed, **axes)
    assert (found.verdict, found.said.reaches) == (verdict, reaches)
    (line,) = claims_frame([found]).to_dict("records")
    assert (line["reaches"], line["repeats"], line["verdict"]) == (reaches, repeats, verdict)
    assert claims_table([found]).rows[0][-3:-1] == (reaches, repeats)


def test_a_shorter_training_refutes_nothing(held, row):
    run = runs.run([row(seed=seed) for seed in range(3)])  # 1000 iterations
    found = held([run], **MSE, claimed=0.2, setting={"iterations": 60_000})
    assert found.reason == "not reached in another setting: trained for 1 000 of 60 000 iterations"
    assert found.shown.measured.figure.value == pytest.approx(0.41, rel=1e-3)
    assert held([run], **MSE, claimed=0.46, setting={"iterations": 60_000}).reason == (
        "trained for 1 000 of 60 000 iterations"
    )
    assert held([run], **MSE, claimed=0.2, setting={"iterations": 1000}).verdict == "does not hold"
    other = held([run], **MSE, claimed=0.46, setting={"model": "mlp-80x2", "meta_batch": 4})
    assert other.reason == "another model (mlp-40x2, not mlp-80x2); meta-batch 25, not 4"
    ranged = held([run], **{**MSE, "rule": "range"}, claimed=[0.3, 0.5], setting={"iterations": 60_000})
    assert (ranged.verdict, ranged.said.reaches) == ("cannot tell", None)  # it may yet leave the range
    assert claims_table([ranged]).rows[0][-3:-1] == ("–", "–")


def test_many_differences_are_counted_and_the_file_has_all_of_them(held, row):
    wanted = {"model": "a", "meta_batch": 4, "query": 3, "inner_steps": 7, "outer_lr": 3.0}
    found = held([runs.run([row()])], **MSE, claimed=0.46, setting=wanted)
    first = "another model (mlp-40x2, not a); meta-batch 25, not 4; query 10, not 3"
    assert found.reason == f"{first}; and 2 more differences"
    (line,) = claims_frame([found]).to_dict("records")
    assert line["differences"].startswith(first) and len(line["differences"].split("; ")) == 5


def test_what_no_setting_changes_keeps_a_claim_from_being_refuted(held, row):
    run = runs.run([row(seed=seed) for seed in range(3)])
    missed = held([run], **MSE, claimed=0.2, departs=["a", "b"])
    assert missed.reason == "not reached; repeated but for: a; b"
    assert claims_table([held([run], **MSE, claimed=0.46, departs=["a", "b"])]).rows[0][-1] == "holds but for: a; b"
    ranged = {**MSE, "rule": "range", "departs": ["a"]}
    assert held([run], **ranged, claimed=[0.3, 0.5]).verdict == "holds but for"
    outside = held([run], **ranged, claimed=[1.5, 2.5])
    assert (outside.verdict, outside.reason) == ("cannot tell", "repeated but for: a")


def test_a_score_is_held_against_all_runs_and_those_that_repeat_the_setting_come_first(held, row):
    short = runs.run([row(seed=seed) for seed in range(3)], name="short")
    long = runs.run([row(seed=seed, iterations=60_000) for seed in range(3)], name="long")
    other = runs.run([row(seed=seed, iterations=500, meta_batch=4) for seed in range(3)], name="other")
    names = {**MSE, "setting": {"iterations": 60_000, "meta_batch": 25}}
    for order in ([short, long, other], [other, long, short], [other, short, long]):
        found = held(order, **names, claimed=0.46)
        assert (found.verdict, found.reason, found.shown.run.name) == ("holds", "", "long")
        assert {answer.run.name for answer in found.answers} == {"short", "long", "other"}
    for order in ([short, other], [other, short]):  # of two other settings the nearer one is shown
        assert held(order, **names, claimed=0.46).shown.run.name == "short"
        assert held(order, **names, claimed=0.2).shown.run.name == "short"


def test_a_score_that_only_another_setting_reaches_says_so(held, row):
    def scored(algorithm, **axes):
        return runs.run([row(seed=seed, algorithm=algorithm, **axes) for seed in range(3)], name=algorithm)

    names = {**MSE, "of": {"algorithm": ["maml", "reptile"]}, "setting": {"iterations": 2000}}
    found = held([scored("maml"), scored("reptile", iterations=2000)], **names, claimed=0.5)
    assert (found.verdict, found.reason) == ("does not hold", "reached in another setting")
    assert (found.said.reaches, found.shown.run.name) == ("yes", "reptile")


def test_of_other_settings_one_that_may_reach_a_score_is_shown_before_one_that_misses_it(held, row):
    """MAML's error is 0.41, Reptile's 0.81."""
    far = runs.run([row(seed=seed, meta_batch=4) for seed in range(3)], name="far")
    near = runs.run([row(seed=seed, algorithm="reptile") for seed in range(3)], name="near")
    same = runs.run([row(algorithm="reptile", iterations=60_000)], name="same")
    of = {"algorithm": ["maml", "reptile"]}
    names = {**MSE, "of": of, "setting": {"iterations": 60_000, "meta_batch": 25}}
    for order in ([near, far], [far, near]):
        found = held(order, **names, claimed=0.41)
        assert (found.verdict, found.said.reaches, found.shown.run.name) == ("cannot tell", "cannot tell", "far")
        assert found.reason == "trained for 1 000 of 60 000 iterations; meta-batch 4, not 25"
        assert held(order, **names, claimed=0.2).shown.run.name == "near"
    repeated = held([far, near, same], **names, claimed=0.41)  # the source's setting is shown, though it misses
    assert (repeated.shown.run.name, repeated.reason) == ("same", "not reached; one training seed")


def test_an_axis_that_a_claim_leaves_open_means_its_default(held, row):
    """Figures of an evaluation that came later refute nothing; rows from before it have its default."""
    plain = runs.run([row(seed=seed) for seed in range(3)])
    assert held([plain], **MSE, claimed=0.2).verdict == "does not hold"
    (axis, *_) = (name for name in UNSAID if AXES[name].kind is int)
    harder = runs.run([row(seed=seed, **{axis: 3}) for seed in range(3)])
    found = held([harder], **MSE, claimed=0.2)
    assert (found.verdict, found.said.reaches) == ("cannot tell", "no")
    assert found.reason.endswith(f"{AXES[axis].word} 3, not {AXES[axis].default}")
    assert held([harder], **MSE, claimed=0.2, setting={axis: 3}).verdict == "does not hold"
    asked = held([plain], **MSE, claimed=0.2, setting={axis: 3})
    assert asked.reason.endswith(f"{AXES[axis].word} {AXES[axis].default}, not 3")


@pytest.mark.parametrize(
    ("mark", "said"), [("V", "holds"), ("S", "figure from a secondary source"), ("M", "figure recalled, not checked")]
)
def test_what_weakens_a_claimed_figure_stands_at_the_verdict(held, row, mark, said):
    run = runs.run([row(seed=seed) for seed in range(3)])
    found = held([run], **MSE, claimed=0.46, mark=mark)
    other = held([run], **MSE, claimed=0.46, mark=mark, setting={"meta_batch": 4})
    texts = [verdict_text(found), verdict_text(other), claims_frame([found]).loc[0, "figure_is"]]
    if mark == "V":
        assert texts == ["holds", "reached in another setting: meta-batch 25, not 4", ""]
    else:
        assert texts == [f"holds ({said})", f"reached in another setting: meta-batch 25, not 4 ({said})", said]


def test_one_seed_refutes_nothing(held, row):
    found = held([runs.run([row()])], **MSE, claimed=0.2)
    assert (found.verdict, found.reason) == ("cannot tell", "not reached; one training seed")


def test_the_seeds_of_a_training_count_together_wherever_they_were_trained(held, row):
    """A score is not of a machine, but a time is."""
    of = [row(seed=seed, algorithm=name) for name in ("maml", "fomaml") for seed in range(3)]
    for made in of:
        made["machine"] = "here" if made["cell"]["seed"] == 0 else "there"
    merged = run_of("merged", runs.records(of), Environment())
    assert len(merged.trained) == len(merged.timed) == 4
    found = held([merged], **MSE, claimed=0.2)
    assert (found.verdict, found.shown.measured.seeds) == ("does not hold", 3)
    assert len(found.answers) == 1 and set(found.shown.cells) <= {made.id for made in merged.measurements}
    assert len(held([merged], **FASTER, claimed=[0.6, 0.6]).answers) == 2


@pytest.mark.parametrize(
    ("lost", "verdict"),
    [(1, "cannot tell"), (2, "cannot tell"), (3, "does not hold"), (4, "does not hold"), (5, "does not hold")],
)
def test_seeds_that_diverge_count_against_a_score(held, row, lost, verdict):
    rows = [row(seed=seed) for seed in range(5 - lost)]
    rows += [row(0, "diverged", "2 tasks have no score", seed=9 - i) for i in range(lost)]
    found = held([runs.run(rows)], **MSE, claimed=0.46)
    assert (found.verdict, found.reason) == (verdict, f"{lost} of 5 seeds diverged")
    assert found.said.reaches == ("no" if verdict == "does not hold" else "cannot tell")
    assert ("diverged" in claims_table([found]).rows[0]) == (lost == 5)
    json.dumps(claims_json([found]), allow_nan=False)


def test_a_seed_with_a_score_whose_timing_diverged_later_has_not_diverged(held, row):
    rows = [row(seed=seed) for seed in range(3)]
    rows += [row(1, *(("diverged", "a loss is not finite") if seed == 0 else ()), seed=seed) for seed in range(3)]
    found = held([runs.run(rows)], **MSE, claimed=0.46)
    assert (found.verdict, found.shown.measured.seeds, found.shown.measured.diverged) == ("holds", 3, 0)


@pytest.mark.parametrize(
    ("of", "verdict", "reason"),
    [
        ({"maml": 0, "fomaml": 0}, "holds", ""),
        ({"maml": 1, "fomaml": 0}, "cannot tell", "1 of 5 seeds diverged"),
        ({"maml": 3, "fomaml": 0}, "does not hold", "3 of 5 seeds diverged"),
        ({"maml": 0, "fomaml": 3}, "cannot tell", "3 of 5 seeds of fomaml diverged"),
    ],
)
def test_seeds_that_diverge_count_in_an_order(held, row, of, verdict, reason):
    rows = [
        row(0, *(("diverged", "a loss is not finite") if seed < lost else ()), algorithm=name, seed=seed)
        for name, lost in of.items()
        for seed in range(5)
    ]
    order = {"rule": "order", "metric": "mse", "of": {"algorithm": "maml"}, "against": {"algorithm": "fomaml"}}
    found = held([runs.run(rows)], **order)
    assert (found.verdict, found.reason) == (verdict, reason)


def test_equal_memory_is_not_less(held, row):
    made = [row(algorithm=name) for name in ("maml", "fomaml")]
    for one in made:
        one["memory"]["tracked_bytes"] = 1000
    order = {"rule": "order", "figure": "memory", "of": {"algorithm": "fomaml"}, "against": {"algorithm": "maml"}}
    assert held([runs.run(made)], **order).verdict == "does not hold"


def test_costs_at_other_shots_are_compared(held, row):
    made = [row(number, shots=shots, train_shots=shots) for number in range(3) for shots in (1, 5)]
    ratio = {"rule": "ratio", "figure": "time", "of": {"algorithm": "maml", "shots": 5}, "against": {"shots": 1}}
    found = held([runs.run(made)], **ratio, claimed=1, allowance=0.1)
    assert found.verdict == "holds" and found.shown.against.cell.shots == 1


@pytest.mark.parametrize(
    ("names", "remedy_of"),
    [
        ({}, "–"),
        ({"sweep": "test"}, "the sweep test with more training seeds"),
        ({"sweep": "test", "setting": {"meta_batch": 4}}, "the sweep test"),
        ({"sweep": "test", "claimed": 0.4}, "the sweep test with more training seeds or test tasks"),
        ({"sweep": "test", "departs": ["a"]}, "nothing yet: it takes what ours departs in"),
        ({"sweep": "test", "takes": "several GPUs"}, "nothing at hand: it takes several GPUs"),
    ],
)
def test_what_would_decide_a_claim(held, row, names, remedy_of):
    assert remedy(held([runs.run([row()])], **{**MSE, "claimed": 0.2, **names})) == remedy_of


def test_of_runs_that_leave_a_claim_open_the_narrower_interval_is_shown(held, row):
    wide, narrow = (
        runs.run([row(number, algorithm=a, noise=noise) for number in range(3) for a in ("maml", "fomaml")], name=name)
        for name, noise in (("wide", 0.2), ("narrow", 0.02))
    )
    for order in ([wide, narrow], [narrow, wide]):
        found = held(order, **FASTER, claimed=0.6, allowance=0.001)
        assert (found.verdict, found.shown.run.name) == ("cannot tell", "narrow")


def test_who_beats_whom(held, row):
    made = runs.run([row(algorithm=name, seed=seed) for name in ("maml", "reptile") for seed in range(3)])
    order = {"rule": "order", "metric": "mse"}
    better = held([made], **order, of={"algorithm": "maml"}, against={"algorithm": "reptile"})
    assert better.verdict == "holds" and better.shown.measured.figure.value == pytest.approx(0.4)
    assert held([made], **order, of={"algorithm": "reptile"}, against={"algorithm": "maml"}).verdict == "does not hold"
    close = runs.run([row(algorithm=name, seed=seed) for name in ("maml", "fomaml") for seed in range(3)])
    assert held([close], **order, of={"algorithm": "maml"}, against={"algorithm": "fomaml"}).verdict == "holds"
    short = held(
        [made], **order, of={"algorithm": "maml"}, against={"algorithm": "reptile"}, setting={"iterations": 9999}
    )
    assert short.reason == "trained for 1 000 of 9 999 iterations"


@pytest.mark.parametrize("axis", ["iterations", "inner_steps", "eval_steps"])
def test_a_score_is_held_against_the_training_that_is_most_like_it(held, row, axis):
    """More of it makes all better, and fomaml beats maml at as much of it."""
    rows = [
        scored(row(algorithm=name, seed=seed, measure=["quality"], **{axis: amount}), score + less + 0.001 * seed)
        for seed in range(3)
        for amount, score in ((1, 1.0), (7, 0.3))
        for name, less in (("maml", 0.1), ("fomaml", 0.0))
    ]
    order = {"rule": "order", "metric": "mse", "of": {"algorithm": "maml"}, "against": {"algorithm": "fomaml"}}
    for mine in (rows, rows[::-1]):
        found = held([runs.run(mine)], **order)
        assert [answer.against.cell[axis] for answer in found.answers] == [1, 7]
        assert [answer.said.verdict for answer in found.answers] == ["does not hold"] * 2


@pytest.mark.parametrize(
    ("of", "reason"),
    [
        ({"algorithm": "imaml"}, "not measured"),
        ({"algorithm": "maml", "shots": 20}, "not measured: shots 10, not 20"),
        ({"algorithm": "maml", "model": "conv4-64"}, "not measured: another model (mlp-40x2, not conv4-64)"),
        ({"algorithm": "maml", "device": "cuda"}, "no GPU in this run"),
        (
            {"algorithm": "maml", "parameters": [500_000, 2_000_000]},
            "not measured: another size (1 761 parameters, not 500 000 to 2 000 000)",
        ),
        ({"algorithm": "maml", "checkpoint": True}, "not measured: checkpoint False, not True"),
    ],
)
def test_what_was_not_measured_says_what_is_nearest(held, row, of, reason):
    found = held([runs.run([row()])], **{**MSE, "of": of}, claimed=0.4)
    assert (found.verdict, found.reason, found.shown) == ("cannot tell", reason, None)


def test_a_failure_is_named(held, row):
    found = held([runs.run([row(0, "oom", "no memory left")])], **MSE, claimed=0.4)
    assert found.reason == "not measured: oom: no memory left"


def test_the_first_run_that_can_decide(held, row):
    short = runs.run([row(seed=seed) for seed in range(3)], name="short")
    long = runs.run([row(seed=seed, iterations=60_000) for seed in range(3)], name="long")
    names = {**MSE, "claimed": 0.2, "setting": {"iterations": 60_000}}
    for order in ([short, long], [long, short]):
        found = held(order, **names)
        assert found.verdict == "does not hold" and found.shown.run.name == "long"


@pytest.mark.parametrize("order", [1, -1], ids=["processor first", "GPU first"])
@pytest.mark.parametrize("what", [FASTER, SMALLER], ids=["time", "memory"])
def test_of_undecided_runs_the_one_in_the_setting_of_the_source_is_shown(held, row, what, order):
    """On both the figure could be inside or outside of what is claimed; one of them has a GPU, as the source had."""
    here, there = (
        runs.run(
            [row(number, algorithm=name, device=device) for number in range(3) for name in ("maml", "fomaml")],
            name=device,
        )
        for device in ("cpu", "cuda")
    )
    found = held([here, there][::order], **{**what, "claimed": 0.6, "setting": {"device": "cuda", "ways": 20}})
    assert found.shown.run.name == "cuda" and found.verdict == "cannot tell"
    assert "GPU" not in found.reason


def test_of_one_run_on_two_devices_the_cells_on_the_gpu_are_shown(held, row):
    made = [
        row(number, algorithm=name, device=device)
        for device in ("cpu", "cuda")
        for number in range(3)
        for name in ("maml", "fomaml")
    ]
    found = held([runs.run(made)], **FASTER, claimed=0.6, setting={"device": "cuda", "ways": 20})
    assert found.shown.bundle.cell["device"] == "cuda"
    assert found.reason == "ways 1, not 20"


@pytest.mark.parametrize("order", [1, -1])
def test_of_runs_without_a_figure_the_one_that_tried_gives_the_reason(held, row, order):
    without = runs.run([row()])
    refused = runs.run([row(0, "unsupported", "vmap cannot", device="cuda", precision="bfloat16")])
    other = runs.run([row(device="cuda")])
    asked = {**MSE, "of": {"algorithm": "maml", "device": "cuda", "precision": "bfloat16"}, "claimed": 0.4}
    assert held([without, refused, other][::order], **asked).reason == "not measured: unsupported: vmap cannot"
    assert held([without, other][::order], **asked).reason == "not measured: precision float32, not bfloat16"


def test_cost_at_so_many_shots_is_of_training_tasks_that_have_as_many(held, row):
    """A step is timed on training tasks: cells that have 5 shots on held-out tasks alone are not what is claimed."""

    def pair(**axes):
        return runs.run([row(number, algorithm=name, **axes) for number in range(3) for name in ("maml", "fomaml")])

    about = {**FASTER, "claimed": 0.6, "allowance": 0.1, "of": {"algorithm": "fomaml", "shots": 5}}
    tested_only = pair(shots=5, train_shots=1)
    found = held([tested_only], **about)
    assert (found.verdict, found.reason, found.shown) == ("cannot tell", "not measured: train shots 1, not 5", None)
    assert held([pair(shots=5, train_shots=5)], **about).verdict == "holds"
    scored = {**MSE, "of": {"algorithm": "maml", "shots": 5}, "claimed": 0.45}
    assert held([tested_only], **scored).shown is not None  # a score is of held-out tasks


def test_claims_nobody_can_measure(claim_of, row):
    claim = claim_of(rule="ratio", figure="time", unmeasured="it is not timed apart")
    (found,) = judge_claims([claim], [runs.run([row()])])
    assert found.reason == "not measured: it is not timed apart"


def test_the_files_say_what_was_found(held, row):
    run = runs.run([row(seed=seed) for seed in range(3)])
    found = held([run], **MSE, claimed=0.2, plus_minus=0.1, allowance=0.05)
    (line,) = claims_frame([found]).to_dict("records")
    figure = found.shown.measured.figure
    assert (line["measured_value"], line["measured_low"], line["measured_high"]) == (
        figure.value,
        figure.low,
        figure.high,
    )
    assert line["claimed_high"] == pytest.approx(0.35) and math.isnan(line["claimed_low"] or math.nan)
    assert line["verdict"] == "does not hold" and line["cells"].split() == [row(seed=seed)["id"] for seed in range(3)]
    (told,) = claims_json([found])
    assert told["claimed"] == "0.2 ± 0.1 (0.05)" and told["settings"][0]["measured_value"] == figure.value
    assert claims_table([found]).rows[0][3:5] == ("0.2 ± 0.1 (0.05)", "0.41 [0.37, 0.45]")


def test_no_difference_is_no_order():
    names = {"of": {"algorithm": ("maml",)}, "against": {"algorithm": ("fomaml",)}}
    claim = Claim(id="a", says="b", source="c", mark="V", rule="order", figure="time", **names)
    for low, high, verdict in ((0.5, 1.0, "cannot tell"), (0.5, 0.9, "holds"), (1.1, 1.2, "does not hold")):
        measured = Measured(Interval((low + high) / 2, low, high))
        assert judge(claim, measured, range_of(claim), []).verdict == verdict


# --- what is timed apart from a meta-iteration -----------------------------------------------------------------------
BACKWARD = {"rule": "exponent", "figure": "backward", "along": "inner_steps", "of": {"algorithm": "maml"}}
INFERENCE = {
    "rule": "ratio",
    "figure": "adaptation",
    "of": {"algorithm": "maml", "shots": 10},
    "against": {"algorithm": "anil"},
    "setting": {"eval_steps": 10},
}
TWICE = {"rule": "ratio", "figure": "double_backward", "of": {"model": "mlp-40x2"}}
SLOWER = (1.0, 2.0, 0.5)
"""By how much each round is slower: it hits all cells alike."""


def test_the_exponent_of_the_backward_pass_is_not_that_of_the_iteration(held, row):
    """The backward pass grows with the square of the steps, and the synthetic iteration with 1 + K."""
    made = [
        timed_apart(row(number, inner_steps=steps, measure=["time", "phases"]), 1e-3 * slower * steps**2)
        for number, slower in enumerate(SLOWER)
        for steps in (1, 2, 4, 8)
    ]
    found = held([runs.run(made)], **BACKWARD, claimed=2, allowance=0.1)
    assert found.verdict == "holds" and found.shown.measured.figure.value == pytest.approx(2)
    assert held([runs.run(made)], **BACKWARD, claimed=1, allowance=0.1).verdict == "does not hold"
    time = {**BACKWARD, "figure": "time"}
    assert held([runs.run(made)], **time, claimed=2, allowance=0.1).verdict == "does not hold"
    without = [made_one | {"phases": None} for made_one in made]
    assert held([runs.run(without)], **BACKWARD, claimed=2).verdict == "cannot tell"


def test_inference_is_compared_at_as_many_test_steps(held, row):
    """MAML takes four times as long as ANIL at ten test steps, and twice as long at one; they train on other steps."""
    made = [
        timed_apart(
            row(number, algorithm=name, eval_steps=steps, inner_steps=own, measure=["adaptation"]),
            task=(slower * seconds, slower * seconds, slower),
        )
        for number, slower in enumerate(SLOWER)
        for name, own, steps, seconds in (("maml", 1, 10, 8), ("anil", 3, 10, 2), ("maml", 1, 1, 4), ("anil", 3, 1, 2))
    ]
    found = held([runs.run(made)], **INFERENCE, claimed=4, allowance=0.1)
    assert (found.verdict, found.reason) == ("holds", "in 1 of 2 settings")
    assert [answer.measured.figure.value for answer in found.answers] == pytest.approx([2, 4])
    assert "eval steps 1, not 10" in found.answers[0].said.reason
    (line,) = claims_table([found]).rows
    assert "eval steps 10" in line[6] and "inner steps" not in line[6]
    assert held([runs.run(made)], **INFERENCE, claimed=3, allowance=0.1).verdict == "does not hold"


def test_a_network_is_differentiated_twice_in_the_time_of_so_many_gradients(held, row):
    made = [
        timed_apart(row(number, measure=["double_backward"]), derivatives=(slower, 5 * slower))
        for number, slower in enumerate(SLOWER)
    ]
    found = held([runs.run(made)], **TWICE, claimed=[5, 5.6], allowance=0.1)
    assert found.verdict == "holds" and found.shown.measured.figure.value == pytest.approx(5)
    assert held([runs.run(made)], **TWICE, claimed=[25, 30], allowance=0.1).verdict == "does not hold"
    one = held([runs.run(made[:1])], **TWICE, claimed=5)
    assert (one.verdict, one.reason) == ("cannot tell", "only 1 repetition, and no noise floor")
    slow = [
        timed_apart(
            row(number, measure=["double_backward"], engine="loop", model="mlp-256x2"), derivatives=(slower, 9 * slower)
        )
        for number, slower in enumerate(SLOWER)
    ]
    any_model = {**TWICE, "of": {"algorithm": "maml"}}
    both = held([runs.run([*made, *slow])], **any_model, claimed=5, allowance=0.1)
    assert (both.verdict, both.reason) == ("does not hold", "in 1 of 2 settings")  # the engine plays no part
    other = held([runs.run(made)], **{**TWICE, "of": {"model": "mlp-256x2"}}, claimed=5)
    assert other.verdict == "cannot tell" and "another model" in other.reason
