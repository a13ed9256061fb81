"""Writes what is derived from a run into its folder."""

from pathlib import Path

from metabench.files import replace_file
from metabench.report.document import as_markdown, as_text, document
from metabench.report.frame import curves_frame, read_run, samples_frame, to_frame
from metabench.report.plots import pictures

PLOTS = "plots"


def write_report(folder: Path) -> str:
    """Write results.csv, samples.csv, curves.csv, tables.md and plots/; gives the tables as text for a terminal.

    Each file is replaced whole or left as it was. Raises `UserError` for a folder that cannot be read or written.
    """
    run = read_run(folder)
    shown = document(run)
    texts = {
        "results.csv": to_frame(run).to_csv(index=False, lineterminator="\n"),
        "samples.csv": samples_frame(run).to_csv(index=False, lineterminator="\n"),
        "curves.csv": curves_frame(run).to_csv(index=False, lineterminator="\n"),
        "tables.md": as_markdown(shown),
    }
    files = {folder / name: text.encode() for name, text in texts.items()}
    files |= {folder / PLOTS / name: content for name, content in pictures(run).items()}
    for file, content in files.items():
        replace_file(file, content)
    return as_text(shown)
