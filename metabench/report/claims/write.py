"""Writes what became of the claims."""

from collections.abc import Sequence
from pathlib import Path

from metabench.files import replace_file
from metabench.report.claims.judging import Held
from metabench.report.claims.tables import claims_document, claims_frame
from metabench.report.document import as_markdown

FLOATS = "%.9g"
"""Nine digits: more than any figure supports, and fewer than those in which two machines' sums differ."""


def write_claims(found: Sequence[Held], folder: Path) -> tuple[Path, Path]:
    """Write claims.md and claims.csv into a folder, which is made if need be. Raises `UserError`."""
    files = folder / "claims.md", folder / "claims.csv"
    table = claims_frame(found).to_csv(index=False, lineterminator="\n", float_format=FLOATS)
    texts = as_markdown(claims_document(found)), table
    for file, text in zip(files, texts, strict=True):
        replace_file(file, text.encode())
    return files
