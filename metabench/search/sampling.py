"""What is tried next, and what is ended early: Optuna's samplers and pruners, on the trials that there are.

Nothing is kept between two trials but the trials themselves. A search that was killed goes on as if it had not been.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from math import isfinite
from typing import TYPE_CHECKING, Any

import msgspec

from metabench.errors import UserError
from metabench.extras import INSTALL
from metabench.record.searching import Asked, State, Trial, Value
from metabench.search.space import Parameter, Range

if TYPE_CHECKING:
    import optuna

AT_RANDOM = 8
"""Trials, the first one aside, that are drawn at random before the sampler learns from them."""
CANDIDATES = 100
"""Draws of which the sampler takes the most promising one: a trial costs minutes, and a draw nothing."""
UNDISTURBED = 5
"""Complete trials before any is ended early."""
SPARED = 0.3
"""Share of a training in which it is not ended early."""
ATTEMPTS = 20
"""How often other parameters are drawn where some have been tried already."""
ENOUGH = 20
"""Complete trials before the importance of parameters is said: that of fewer is chance."""
UPPER = 0.25
"""Share of the trials that count as good ones where importance is measured."""


class Past(msgspec.Struct, frozen=True):
    """What a later trial has to know of an earlier one."""

    parameters: dict[str, Value]
    state: State
    score: float | None
    curve: list[float | None]
    """Scores at even intervals, the first one after the first of them."""


def past_of(trial: Trial) -> Past:
    """What is left of a trial for those after it."""
    score = trial.score.value if trial.score else None
    return Past(trial.parameters, trial.state, score, [point.value for point in trial.curve if point.iteration])


def need_optuna() -> Any:
    """The library that draws and prunes. Raises `UserError` where it is missing."""
    try:
        library: Any = import_module("optuna")
    except ImportError:
        raise UserError(f"a search needs Optuna: install it with {INSTALL['search']}") from None
    library.logging.set_verbosity(library.logging.ERROR)
    return library


@dataclass(frozen=True)
class Sampler:
    """Draws the parameters of the next trial, by Bergstra et al. 2011 (tree-structured Parzen estimators)."""

    asked: Asked
    space: Mapping[str, Parameter]
    higher_is_better: bool

    def next(self, past: Sequence[Past], start: Mapping[str, Value]) -> dict[str, Value]:
        """Parameters that were not tried yet, where such are found; those of the first trial are nearest to `start`.

        They depend on the trials so far and on the seed alone.
        """
        if not past:
            return {axis: one.nearest(start[axis]) for axis, one in self.space.items()}
        tried = [trial.parameters for trial in past]
        for attempt in range(ATTEMPTS):
            found = self._drawn(past, attempt)
            if found not in tried:
                break
        return found

    def _drawn(self, past: Sequence[Past], attempt: int) -> dict[str, Value]:
        seed = random.Random(f"{self.asked.seed}/{len(past)}/{attempt}").getrandbits(31)
        study = self.study(past, self._tpe(seed))
        drawn = study.ask(self.distributions).params
        return {axis: one.nearest(drawn[axis]) for axis, one in self.space.items()}

    def _tpe(self, seed: int) -> optuna.samplers.BaseSampler:
        settings = {"n_startup_trials": AT_RANDOM + 1, "n_ei_candidates": CANDIDATES, "multivariate": True}
        sampler: optuna.samplers.BaseSampler = need_optuna().samplers.TPESampler(seed=seed, **settings)
        return sampler

    def pruning(self, past: Sequence[Past], parameters: Mapping[str, Value]) -> Pruning:
        """What ends a trial early that has these parameters."""
        return Pruning(self, past, parameters)

    def importance(self, past: Sequence[Past]) -> dict[str, float]:
        """The share of each parameter in what tells good trials from others; empty where they are too few.

        Watanabe, Bansal and Hutter 2023, arXiv 2304.10255 (PED-ANOVA).
        """
        complete = [trial for trial in past if trial.state == "complete"]
        if len(complete) < ENOUGH or len(self.space) < 2:
            return {}
        optuna = need_optuna()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=UPPER)
            found = optuna.importance.get_param_importances(self.study(complete), evaluator=evaluator)
        return {str(axis): float(share) for axis, share in found.items()}

    def study(
        self,
        past: Iterable[Past],
        sampler: optuna.samplers.BaseSampler | None = None,
        pruner: optuna.pruners.BasePruner | None = None,
    ) -> optuna.study.Study:
        """The earlier trials as Optuna has them. One that failed counts as worse than any other."""
        library = need_optuna()
        direction = "maximize" if self.higher_is_better else "minimize"
        study: optuna.study.Study = library.create_study(direction=direction, sampler=sampler, pruner=pruner)
        states = library.trial.TrialState
        for trial in past:
            complete = trial.state == "complete"
            known = enumerate(trial.curve, 1) if trial.state != "failed" else ()
            study.add_trial(
                library.trial.create_trial(
                    state=states.COMPLETE if complete else states.PRUNED,
                    value=trial.score if complete else None,
                    params=dict(trial.parameters),
                    distributions=self.distributions,
                    intermediate_values={step: value for step, value in known if value is not None},
                )
            )
        return study

    @property
    def distributions(self) -> dict[str, Any]:
        """The space in Optuna's words."""
        return {axis: _distribution(one) for axis, one in self.space.items()}


class Pruning:
    """Whether a trial goes on: by the median rule of Golovin et al. 2017 (Vizier), on scores at even intervals."""

    def __init__(self, sampler: Sampler, past: Sequence[Past], parameters: Mapping[str, Value]) -> None:
        asked = sampler.asked
        self.trial: optuna.Trial | None = None
        if asked.prune == "none":
            return
        spared = round(SPARED * asked.curve_points)
        study = sampler.study(past, pruner=need_optuna().pruners.MedianPruner(UNDISTURBED, spared))
        study.enqueue_trial(dict(parameters))
        self.trial = study.ask(sampler.distributions)

    def ends(self, step: int, value: float) -> bool:
        """Whether the trial ends at that point of its curve, whose number begins with 1."""
        if self.trial is None:
            return False
        if not isfinite(value):
            return True
        self.trial.report(value, step)
        return self.trial.should_prune()


def _distribution(one: Parameter) -> Any:
    optuna = need_optuna()
    if not isinstance(one, Range):
        return optuna.distributions.CategoricalDistribution(one.values)
    if one.whole:
        return optuna.distributions.IntDistribution(int(one.low), int(one.high), log=one.log)
    return optuna.distributions.FloatDistribution(one.low, one.high, log=one.log)
