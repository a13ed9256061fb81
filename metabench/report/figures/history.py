"""The time of a cell from revision to revision, with its levels and where they change."""

from matplotlib.figure import Figure

from metabench.report.compare.history import Line, MachineHistory
from metabench.report.compare.tables import cell_text
from metabench.report.figures.style import label, styled
from metabench.report.numbers import TIME_UNITS

LINE_COLOUR, STEP_COLOUR, LEVEL_COLOUR = "#0072b2", "#d55e00", "#1a1a1a"  # Okabe and Ito: told apart by everyone
MOST_LABELS = 12  # more would overlap


def draw_history(history: MachineHistory, line: Line) -> Figure:
    """Time with its interval against revision, of a line that has times."""
    timed = [(i, time) for i, time in enumerate(line.times) if time]
    scale, unit = next((pair for pair in TIME_UNITS if timed[0][1].value >= pair[0]), TIME_UNITS[-1])
    with styled():
        figure = Figure(figsize=(6, 3), layout="constrained")
        axes = figure.subplots()
        values = [time.value / scale for _, time in timed]
        bars = [
            [(time.value - time.drawn.low) / scale for _, time in timed],
            [(time.drawn.high - time.value) / scale for _, time in timed],
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
        axes.set_xticks(list(shown), [label(history.columns[i].label) for i in shown], rotation=30, ha="right")
        axes.set_xlim(-0.5, len(history.columns) - 0.5)
        axes.set_ylim(bottom=0)
        axes.set_ylabel(f"time of a meta-iteration [{unit}]")
        axes.set_title(label(cell_text(line.cell)), fontsize=7, wrap=True)
    return figure
