"""Writes a history: history.md, history.csv, and a plot a cell and machine."""

import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from metabench.report.comparison_tables import cell_text
from metabench.report.figures import TIME_UNITS
from metabench.report.history import Line, MachineHistory, history_frame, history_table
from metabench.report.tables import markdown
from metabench.report.write import replace_text

PLOTS = "plots"
LINE_COLOUR, STEP_COLOUR, LEVEL_COLOUR = "#0072B2", "#D55E00", "#000000"  # Okabe and Ito: told apart by everyone
MOST_LABELS = 12  # more would overlap


def write_history(found: Sequence[MachineHistory], out: Path) -> list[Path]:
    """Write all files into `out`, replacing those that are there; gives the plots. Raises `UserError`."""
    files = {out / "history.csv": history_frame(found).to_csv(index=False, lineterminator="\n")}
    text = []
    for number, history in enumerate(found):
        text.append(markdown(history_table(history)))
        for line in history.lines:
            if any(line.times):
                file = out / PLOTS / f"{number}-{_plain(line.cell['algorithm'], line.cell['engine'], line.id)}.svg"
                files[file] = plot(history, line)
                text.append(f"![{_plain(line.id)}]({PLOTS}/{file.name})\n")
    files[out / "history.md"] = "\n".join(text)
    for file, content in files.items():
        replace_text(file, content)
    return [file for file in files if file.suffix == ".svg"]


def _plain(*parts: object) -> str:
    """Names that came from elsewhere, as part of a file's name."""
    return "-".join(re.sub(r"[^A-Za-z0-9_+-]", "_", str(part))[:40] for part in parts)


def plot(history: MachineHistory, line: Line) -> str:
    """A small SVG: time with its interval against revision, levels, and where they change."""
    timed = [(i, time) for i, time in enumerate(line.times) if time]
    scale, unit = next((pair for pair in TIME_UNITS if timed[0][1].value >= pair[0]), TIME_UNITS[-1])
    with rc_context({"svg.hashsalt": "metabench", "svg.fonttype": "none", "font.size": 7, "text.parse_math": False}):
        figure = Figure(figsize=(5, 2.4), layout="constrained")
        axes = figure.subplots()
        values = [time.value / scale for _, time in timed]
        bars = [
            [(time.value - time.low) / scale for _, time in timed],
            [(time.high - time.value) / scale for _, time in timed],
        ]
        axes.errorbar(
            [i for i, _ in timed],
            values,
            yerr=bars,
            fmt="o-",
            markersize=3,
            linewidth=0.8,
            capsize=2,
            color=LINE_COLOUR,
        )
        for columns, level in line.levels:
            axes.hlines(level / scale, columns[0] - 0.3, columns[-1] + 0.3, color=LEVEL_COLOUR, linewidth=0.8, zorder=1)
        for step in line.steps:
            axes.axvline(step - 0.5, color=STEP_COLOUR, linestyle="--", linewidth=1)
        every = -(-len(history.columns) // MOST_LABELS)
        shown = range(0, len(history.columns), every)
        axes.set_xticks(list(shown), [history.columns[i].label for i in shown], rotation=30, ha="right")
        axes.set_xlim(-0.5, len(history.columns) - 0.5)
        axes.set_ylim(bottom=0)
        axes.set_ylabel(f"time of a meta-iteration [{unit}]")
        axes.set_title(cell_text(line.cell), fontsize=6, wrap=True)
        file = BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue().decode()
