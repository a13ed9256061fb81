"""What is called disturbed, on recorded timings that are replayed: quiet, noisy, spinning, crowded."""

from itertools import chain

import pytest

from metabench.record.timing import Disturbance
from metabench.statistics.disturbance import disturbance
from recorded import recorded, recorded_once

QUIET = list(chain(recorded("maml").values(), recorded("reptile").values()))
NOISY = [recorded_once(name) for name in ("rising", "stepping", "few")]


def crowded(seconds: list[float], **seen: float) -> Disturbance | None:
    """What disturbed two threads on two cores, by what was seen."""
    return disturbance(seconds, threads=2, cores=2, **seen)


@pytest.mark.parametrize("seconds", [*QUIET, *NOISY])
def test_what_is_quiet_or_noisy_is_not_disturbed(seconds):
    assert disturbance(seconds, threads=2, cores=2) is None
    assert disturbance(seconds, threads=2, cores=2, others=0.3, processor_share=1.98) is None
    assert disturbance(seconds, threads=1, cores=2, others=1.0, processor_share=0.97) is None


def test_a_time_that_fell_by_more_than_half_is_not_that_of_the_work():
    found = disturbance(recorded_once("falling"), threads=2, cores=2)
    assert found is not None and found.factor == pytest.approx(2.59, abs=0.01)


def test_spinning_beside_others_is_known_by_the_samples_alone():
    """A few samples of 17 ms among those of up to 880 ms tell what a step takes."""
    found = disturbance(recorded_once("spinning"), threads=2, cores=2)
    assert found is not None
    assert found.factor == pytest.approx(14.8, abs=0.1)
    assert found.reason == "half of the samples took 15 times as long as the fastest, or longer"


@pytest.mark.parametrize(("name", "share"), [("bounded", 0.33), ("crowded", 0.32)])
def test_a_process_that_is_kept_from_the_processor_is_known_by_its_share(name, share):
    assert disturbance(recorded_once(name), threads=1, cores=2, processor_share=1.0) is None
    found = disturbance(recorded_once(name), threads=1, cores=2, processor_share=share)
    assert found is not None
    assert found.factor == pytest.approx(1 / share, abs=0.01)
    assert found.reason == f"the process had a processor for only {100 * share:.0f} % of the time"


def test_threads_and_others_that_are_more_than_the_cores_are_known_where_every_sample_is_slow():
    """Spinning keeps two threads busy with the half of a core that each of them has."""
    slow = [136 * seconds for seconds in QUIET[0]]
    assert crowded(slow, processor_share=0.98) is None
    assert crowded(slow, processor_share=0.98, others=1.0) == Disturbance(
        "other programs used 1.0 of 2 cores meanwhile, and 2 threads waited for each other"
    )
    assert disturbance(slow, threads=2, cores=16, others=9.0) is None  # there is room for both
    assert disturbance(slow, threads=1, cores=2, others=1.9) is None  # one thread waits for none


def test_one_sample_says_nothing_of_others():
    assert disturbance([1.0], threads=1, cores=1) is None
    assert disturbance([1.0, 1.0, 5.0], threads=1, cores=1) is None  # a lone outlier
    assert disturbance([1.0, 5.0, 5.0], threads=1, cores=1) is not None


def test_a_process_without_any_processor_time_was_not_measured_by_it():
    assert disturbance(QUIET[0], threads=1, cores=1, processor_share=0.0) is None
