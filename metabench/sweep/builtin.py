"""Where sweep files are found."""

from pathlib import Path

from metabench.errors import UserError, unknown
from metabench.files import DATA


def builtin_sweeps() -> list[Path]:
    """The sweep files that come with metabench: in alphabetical order."""
    return sorted((DATA / "sweeps").glob("*.toml"))


def find_sweep(name: str) -> Path:
    """The file of a built-in sweep's name, or the path itself."""
    path = Path(name)
    if path.suffix == ".toml" or path.exists():
        if not path.is_file():
            raise UserError(f"there is no sweep file '{name}'")
        return path
    builtin = {file.stem: file for file in builtin_sweeps()}
    if name not in builtin:
        raise unknown("sweep", name, builtin)
    return builtin[name]
