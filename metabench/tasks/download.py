"""Downloads by torchvision, in a process of their own, so that they can be stopped and stay silent."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metabench.errors import UserError
from metabench.files import make_cache_dir

CONNECT_SECONDS = 5.0
_PROBE = "import sys, urllib.request as u; u.urlopen(u.Request(sys.argv[1], method='HEAD'), timeout=4)"


class DataMissing(UserError):
    """A data set is neither prepared nor given, and could not be downloaded: a stand-in may be used instead."""


@contextmanager
def downloaded(url: str, code: str, seconds: float) -> Iterator[Path]:
    """A temporary folder, into which the Python `code` has downloaded what it asks for; the folder is its argument.

    `url` is tried first, so that it is known soon where there is no connection. Raises `DataMissing`, with the reason
    as its text.
    """
    try:
        _run(_PROBE, url, CONNECT_SECONDS)
    except (subprocess.SubprocessError, OSError) as error:
        raise DataMissing("there is no connection to download it") from error
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
