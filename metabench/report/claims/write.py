"""Writes what became of the claims."""

from collections.abc import Sequence
from pathlib import Path

from metabench.files import replace_file
from metabench.report.claims.judging import Held
from metabench.report.claims.shown import claims_document, claims_frame
from metabench.report.document import as_markdown


def write_claims(found: Sequence[Held], folder: Path) -> tuple[Path, Path]:
    """Write claims.md and claims.csv into a folder, which is made if need be. Raises `UserError`."""
    files = folder / "claims.md", folder / "claims.csv"
    texts = as_markdown(claims_document(found)), claims_frame(found).to_csv(index=False, lineterminator="\n")
    for file, text in zip(files, texts, strict=True):
        replace_file(file, text.encode())
    return files
