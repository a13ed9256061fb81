"""The command line: parses, calls, prints."""

import atexit
import errno
import gc
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from tabulate import tabulate

from metabench.cli.implementations import advise, profile, verify
from metabench.cli.mistakes import Commands, Mistake, sentence_of
from metabench.cli.options import AsJson, DataDir, fail, interrupted, out_option
from metabench.cli.output import READER_GONE, OutputLost, ReaderGone, guard_output
from metabench.cli.runs import Full, claims, compare, forecast, history, merge, report
from metabench.cli.search import search
from metabench.cli.timing import time
from metabench.errors import Unsupported, UserError, unknown
from metabench.sources import use
from metabench.text import strict_json
from metabench.version import __version__

# Everything that needs torch is imported inside its command, so that help and reports come at once.

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(cls=Commands, no_args_is_help=True)

REFUSED = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.EROFS, errno.ENOSPC)
"""What an operating system refuses for reasons that lie with the user's files, not with this program."""
KINDS = ("algorithms", "engines", "models", "tasks", "sweeps")


def _leave_torch_alone() -> None:
    """Spare the garbage collector's last round, which would look at all of torch: half a second that frees nothing.

    Triton, where it was loaded, would take all that is spared for leaks, and print thirty lines of them.
    """
    if "triton" not in sys.modules:
        gc.freeze()


def main() -> None:
    """Entry point: a user's mistake is one sentence and exit code 2, without a traceback."""
    atexit.register(_leave_torch_alone)
    try:
        guard_output()
        use(Path())  # whatever folder a program that starts this one looks for files in
        try:
            code = app(standalone_mode=False)
        finally:
            sys.stdout.flush()
        sys.exit(code or 0)
    except ReaderGone:
        sys.exit(READER_GONE)
    except Mistake as mistake:
        said = sentence_of(mistake)
        if not said:
            sys.exit(2)
        fail(said, 2)
    except (UserError, Unsupported) as error:
        fail(str(error), 2)
    except OSError as error:
        if error.errno not in REFUSED or error.filename is None:
            raise
        fail(f"cannot read or write '{error.filename}': {error.strerror}", 2)


def list_names(
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(KINDS)}; all if left out.")] = "",
    as_json: AsJson = False,
) -> None:
    """List algorithms, engines, models, tasks and sweeps."""
    from metabench.cli.listing import listing
    from metabench.report.render.fitting import WIDTH, fitted, width_of_output
    from metabench.report.render.tables import table_json

    if kind and kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    tables = list(listing((kind,) if kind else KINDS, full=as_json))
    width = min(WIDTH, width_of_output())
    if as_json:
        print(strict_json({"tables": [table_json(table) for table in tables]}))
    for table in tables:
        if not as_json:
            print(f"{table.title}\n{fitted(table.columns, table.rows, width)}\n")
        for note in table.notes:
            print(f"metabench: {note}", file=sys.stderr)


