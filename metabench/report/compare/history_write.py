"""Writes a history: history.md, history.csv, and a plot a cell and machine."""

import re
from collections.abc import Sequence
from pathlib import Path

from metabench.files import replace_file
from metabench.report.compare.history import MachineHistory, history_frame, history_table
from metabench.report.figures.base import PLOTS, image
from metabench.report.figures.history import history_figure
from metabench.report.render.tables import markdown


def write_history(found: Sequence[MachineHistory], out: Path) -> list[Path]:
    """Write all files into `out`, replacing those that are there; gives the plots. Raises `UserError`."""
    files = {out / "history.csv": history_frame(found).to_csv(index=False, lineterminator="\n").encode()}
    text = []
    for number, history in enumerate(found):
        text.append(markdown(history_table(history)))
        for line in history.lines:
            if any(line.times):
                file = out / PLOTS / f"{number}-{_plain(line.cell.algorithm, line.cell.engine, line.id)}.svg"
                files[file] = image(history_figure(history, line), "svg")
                text.append(f"![{_plain(line.id)}]({PLOTS}/{file.name})\n")
    files[out / "history.md"] = "\n".join(text).encode()
    for file, content in files.items():
        replace_file(file, content)
    return [file for file in files if file.suffix == ".svg"]


def _plain(*parts: object) -> str:
    """Names that came from elsewhere, as part of a file's name."""
    return "-".join(re.sub(r"[^A-Za-z0-9_+-]", "_", str(part))[:40] for part in parts)
