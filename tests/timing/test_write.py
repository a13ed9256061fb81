"""Pages of timings: whatever happened to the steps, and whatever the folder had."""

from metabench.timing.result import StepResult
from metabench.timing.write import write_timings
from timed_steps import run, step, timings


def test_a_page_is_written_where_no_step_was_timed(tmp_path):
    failed = StepResult("a", "a", (run("a", 0, 1e-3, time=None, status="crashed", reason="ValueError: mine"),))
    write_timings(timings(failed), tmp_path)
    assert "ValueError: mine" in (tmp_path / "report.html").read_text()
    assert not (tmp_path / "plots" / "times.svg").exists()


def test_traces_of_an_earlier_run_are_not_taken_for_this_ones(tmp_path):
    (tmp_path / "traces").mkdir()
    (tmp_path / "plots").mkdir()
    old = [tmp_path / "traces" / "1.json", tmp_path / "plots" / "2-flame.svg"]
    mine = [tmp_path / "traces" / "mine.json", tmp_path / "plots" / "mine.svg"]
    for file in (*old, *mine):
        file.write_text("{}")
    write_timings(timings(step("a", [1e-3] * 3)), tmp_path)
    assert [file.exists() for file in (*old, *mine)] == [False, False, True, True]
    assert "traces/1.json" not in (tmp_path / "report.html").read_text()
