"""Writes what is derived from a run into its folder."""

from collections.abc import Mapping
from pathlib import Path

from metabench.files import replace_file
from metabench.record.reading import MEASUREMENTS, SWEEP
from metabench.report.document import Document, as_markdown, document
from metabench.report.figures import figures
from metabench.report.figures.base import FORMATS, PLOTS, image
from metabench.report.frames import curves_frame, samples_frame, to_frame
from metabench.report.provenance import revision_name
from metabench.report.render.attachments import Attachment
from metabench.report.render.latex import as_latex
from metabench.report.render.run_page import run_page
from metabench.report.results import read_run


def write_report(folder: Path, out: Path | None = None) -> Document:
    """Write results.csv, samples.csv, curves.csv, tables.md, tables.tex, report.html and plots/; gives the tables.

    They are written into the run folder, or into `out`. Each file is replaced whole or left as it was. Raises
    `UserError` for a folder that cannot be read or written.
    """
    run = read_run(folder)
    shown = document(run)
    drawn = [(figure, {kind: image(figure, kind) for kind in FORMATS}) for figure in figures(run)]
    texts = {
        "results.csv": to_frame(run).to_csv(index=False, lineterminator="\n"),
        "samples.csv": samples_frame(run).to_csv(index=False, lineterminator="\n"),
        "curves.csv": curves_frame(run).to_csv(index=False, lineterminator="\n"),
        "tables.md": as_markdown(shown),
        "tables.tex": as_latex(shown, revision_name(run)),
        **{f"{PLOTS}/{figure.name}.csv": figure.csv() for figure, _ in drawn},
    }
    assert shown.answer is not None  # a run has one
    texts["report.html"] = run_page(shown.answer, shown, [figure for figure, _ in drawn], run, _carried(folder, texts))
    out = out or folder
    files = {out / name: text.encode() for name, text in texts.items()}
    files |= {out / PLOTS / f"{f.name}.{kind}": content for f, images in drawn for kind, content in images.items()}
    for file, content in files.items():
        replace_file(file, content)
    return shown


def _carried(folder: Path, texts: Mapping[str, str]) -> list[Attachment]:
    """What the page lists for a reader to save, and then what its figures link to."""
    given = {name: (folder / name).read_bytes() for name in (MEASUREMENTS, SWEEP) if (folder / name).is_file()}
    derived = {name: text.encode() for name, text in texts.items() if name.endswith(".csv")}
    files = {**derived, **given}
    return [Attachment(name, content, listed="/" not in name) for name, content in files.items()]
