"""Speed-up and efficiency of several processes, on rows whose truth is known."""

import pytest

from metabench.report.frames import to_frame
from metabench.report.results import read_run
from metabench.report.sections.parallel import communication, parallel_tables
from runs import run


def of(made, factor, share=None):
    """The row with all times divided by a factor, and that share of them spent between processes."""
    time = made["time"]
    step = time["step"]
    for name in ("median", "low", "high", "iqr"):
        step[name] /= factor
    step["samples"] = [sample / factor for sample in step["samples"]]
    if share is not None:
        time["communication_s"] = share * step["median"]
    return made


def value(text):
    """The figure before its interval."""
    return float(text.split(" [")[0])


@pytest.fixture
def rows(row):
    """Three rounds of one, two and four processes: 1.8 times as fast on two, of as many tasks; four are no faster."""
    made = []
    for number in range(3):
        exact = {"noise": 0.0, "measure": ["time"]}
        made.append(row(number, meta_batch=8, **exact))
        made.append(of(row(number, meta_batch=8, world_size=2, **exact), 1.8, 0.1))
        made.append(of(row(number, meta_batch=32, world_size=4, **exact), 1.0, 0.25))
        made.append(row(number, meta_batch=8, engine="loop", **exact))
    return made


def test_strong_and_weak_scaling(rows):
    strong, weak = parallel_tables(run(rows)).tables
    assert strong.title == (
        "Strong scaling: sinusoid, 10 points, mlp-40x2, query 10, inner steps 1, meta-batch 8, cpu, float32, threads 2"
    )
    own = [dict(zip(strong.columns, line, strict=True)) for line in strong.rows]
    assert [(line["implementation"], line["processes"], line["tasks"]) for line in own] == [
        ("maml/vmap", "1", "8"),
        ("maml/vmap", "2", "8"),
    ]
    assert value(own[1]["speed-up"]) == 1.8 and value(own[1]["efficiency"]) == 90
    assert own[1]["communication"] == "10 %" and own[0]["communication"] == "–"
    own = [dict(zip(weak.columns, line, strict=True)) for line in weak.rows]
    assert [(line["processes"], line["tasks"]) for line in own] == [("1", "8"), ("4", "32")]
    # the meta-iteration of 32 tasks takes as long as four of 8: no task is done sooner
    assert value(own[1]["speed-up"]) == 1 and value(own[1]["efficiency"]) == 25
    assert "meta-batch" not in weak.title


def test_runs_of_one_process_have_no_such_table(row):
    assert parallel_tables(run([row()])).tables == ()


def test_the_share_of_communication_is_the_median_of_the_rounds(rows):
    (four,) = [bundle for bundle in run(rows).timed if bundle.cell.world_size == 4]
    assert communication(four) == pytest.approx(0.25)


def test_results_name_the_processes(run_of, rows):
    frame = to_frame(read_run(run_of(rows)))
    assert sorted(set(frame["world_size"])) == [1, 2, 4]
    two = frame[frame["world_size"] == 2]
    assert list(two["communication_s"] / two["step_median_s"]) == pytest.approx([0.1] * 3)
