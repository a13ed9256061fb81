"""Under which conditions runs were measured, and in what two runs differ: said in words before any ratio."""

from dataclasses import dataclass

from metabench.record.environment import Code, Machine
from metabench.report.results import Run

SHORT_COMMIT = 8
SHORT_HASH = 12
UNKNOWN = "not known"
REPEAT = "metabench run sweep.toml"
"""The command that measures a run's sweep again; every run folder holds the file."""


@dataclass(frozen=True)
class Conditions:
    """Differences of two runs, beside what was to be compared."""

    same_machine: bool
    sentences: tuple[str, ...]


def revision_commit(run: Run) -> str | None:
    """The commit of metabench that measured a run, if it is known."""
    return code_of(run).commit


def revision_name(run: Run) -> str:
    """The commit in short; the run's own name where it is not known."""
    code = code_of(run)
    return code.commit[:SHORT_COMMIT] + (" and changes" if code.dirty else "") if code.commit else run.name


def code_of(run: Run) -> Code:
    """Version of metabench that measured a run."""
    machine = run.environment.machine
    return (machine.metabench if machine else None) or Code()


def measured_at(run: Run) -> str:
    """Time at which a run began, UTC, ISO 8601; empty where it is not known."""
    return min((row.started for row in run.measurements if row.started), default="")


def provenance(run: Run) -> tuple[tuple[str, str], ...]:
    """Name and value: when, with which metabench and on which machine a run was measured, and how to repeat it."""
    machine = run.environment.machine
    began = measured_at(run) or (machine and machine.time) or ""
    merged = sorted({row.run for row in run.measurements if row.run})
    own = own_files(run)
    repeatable = run.environment.sweep.name and not run.environment.runs
    return (
        ("measured", f"{began[:16].replace('T', ' ')} UTC" if began else UNKNOWN),
        ("metabench", "; ".join(merged) or _code_text(code_of(run))),
        *((("own files", own),) if own else ()),
        ("machine", run.environment.summary or UNKNOWN),
        ("repeat with", REPEAT if repeatable else UNKNOWN),
    )


def own_files(run: Run) -> str:
    """The files of the user's own that a run was measured with, and their hashes; empty where it has none."""
    listed = (f"{name} (sha256 {', '.join(found)})" for name, found in sorted(_digests(run).items()))
    return "; ".join(listed)


def _digests(run: Run) -> dict[str, dict[str, None]]:
    """The hashes of each file of the user's own, in short: several where it changed."""
    found: dict[str, dict[str, None]] = {}
    for row in run.measurements:
        for name, digest in row.sources.items():
            found.setdefault(name, {})[digest[:SHORT_HASH]] = None
    return found


def _code_text(code: Code) -> str:
    changes = ", with changes that were not committed" if code.dirty else ""
    return f"version {code.version or UNKNOWN}, commit {code.commit or UNKNOWN}{changes}"


def differing_conditions(base: Run, new: Run) -> Conditions:
    """Machine, threads, versions, settings of the environment, data and sweep."""
    machines = base.environment.machine_name, new.environment.machine_name
    sentences = []
    if machines[0] != machines[1]:
        sentences.append(
            f"the machines differ ({machines[0]}; {machines[1]}): the ratios of times are theirs as much as the code's"
        )
    parts = [run.environment.machine for run in (base, new)]
    if not (parts[0] and parts[1]):
        sentences.append("of at least one run it is not known on which machine and with which versions it was measured")
    else:
        sentences += _of_machines(parts[0], parts[1])
    sentences += _of_data(base, new)
    sentences += _of_own_files(base, new)
    names = [run.environment.sweep.name for run in (base, new)]
    if names[0] != names[1]:
        shared = "only the configurations that both have are compared"
        sentences.append(f"the sweeps differ ({names[0]}; {names[1]}): {shared}")
    return Conditions(machines[0] == machines[1], tuple(sentences))


def _of_machines(base: Machine, new: Machine) -> list[str]:
    sentences = []
    if base.threads != new.threads:
        sentences.append(f"the numbers of threads differ ({base.threads}; {new.threads})")
    packages = "versions", base.packages or {}, new.packages or {}
    variables = "settings of the environment", base.environment or {}, new.environment or {}
    for word, before, after in (packages, variables):
        changed = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
        if changed:
            each = ", ".join(f"{name} {before.get(name, 'none')}; {after.get(name, 'none')}" for name in changed)
            sentences.append(f"{word} differ ({each})")
    python = [(machine.python or {}).get("version") for machine in (base, new)]
    if python[0] != python[1]:
        sentences.append(f"versions of Python differ ({python[0]}; {python[1]})")
    return sentences


def _of_own_files(base: Run, new: Run) -> list[str]:
    """A sentence where files of the user's own are not the same in both runs."""
    before, after = _digests(base), _digests(new)
    changed = [name for name in sorted(before.keys() & after.keys()) if before[name] != after[name]]
    return [f"the code differs: {', '.join(changed)}"] if changed else []


def _of_data(base: Run, new: Run) -> list[str]:
    contents = [
        {row.cell.problem: (row.data.name, row.data.content_hash) for row in run.measurements if row.data}
        for run in (base, new)
    ]
    changed = [
        task for task in sorted(contents[0].keys() & contents[1].keys()) if contents[0][task] != contents[1][task]
    ]
    return [f"the data of {task} differ: scores do not compare" for task in changed]
