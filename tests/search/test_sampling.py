"""What a search tries next, and which trials it ends early."""

import sys
from itertools import pairwise

import pytest

from metabench.errors import UserError
from metabench.record.searching import Asked
from metabench.search.sampling import AT_RANDOM, ENOUGH, Past, Sampler, need_optuna
from metabench.search.space import Choice, Range, rounded, rounded_down

SPACE = {"inner_lr": Range(0.01, 4.0, log=True), "inner_steps": Range(1, 8, whole=True), "model": Choice(("a", "b"))}
START = {"inner_lr": 9.0, "inner_steps": 3, "model": "c"}


def sampler(higher=True, **rest):
    return Sampler(Asked(algorithm="maml", **rest), SPACE, higher)


def score(parameters):
    """Best at a rate of 0.4 on the model b; the number of steps makes no difference."""
    return 1 / (1 + abs(parameters["inner_lr"] - 0.4)) - 0.3 * (parameters["model"] == "a")


def grown(one, trials, score=score):
    past = []
    for _ in range(trials):
        parameters = one.next(past, START)
        past.append(Past(parameters, "complete", score(parameters), []))
    return past


def learned(higher, score=score):
    """How far the mean of later trials is above that of the random ones, over some searches."""
    found = []
    for seed in range(4):
        scores = [trial.score for trial in grown(sampler(higher, seed=seed), 30, score)]
        random, later = scores[1 : 1 + AT_RANDOM], scores[-15:]
        found.append(sum(later) / len(later) - sum(random) / len(random))
    return sum(found) / len(found)


def test_the_first_trial_is_the_nearest_to_the_preset():
    assert sampler().next([], START) == {"inner_lr": 4.0, "inner_steps": 3, "model": "a"}


def test_what_is_drawn_depends_on_the_trials_and_the_seed_alone():
    one, same, other = sampler(), sampler(), sampler(seed=1)
    past = grown(one, AT_RANDOM + 4)
    for number in range(len(past)):
        assert same.next(past[:number], START) == past[number].parameters
    assert other.next(past[:3], START) != past[3].parameters
    turned = [Past(trial.parameters, "complete", -trial.score, []) for trial in past]
    assert one.next(turned, START) != one.next(past, START)


def test_what_was_learned_beats_chance():
    assert learned(higher=True) > 0.1


def test_a_low_error_is_sought_where_low_is_good():
    assert learned(False, lambda parameters: 1 - score(parameters)) < -0.1


def test_trials_that_failed_are_stayed_away_from():
    """A rate above 1 fails always: those that follow the random ones are below."""
    one, past = sampler(), []
    for _ in range(30):
        parameters = one.next(past, START)
        failed = parameters["inner_lr"] > 1
        past.append(Past(parameters, "failed" if failed else "complete", None if failed else 0.5, [0.2]))
    assert sum(trial.state == "failed" for trial in past[-12:]) <= 2


def test_numbers_have_few_digits_and_stay_inside():
    assert (rounded(0.012345), rounded(3.96), rounded(0.0)) == (0.012, 4.0, 0.0)
    assert (rounded_down(9876.5), rounded_down(99.9), rounded_down(0.4)) == (9800, 99, 0)
    assert Range(0.0333, 2.222).nearest(0.03331) == 0.0333 and Range(1, 8, whole=True).nearest(9) == 8
    assert all(low < high for low, high in pairwise([rounded_down(n) for n in (9.9, 99, 990, 9999)]))


def past_with(values, points=10):
    return [Past({"inner_lr": 0.1 * (i + 1), "inner_steps": 1, "model": "a"}, "complete", v, [v] * points)
            for i, v in enumerate(values)]  # fmt: skip


TRIED = {"inner_lr": 2.0, "inner_steps": 2, "model": "b"}


def ends(past, value, **rest):
    """The points of the curve at which a trial ends that has the same score at each."""
    one = sampler(curve_points=10, **rest)
    return [step for step in range(1, 10) if one.pruning(past, TRIED).ends(step, value)]


def test_a_trial_ends_below_the_median_but_not_at_once():
    past = past_with([0.5, 0.6, 0.7, 0.8, 0.9])
    assert ends(past, 0.65) == [3, 4, 5, 6, 7, 8, 9]
    assert ends(past, 0.75) == []
    assert ends(past, 0.65, prune="none") == []
    assert ends(past[:4], 0.1) == [], "there are too few to be below the median of"
    assert ends(past, float("nan")) == list(range(1, 10)) and ends(past, float("nan"), prune="none") == []


def test_importance_is_said_of_enough_trials_alone():
    past = grown(sampler(), ENOUGH)
    assert sampler().importance(past[:-1]) == {}
    found = sampler().importance(past)
    assert found.keys() == SPACE.keys() and sum(found.values()) == pytest.approx(1)
    assert found["inner_lr"] > found["inner_steps"]


def test_where_optuna_is_missing_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match="install it with pip install 'optuna>=5'"):
        need_optuna()
