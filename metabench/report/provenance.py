"""Under which conditions runs were measured, and in what two runs differ: said in words before any ratio."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metabench.record.machines import machine_name
from metabench.report.results import Run

SHORT_COMMIT = 8


@dataclass(frozen=True)
class Conditions:
    """In what two runs differ, beside what was to be compared."""

    same_machine: bool
    sentences: tuple[str, ...]


def revision_commit(run: Run) -> str | None:
    """The commit of metabench that measured a run, if it is known."""
    commit = ((run.environment.get("machine") or {}).get("metabench") or {}).get("commit")
    return str(commit) if commit else None


def revision_name(run: Run) -> str:
    """The same, short; the run's own name where it is not known."""
    commit = revision_commit(run)
    if commit is None:
        return run.name
    return commit[:SHORT_COMMIT] + (" and changes" if run.environment["machine"]["metabench"].get("dirty") else "")


def measured_at(run: Run) -> str:
    """When a run began, UTC, ISO 8601; empty where it is not known."""
    return min((str(row["started"]) for row in run.measurements if row.get("started")), default="")


def pairing(environment: Mapping[str, Any]) -> str | None:
    """What two runs have in common whose cells were measured in pairs, one right after the other."""
    name = environment.get("pairing")
    return str(name) if name else None


def differing_conditions(base: Run, new: Run) -> Conditions:
    """Machine, threads, versions, settings of the environment, data and sweep."""
    machines = machine_name(base.environment), machine_name(new.environment)
    sentences = []
    if machines[0] != machines[1]:
        sentences.append(
            f"the machines differ ({machines[0]}; {machines[1]}): the ratios of times are theirs as much as the code's"
        )
    parts = [run.environment.get("machine") or {} for run in (base, new)]
    if not all(parts):
        sentences.append("of at least one run it is not known on which machine and with which versions it was measured")
    else:
        sentences += _of_machines(parts[0], parts[1])
    sentences += _of_data(base, new)
    names = [(run.environment.get("sweep") or {}).get("name") for run in (base, new)]
    if names[0] != names[1]:
        sentences.append(f"the sweeps differ ({names[0]}; {names[1]}): only the cells that both have are compared")
    return Conditions(machines[0] == machines[1], tuple(sentences))


def _of_machines(base: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    sentences = []
    if base.get("threads") != new.get("threads"):
        sentences.append(f"the numbers of threads differ ({base.get('threads')}; {new.get('threads')})")
    for part, word in (("packages", "versions"), ("environment", "settings of the environment")):
        before, after = base.get(part) or {}, new.get(part) or {}
        changed = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
        if changed:
            each = ", ".join(f"{name} {before.get(name, 'none')}; {after.get(name, 'none')}" for name in changed)
            sentences.append(f"{word} differ ({each})")
    python = [(machine.get("python") or {}).get("version") for machine in (base, new)]
    if python[0] != python[1]:
        sentences.append(f"versions of Python differ ({python[0]}; {python[1]})")
    return sentences


def _of_data(base: Run, new: Run) -> list[str]:
    contents = [
        {
            row["cell"]["task"]: (row["data"]["name"], row["data"]["content_hash"])
            for row in run.measurements
            if row.get("data")
        }
        for run in (base, new)
    ]
    changed = [
        task for task in sorted(contents[0].keys() & contents[1].keys()) if contents[0][task] != contents[1][task]
    ]
    return [f"the data of {task} differ: scores do not compare" for task in changed]
