"""Writes the environment of a run: machines, stand-in data, and what was not as it should be."""

from msgspec import structs

from metabench.errors import UserError
from metabench.machine.conditions import warnings_now
from metabench.machine.fingerprint import fingerprint, short_name
from metabench.record.environment import Environment, SweepName
from metabench.sweep.backends.base import Machine
from metabench.sweep.folder import RunFolder
from metabench.sweep.jobs import Progress, now
from metabench.sweep.spec import Sweep


def describe_machine(folder: RunFolder, sweep: Sweep, stand_in: str, warnings: list[str], progress: Progress) -> str:
    """Write what is known of this machine and of the run; gives the machine's label.

    Refuses to go on with a run of another machine or data.
    """
    machine = fingerprint(max(cell.threads for cell in sweep.cells))
    summary = short_name(machine)
    before = folder.read_environment()
    if before and (other := before.other_than(machine, summary)):
        raise UserError(
            f"'{folder.path}' was measured on another machine or with other versions ({other}): start a new run"
        )
    state = warnings_now(sweep.cells)
    environment = _of_run(Environment(), folder, sweep, stand_in, warnings, state, progress)
    environment = structs.replace(environment, summary=summary, machine=machine)
    folder.write_environment(environment)
    return environment.machine_label


def describe_run(
    folder: RunFolder, sweep: Sweep, stand_in: str, warnings: list[str], progress: Progress, backend: str
) -> None:
    """Write what is known of a run on machines that are not known yet; those that were met before stay."""
    before = folder.read_environment() or Environment(summary="no machine yet")
    environment = _of_run(before, folder, sweep, stand_in, warnings, [], progress)
    folder.write_environment(structs.replace(environment, backend=backend))


def meet(folder: RunFolder, machine: Machine) -> None:
    """Add a machine to those of a run: the run is of that one, or of several."""
    before = folder.read_environment() or Environment()
    machines = {**(before.machines or {}), machine.label: machine.fingerprint}
    one = len(machines) == 1
    summary = short_name(machine.fingerprint) if one else "; ".join(machines)
    only = machine.fingerprint if one else None
    folder.write_environment(structs.replace(before, summary=summary, machines=machines, machine=only))


def _of_run(
    environment: Environment,
    folder: RunFolder,
    sweep: Sweep,
    stand_in: str,
    warnings: list[str],
    state: list[str],
    progress: Progress,
) -> Environment:
    """The environment with what is known of the run beside the machine; `state` are sentences on what holds now."""
    before = folder.read_environment()
    if before and before.stand_in != stand_in:
        raise UserError(
            f"'{folder.path}' was begun on {before.stand_in or 'the real data'} and would go on with "
            f"{stand_in or 'the real data'}: start a new run"
        )
    found = [*(before.warnings if before else []), *warnings, *(f"{now()}: {sentence}" for sentence in state)]
    for sentence in [*warnings, *state]:
        progress.warn(sentence)
    named = SweepName(sweep.name, sweep.title)
    return structs.replace(environment, warnings=list(dict.fromkeys(found)), stand_in=stand_in, sweep=named)
