"""The other processes of a cell that has several: started by the leading one, and heard when one of them fails."""

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

WORKER = "metabench.sweep.worker"
"""The module of a cell's process."""
START = "import gc; gc.disable(); from {} import main; gc.freeze(); gc.enable(); main()"
"""The collector would look through what comes with torch, and stays, again and again: a sixth of the start, and an
eighth of a second before each timing."""
HOME = Path(__file__).parents[2]
PATIENCE_S = 2.0  # that a process has to say itself what has ended another


class Companions:
    """Processes 1, 2, … of a cell: each runs the worker on the same job, and writes a result of its own."""

    def __init__(self, job: Path, result: Path, world_size: int, address: str) -> None:
        self.results = [result.with_name(f"{result.stem}-{number}.json") for number in range(1, world_size)]
        self.processes = [
            # its standard input closes when this process ends, and so ends the other
            subprocess.Popen(worker_command(job, file, number, address), stdin=subprocess.PIPE)
            for number, file in enumerate(self.results, start=1)
        ]

    def failure(self) -> dict[str, Any] | None:
        """Status, reason and traceback of the first that has ended without being done."""
        for number, (process, file) in enumerate(zip(self.processes, self.results, strict=True), start=1):
            if (code := process.poll()) is None:
                continue
            result = {"status": "crashed", "reason": f"ended with exit code {code}", "traceback": ""}
            with suppress(OSError, ValueError):
                result |= json.loads(file.read_text(encoding="utf-8")) if code == 0 else {}
            if result["status"] != "ok":
                found = {name: result.get(name, "") for name in ("status", "reason", "traceback")}
                return found | {"reason": f"process {number}: {found['reason']}"}
        return None

    def wait_for_failure(self) -> dict[str, Any] | None:
        """Wait until all have ended, or one failed and this process had time to fail by itself; give `failure()`."""
        while any(process.poll() is None for process in self.processes):
            if self.failure():
                time.sleep(PATIENCE_S)
                break
            time.sleep(0.05)
        return self.failure()


def worker_command(job: Path, result: Path, number: int = 0, address: str = "", worker: str = WORKER) -> list[str]:
    """What starts process `number` of a cell, to meet the others at `address`; without one it starts them itself.

    `worker` is the module whose `main` it runs.
    """
    which = [str(number), address] if address else []
    return [*python(START.format(worker)), str(job), str(result), *which]


def python(code: str) -> list[str]:
    """What runs some code of ours in a process of its own.

    The current folder does not come first on its path, as it would by itself: a user's file there may have the name of
    a module that torch needs.
    """
    return [sys.executable, "-P", "-c", f"import sys; sys.path.append({str(HOME)!r}); {code}"]
