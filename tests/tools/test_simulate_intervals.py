"""What the intervals of times cover, and what they tell apart, on simulated runs of known truth."""

import pytest

from recorded import TARGET
from simulate_intervals import SCENARIOS, Shares, refreshed, simulate

RUNS = 500
CHANCE = 0.01
"""One deviation by which chance moves a share of so many runs."""


def covers(shares: Shares) -> bool:
    return all(TARGET[0] - CHANCE <= share <= TARGET[1] + CHANCE for share in (shares.ratio, shares.time))


@pytest.mark.parametrize(
    ("name", "rounds"),
    [("processes", 1), ("processes", 3), ("processes", 12), ("few pairs", 3), ("changes", 3), ("louder", 5)],
)
def test_intervals_that_hold_the_noise_floor_cover_what_they_say(name, rounds):
    shares = simulate(SCENARIOS[name], rounds, runs=RUNS)
    assert covers(shares)
    # ≈ is read off the interval, so equal cells are called different just as often as it misses the truth
    assert shares.told_apart == pytest.approx(1 - shares.ratio)


@pytest.mark.parametrize("rounds", [1, 3])
def test_where_each_repetition_has_a_server_times_are_covered_and_ratios_more_than_that(rounds):
    shares = simulate(SCENARIOS["servers"], rounds, runs=RUNS)
    assert TARGET[0] - CHANCE <= shares.time <= TARGET[1] + CHANCE
    assert shares.ratio >= TARGET[0]


def test_a_machine_that_drifts_makes_intervals_too_wide_and_never_too_narrow():
    shares = simulate(SCENARIOS["drift"], 3, runs=RUNS)
    assert min(shares.ratio, shares.time) > TARGET[1]


def test_more_rounds_tell_smaller_differences_apart():
    found = [simulate(SCENARIOS["processes"], rounds, 1.1, 200).told_apart for rounds in (1, 3, 5)]
    assert found[0] < 0.7 and found[0] + 0.1 < found[1] < found[2]
    assert found[1] > 0.8 and found[2] > 0.95


def test_the_table_takes_its_place_in_a_document():
    text = "before\n<!-- simulated -->\nold\n<!-- end -->\nafter\n"
    assert refreshed(text, "| new |") == "before\n<!-- simulated -->\n| new |\n<!-- end -->\nafter\n"
    assert refreshed("nothing\n", "| new |") == "nothing\n"
