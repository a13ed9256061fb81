"""One cell in a process of its own: started, limited in time, ended whole, and turned into a measurement."""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

from metabench.errors import UserError
from metabench.machine.cores import bounded_spinning
from metabench.machine.limits import ran_out
from metabench.record.cell import Cell
from metabench.record.measurement import Measurement, Status
from metabench.record.reading import measurement_of
from metabench.sweep.companions import WORKER, worker_command
from metabench.sweep.servers import POLL_S, Lend
from metabench.sweep.spec import Settings

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
FEWER_THREADS = ("OMP_THREAD_LIMIT", "OMP_DYNAMIC")
"""Variables by which OpenMP gives fewer threads than a row names: a worker has none of them."""

LAST_MESSAGES = 4000  # bytes of what a process has written


def run_cell(
    cell: Cell,
    round_number: int,
    settings: Settings,
    data_dir: Path | None,
    stop: Event | None = None,
    code: Path | None = None,
    meeting: str = "",
    lend: Lend | None = None,
    checkpoints: Path | None = None,
) -> Measurement:
    """Measure `cell` in a process of its own. Whatever ends the process becomes the measurement's status.

    `code` is a folder with other sources, which take the place of those that run now. Where the cell's other processes
    are started by somebody else, `meeting` is the address at which they meet. `lend` gives a server that has loaded
    torch, and that forks the process of a cell that can be forked; any other is started anew. A training is kept in
    the folder `checkpoints` while it goes on.
    Raises `KeyboardInterrupt` once `stop` is set: cells that run side by side do so in threads, which hear no Ctrl-C;
    `UserError` where there is no room for the process or its files.
    """
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    begin = time.perf_counter()
    job = job_of(cell, settings, data_dir, checkpoints)
    forks = lend if cell.device == "cpu" and cell.world_size == 1 and not code else None
    ended = run_job(job, worker_environment(cell.threads, code), settings.time_limit_s, forks, stop, code, meeting)
    status, reason = ended.outcome(settings.time_limit_s)
    row = {"id": cell.id, "round": round_number, "status": status, "reason": reason, "cell": cell.to_json()}
    row |= {"started": started, "seconds": time.perf_counter() - begin}
    row["phase"] = "" if status == "ok" else ended.result.get("phase", "start")
    return _kept({part: value for part, value in ended.result.items() if value is not None and part not in row}, row)


def job_of(cell: Cell, settings: Settings, data_dir: Path | None, checkpoints: Path | None) -> dict[str, Any]:
    """What the process of a cell reads."""
    folders = {"data_dir": data_dir, "checkpoints": checkpoints.absolute() if checkpoints else None}
    given = {name: str(folder) if folder else None for name, folder in folders.items()}
    return {"cell": cell.to_json(), "settings": asdict(settings), **given}


class Ended(NamedTuple):
    """What is left of a process: its exit code, or None after the time limit; its last words; what it has found."""

    code: int | None
    messages: str
    result: dict[str, Any]

    def outcome(self, limit: float) -> tuple[Status, str]:
        """The status that the end of the process gives to what it measured, and the reason."""
        return _outcome(self.code, self.messages, self.result, limit)


def run_job(
    job: Mapping[str, Any],
    variables: Mapping[str, str],
    limit: float,
    lend: Lend | None = None,
    stop: Event | None = None,
    code: Path | None = None,
    meeting: str = "",
    worker: str = WORKER,
) -> Ended:
    """Run `main` of the module `worker` on a job, in a process of its own, for at most `limit` seconds.

    Raises as `run_cell` does.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="metabench-") as name:
            folder = Path(name)
            (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
            if lend:
                with lend(variables) as server:
                    exit_code = server.run(folder, limit, stop, worker)
            else:
                command = worker_command(folder / "job.json", folder / "result.json", 0, meeting, worker)
                exit_code = _execute(command, folder, variables, code, limit, stop)
            messages = _last_messages(folder)
            result_file = folder / "result.json"
            result = json.loads(result_file.read_text(encoding="utf-8")) if result_file.exists() else {}
    except OSError as error:
        raise UserError(f"a configuration's process cannot be started or heard: {error}") from None
    return Ended(exit_code, messages, result)


def _kept(parts: Mapping[str, Any], row: dict[str, Any]) -> Measurement:
    """The row with all parts that are figures; `crashed` where one is none (an older revision's, or a plug-in's)."""
    for part, value in parts.items():
        try:
            measurement_of(row | {part: value})
            row |= {part: value}
        except ValueError as error:
            row |= {"status": "crashed", "reason": f"what it measured as {part} is no measurement: {error}"}
    return measurement_of(row)


def _execute(
    command: list[str],
    folder: Path,
    variables: Mapping[str, str],
    code: Path | None,
    limit: float,
    stop: Event | None,
) -> int | None:
    """Run the worker; gives its exit code, or None where the time limit ended it."""
    with (folder / "messages").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=variables, cwd=code, start_new_session=True
        )
        try:
            return process.wait(timeout=limit) if stop is None else _wait(process, limit, stop)
        except subprocess.TimeoutExpired:
            return None
        finally:
            # Also on Ctrl-C. The group, because a worker may have started processes of its own.
            _end(process)


def _last_messages(folder: Path) -> str:
    """The end of what a cell's process has written."""
    file = folder / "messages"
    return file.read_bytes()[-LAST_MESSAGES:].decode(errors="replace") if file.exists() else ""


def _wait(process: subprocess.Popen[bytes], limit: float, stop: Event) -> int:
    end = time.monotonic() + limit
    while time.monotonic() < end:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(POLL_S)
        if stop.is_set():
            raise KeyboardInterrupt
    raise subprocess.TimeoutExpired(process.args, limit)


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin:
        process.stdin.close()


def worker_environment(threads: int, code: Path | None = None) -> Mapping[str, str]:
    """The variables of a worker: its threads, how long these spin, and the sources in `code` before any others."""
    # torchrun's own would make processes meet at torchrun's address instead of at their own
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TORCHELASTIC") and name not in FEWER_THREADS
    }
    variables = {**kept, **dict.fromkeys(THREAD_VARIABLES, str(threads)), **bounded_spinning(kept)}
    if code:
        variables["PYTHONPATH"] = os.pathsep.join([str(code), str(code / "src"), variables.get("PYTHONPATH", "")])
    return variables


def _outcome(code: int | None, messages: str, result: dict[str, Any], limit: float) -> tuple[Status, str]:
    phase = result.get("phase", "start")
    if code is None:
        return "timeout", f"ended in phase '{phase}' at the time limit of {limit:g} s"
    if code == 0 and result:
        return result["status"], result["reason"]
    if code == -signal.SIGKILL:
        return "oom", f"killed in phase '{phase}', most likely by the system for want of memory"
    if ran_out(messages) and code < 0:
        return "oom", f"ended in phase '{phase}' for want of memory"
    last_line = messages.strip().splitlines()[-1] if messages.strip() else "no message"
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return "crashed", f"ended in phase '{phase}' with {how}: {last_line}"
