"""What a profile comes to: where most of the time goes, and what to try."""

import shlex

from metabench.measure.marks import SAMPLING
from metabench.profile.facts import device_work, step_of
from metabench.profile.measuring import Profile
from metabench.profile.recording import Recording
from metabench.profile.trust import is_vague, share_text, told_share
from metabench.report.phases import phase_word
from metabench.report.sections.device import BY_LAUNCHES
from metabench.statistics.ratios import Interval

MOST = 0.5
"""A phase with more than this share takes most of the time."""


def advice(profile: Profile) -> str:
    """The cause of most of the time, with its share, and what to try. It follows from the profile's figures alone."""
    if is_vague(step_of(profile)):
        return f"The timings are too noisy to name a cause: close other programs, then profile again. {_every(profile)}"
    return f"{_cause(profile)} {_remedy(profile)}"


def _cause(profile: Profile) -> str:
    work = device_work(profile)
    if work and work.bound and work.busy_share is not None:
        why = "launching its work" if work.bound == BY_LAUNCHES else "gaps between its kernels"
        return f"Most of the time goes into {why}: the GPU is busy for {share_text(work.busy_share, 1.0)} of it."
    top = _top_operator(profile.recording)
    if not profile.divided:
        seen = f"of the operators that are seen, {top} takes most" if top else "no operator in it is seen to take most"
        return f"{profile.cell.engine} runs the meta-iteration as one piece; {seen}."
    return f"{_phases(profile)}; of the operators, {top} takes most." if top else f"{_phases(profile)}."


def _top_operator(recording: Recording) -> str:
    """The operator that takes longest, with its share; empty where noise does not tell it from the next."""
    if not recording.operators:
        return ""
    first, *rest = recording.operators
    if is_vague(first.own) or (rest and first.own.low <= rest[0].own.high):
        return ""
    return f"{first.name} ({share_text(first.own.value, recording.in_operators)} of the operators' self time)"


def _phases(profile: Profile) -> str:
    """The phase that takes longest, or the two that do where their intervals meet."""
    total = profile.phases.total
    found = [
        (name, Interval(part.value, part.low, part.high))
        for name, part in profile.phases.seconds.items()
        if name != SAMPLING
    ]
    found.sort(key=lambda entry: -entry[1].value)
    said = [f"the {_called(name)} ({told_share(part, total)})" for name, part in found[:2]]
    (_, first), *rest = found
    if rest and first.low <= rest[0][1].high:
        return f"The largest parts of the time go into {said[0]} and {said[1]}, which noise does not tell apart"
    return f"{'Most' if first.value > MOST * total else 'The largest part'} of the time goes into {said[0]}"


def _called(phase: str) -> str:
    """The phase in a sentence: `outer backward pass`."""
    word = phase_word(phase)
    return f"{word} pass" if word.endswith(("forward", "backward")) else word


def _remedy(profile: Profile) -> str:
    """The commands to try, for the setting that was asked for."""
    if not profile.alternative:
        return _every(profile)
    faster = f"metabench profile {profile.cell.algorithm}/{profile.alternative}{_options(profile)}"
    return f"Try `{faster}`, or `{_advise(profile)}` to time every engine."


def _every(profile: Profile) -> str:
    return f"`{_advise(profile)}` times every engine."


def _advise(profile: Profile) -> str:
    return f"metabench advise --algorithm {profile.cell.algorithm}{_options(profile)}"


def _options(profile: Profile) -> str:
    """The options of the setting, as a shell takes them."""
    return "".join(f" --{axis.replace('_', '-')} {shlex.quote(str(value))}" for axis, value in profile.asked.items())
