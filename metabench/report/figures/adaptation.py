"""Quality on held-out tasks against the number of inner steps taken on them."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter

from metabench.report.figures.curves import Curve, Curves, curves_data, curves_layout
from metabench.report.figures.panels import panels, short
from metabench.report.figures.picture import Picture
from metabench.report.figures.style import styled
from metabench.report.figures.trained import Trained, trained_settings
from metabench.report.results import Run

TITLE = "How fast they adapt: quality on held-out tasks, step by step"
SAYS = (
    "Band: 95 % interval, over training seeds and held-out tasks (one seed: over tasks alone). Dotted lines across: "
    "no inner loop."
)
TICKS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def adaptation_picture(run: Run) -> Picture | None:
    """None for a run in which no held-out task was adapted to."""
    found = adaptation_curves(run)
    if not found:
        return None
    machine = run.environment.summary
    return Picture("adaptation", TITLE, SAYS, curves_data(found, "step"), lambda: draw_adaptation(found, machine))


def adaptation_curves(run: Run) -> list[Curves]:
    """A panel for each setting in which anything takes a step."""
    found = []
    for one in trained_settings(run):
        lines = tuple(_curve(trained) for trained in one.trained if trained.quality.by_step)
        if any(not line.level for line in lines):
            found.append(Curves(one.heading, one.metric, lines))
    return found


def _curve(trained: Trained) -> Curve:
    steps = trained.quality.by_step
    return Curve(
        trained.name,
        trained.algorithm,
        tuple(float(step) for step in steps),
        tuple(score.value for score in steps.values()),
        tuple(score.low for score in steps.values()),
        tuple(score.high for score in steps.values()),
        trained.cells,
        level=len(steps) == 1,
    )


def draw_adaptation(found: Sequence[Curves], machine: str) -> Figure:
    """A panel for each setting; the axis of steps is even up to 1 and logarithmic beyond."""
    with styled():
        return panels(TITLE, SAYS, machine, [curves_layout(one, _steps_axis) for one in found])


def _steps_axis(axes: Axes, panel: Curves) -> None:
    last = max(x for line in panel.lines for x in line.x)
    axes.set_xscale("symlog", linthresh=1, linscale=0.5)
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in TICKS if tick <= last]))
    axes.xaxis.set_major_formatter(lambda value, _: short(value))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(-0.1, last * 1.08)
    axes.set_xlabel("inner steps on a held-out task")