def run(
    sweep: Annotated[str, typer.Argument(help="A built-in sweep (see `metabench list sweeps`) or a TOML file.")],
    out: Annotated[Path | None, out_option("Run folder; by default runs/SWEEP-TIME.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    data_dir: DataDir = None,
    device: Annotated[str, typer.Option(help="cpu or cuda, for all configurations.")] = "",
    assign: Annotated[list[str] | None, typer.Option("--set", help="axis=value[,value…], in every grid.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="axis=value[,value…]: measure only configurations with one of these values."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be measured, and about how long it takes.")
    ] = False,
    full: Full = False,
    as_json: AsJson = False,
    backend: Annotated[str, typer.Option(help="local, ray, slurm or torchrun: see docs/scale.md.")] = "local",
    address: Annotated[str, typer.Option(help="Of the Ray cluster; by default that of this machine.")] = "",
    backend_option: Annotated[list[str] | None, typer.Option(help="key=value, such as partition=gpu.")] = None,
) -> None:
    """Run a sweep, each configuration in a process of its own, and print its answer."""
    from metabench.api.running import carry_out, new_folder
    from metabench.machine.devices import check_device
    from metabench.progress import ConsoleProgress
    from metabench.sweep.backends.base import open_backend
    from metabench.sweep.builtin import find_sweep
    from metabench.sweep.spec import assignments, load_sweep

    if resume and out is None:
        raise UserError("--resume needs --out with the run folder to go on with")
    overrides, kept = assignments(assign or [], "--set"), assignments(only or [], "--only")
    if device:
        overrides["device"] = [device]
    with open_backend(backend, backend_option or [], address) as runs:
        loaded = load_sweep(find_sweep(sweep), overrides, runs.cores, only=kept)
        if dry_run:
            from metabench.cli.dry_run import dry_run_json, dry_run_text, lacking_here
            from metabench.report.render.fitting import width_of_output

            lacking = [] if runs.remote else lacking_here(loaded)
            told = dry_run_json(loaded, lacking) if as_json else dry_run_text(loaded, width_of_output(), full, lacking)
            print(strict_json(told) if as_json else told)
            return
        if not runs.remote:
            check_device({cell.device for cell in loaded.cells})
        folder = out or new_folder(loaded.name)
        try:
            carry_out(loaded, folder, runs, ConsoleProgress(), resume, data_dir)
        except KeyboardInterrupt:
            interrupted("all finished measurements are", folder, out, resume)
    try:
        report(folder, full, as_json)
        sys.stdout.flush()
    except OutputLost as error:
        raise OutputLost(f"{error}; all that was measured is in '{folder}'") from None


def env() -> None:
    """Print the machine fingerprint that is kept with every run."""
    from metabench.machine.cores import default_threads
    from metabench.machine.fingerprint import fingerprint

    print(strict_json(fingerprint(default_threads())))


@data_app.command("prepare")
def data_prepare(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Pack Omniglot into the cache: from --data-dir, or by torchvision's download."""
    from metabench.tasks import omniglot

    omniglot.prepare(data_dir)
    data_status(data_dir, as_json)


@data_app.command("status")
def data_status(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Say whether Omniglot is at hand, and its content hash."""
    from metabench.tasks import omniglot

    found = omniglot.status(data_dir).describe()
    print(strict_json(found) if as_json else tabulate(list(found.items()), tablefmt="plain"))


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Measure what meta-learning algorithms cost, and what accuracy they reach for it.

    First steps: metabench run first, then metabench advise --algorithm maml
    """
    if version:
        print(f"metabench {__version__}")
        raise typer.Exit(0)


COMMANDS: Mapping[str, Sequence[tuple[Callable[..., None], str]]] = {
    "Every day": (
        (run, "Measure a sweep, and print the answer."),
        (report, "Write report.html and the tables of a run anew."),
        (advise, "Name the fastest engine for a setting of yours."),
        (time, "Time training steps of your own."),
        (verify, "Prove algorithms, engines and plug-ins right."),
        (compare, "Compare two runs, or two git revisions."),
    ),
    "A closer look": (
        (search, "Search for the best hyper-parameters in a given time."),
        (profile, "Show where the time and memory of an iteration go."),
        (claims, "Hold published claims against runs."),
        (history, "Show how times changed from revision to revision."),
        (merge, "Put runs of several machines into one report."),
        (forecast, "Predict times on hardware that is not at hand."),
    ),
}
"""Commands by panel of the help, with a line on each, in the order in which a newcomer needs them."""
AT_HAND = "What is at hand"
for panel, commands in COMMANDS.items():
    for command, line in commands:
        app.command(rich_help_panel=panel, short_help=line)(command)
app.command("list", rich_help_panel=AT_HAND, short_help="List algorithms, engines, models, tasks and sweeps.")(
    list_names
)
app.add_typer(data_app, name="data", rich_help_panel=AT_HAND, help="Prepare Omniglot, or see whether it is there.")
app.command(rich_help_panel=AT_HAND, short_help="Print what is known of this machine.")(env)
