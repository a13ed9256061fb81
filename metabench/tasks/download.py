"""Downloads by torchvision, in a process of their own, so that they can be stopped and print nothing of their own."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metabench.errors import UserError
from metabench.files import make_cache_dir
from metabench.tasks.waiting import announce
from metabench.text import span

CONNECT_SECONDS = 5.0
_PROBE = "import sys, urllib.request as u; u.urlopen(u.Request(sys.argv[1], method='HEAD'), timeout=4)"


class DataMissing(UserError):
    """A data set is neither prepared nor given, and could not be downloaded: a stand-in may be used instead."""


@contextmanager
def downloaded(name: str, url: str, code: str, seconds: float) -> Iterator[Path]:
    """A temporary folder, into which the Python `code` has downloaded what it asks for; the folder is its argument.

    `name` is what the data is called, and `seconds` the longest that it may take. `url` is tried first, so that it is
    known soon where there is no connection. Raises `DataMissing`, with the reason as its text.
    """
    try:
        _run(_PROBE, url, CONNECT_SECONDS)
    except (subprocess.SubprocessError, OSError) as error:
        raise DataMissing("there is no connection to download it") from error
    announce(f"downloading {name}", f"up to {span(seconds)}")
    with tempfile.TemporaryDirectory(dir=make_cache_dir(), prefix=".download-", ignore_cleanup_errors=True) as folder:
        try:
            _run(code, folder, seconds - CONNECT_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise DataMissing(f"the download took more than {seconds:.0f} s") from error
        except (subprocess.SubprocessError, OSError) as error:
            raise DataMissing("the download failed") from error
        yield Path(folder)


def _run(code: str, argument: str, seconds: float) -> None:
    command = [sys.executable, "-P", "-c", code, argument]
    subprocess.run(command, check=True, timeout=seconds, stdin=subprocess.DEVNULL, capture_output=True)
