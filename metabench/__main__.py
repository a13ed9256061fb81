"""`python -m metabench`"""

import sys
from contextlib import suppress
from pathlib import Path

with suppress(OSError):  # the current folder was removed
    if sys.path[0] == str(Path.cwd()):  # its files are not to be taken for modules of libraries
        del sys.path[0]

from metabench.cli.main import main

main()
