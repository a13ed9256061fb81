"""Time to target on curves whose crossings are known."""

import math

import pytest

from metabench.report.sections.target import SHARE, target_tables, targets, typical
from runs import run


def curve(*values, metric="mse"):
    return [{"iteration": 100 * i, "seconds": 2.0 * i, "value": value} for i, value in enumerate(values)]


def trained(row, algorithm, seed, *values, **changes):
    made = row(algorithm=algorithm, seed=seed, measure=["quality"], **changes)
    made["quality"]["curve"] = curve(*values)
    return made


def test_the_target_is_a_share_of_what_maml_reaches(row):
    rows = [trained(row, "maml", seed, 4, 1.9) for seed in range(3)] + [trained(row, "anil", 0, 4, 3)]
    (target,) = targets(run(rows))
    assert (target.metric, target.value) == ("mse", pytest.approx(1.9 / SHARE))
    for made in rows:
        made["quality"]["metric"] = "accuracy"
        for point in made["quality"]["curve"]:
            point["value"] /= 10
    assert targets(run(rows))[0].value == pytest.approx(0.19 * SHARE)


def test_the_mean_is_geometric_with_an_interval_over_seeds(row):
    rows = [trained(row, "maml", seed, 4, 1) for seed in range(3)]
    for seed, factor in enumerate((1, 2, 4)):
        made = trained(row, "anil", seed, 4, 4, 1 / SHARE)
        for point in made["quality"]["curve"]:
            point["seconds"] *= factor
        rows.append(made)
    (target,) = targets(run(rows))
    (line,) = [line for line in target.lines if line.bundle.algorithm == "anil"]
    figure = typical(line, "seconds")
    half = 4.302653 * math.log(2) / math.sqrt(3)  # Student's, of two degrees of freedom
    assert figure.value == pytest.approx(8.0)
    assert (figure.low, figure.high) == pytest.approx((8 / math.exp(half), 8 * math.exp(half)), rel=1e-6)


def test_a_score_without_a_curve_is_no_failure(row):
    """As in rows of earlier versions, where one row's training was judged in several ways and only it had a curve."""
    rows = [trained(row, "maml", seed, 4, 1) for seed in range(3)]
    rows += [trained(row, "anil", seed, 4, 0.5) for seed in range(2)] + [trained(row, "anil", 2)]
    rows += [trained(row, "fomaml", seed) for seed in range(3)]
    rows[-1]["quality"]["trained_by"] = rows[0]["id"]
    (target,) = targets(run(rows))
    assert {line.bundle.algorithm: (line.seeds, line.reached) for line in target.lines} == {
        "maml": (3, True),
        "anil": (2, True),
    }
    assert target.unknown == ("fomaml", "anil")
    (table,) = target_tables(run(rows)).tables
    assert "nobody knows when they reached the target: fomaml, anil." in table.notes[-1]
    assert targets(run([one for one in rows if one["cell"]["algorithm"] != "anil"])) == []


def test_who_does_not_reach_it_says_so_and_is_last(row):
    rows = [trained(row, "maml", seed, 4, 1) for seed in range(3)]
    rows += [trained(row, "anil", seed, 4, 0.5 if seed else 3) for seed in range(3)]
    rows += [trained(row, "reptile", seed, 4, 3) for seed in range(3)]
    rows += [trained(row, "fomaml", 0, 4, 0.5), row(0, "diverged", "nan", algorithm="fomaml", seed=1)]
    rows[-1]["cell"]["measure"] = ["quality"]
    (table,) = target_tables(run(rows)).tables
    found = {line[0]: line[1:4] for line in table.rows}
    assert table.rows[0][0] == "maml" and table.columns[1:4] == ("seconds", "iterations", "seeds that reached it")
    assert found["reptile"] == ("not reached", "not reached", "0 of 3")
    assert found["anil"] == ("not reached by 1 of 3 seeds", "not reached by 1 of 3 seeds", "2 of 3")
    assert found["fomaml"][2] == "1 of 2" and "not reached" in found["fomaml"][0]


def test_without_maml_or_alone_there_is_no_target(row):
    assert targets(run([trained(row, "anil", 0, 4, 1), trained(row, "fomaml", 0, 4, 1)])) == []
    assert targets(run([trained(row, "maml", 0, 4, 1)])) == []
    assert (
        targets(run([trained(row, "maml", 0, 4), trained(row, "anil", 0, 4)])) == []
    )  # a curve of one point shows nothing


def test_seconds_that_stand_on_a_disturbed_process_are_marked(row):
    rows = [trained(row, name, 0, 4, 1) for name in ("maml", "anil")]
    rows[1]["time"] = row()["time"] | {"disturbed": {"reason": "others were busy", "factor": 3.0}}
    (table,) = target_tables(run(rows)).tables
    assert {line[0]: line[1].endswith(" (disturbed)") for line in table.rows} == {"maml": False, "anil": True}
    assert not any("disturbed" in line[2] for line in table.rows)
