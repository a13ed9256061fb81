"""Where sweep files are found, and the files of the user's own that a sweep names by path."""

from pathlib import Path

from metabench.errors import UserError, unknown
from metabench.files import DATA
from metabench.record.reading import MEASUREMENTS, SOURCES, SWEEP

_BUILTIN = DATA / "sweeps"


def builtin_sweeps() -> list[Path]:
    """The sweep files that come with metabench: in alphabetical order."""
    return sorted(_BUILTIN.glob("*.toml"))


def sources_of(sweep: Path) -> Path:
    """The folder in which files that a sweep names by path are looked for.

    That is the folder of the sweep file; of a built-in sweep, the current folder; and of the sweep that a run folder
    keeps, the files that it keeps beside.
    """
    place = sweep.absolute().parent
    if place == _BUILTIN.absolute():
        return Path.cwd()
    kept = place / SOURCES
    return kept if sweep.name == SWEEP and (place / MEASUREMENTS).exists() and kept.is_dir() else place


def find_sweep(name: str) -> Path:
    """The file of a built-in sweep's name, or the path itself."""
    path = Path(name)
    builtin = {file.stem: file for file in builtin_sweeps()}
    if path.is_file():
        return path
    if name in builtin:  # a folder of that name may be the run of it
        return builtin[name]
    if path.suffix == ".toml" or path.exists():
        raise UserError(f"there is no sweep file '{name}'")
    raise unknown("sweep", name, builtin)
