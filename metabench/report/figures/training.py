"""Quality against the seconds spent on meta-training."""

from collections.abc import Sequence
from statistics import fmean, median

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metabench.record.measurement import Measurement
from metabench.report.bundles import sound_rows
from metabench.report.figures.curves import Curve, Curves, curves_data, curves_layout
from metabench.report.figures.panels import log_axis, panels, widened
from metabench.report.figures.picture import Picture
from metabench.report.figures.style import styled
from metabench.report.figures.trained import Trained, trained_settings
from metabench.report.results import Run

TITLE = "How good after how long: quality on validation tasks while meta-training"
SAYS = (
    "Mean over training seeds, at the median of their seconds (training and sampling, not evaluation); band: lowest to "
    "highest seed, which is no interval. Dotted lines across: no meta-training. Left out: the start, at 0 s."
)


def training_picture(run: Run) -> Picture | None:
    """None for a run that trained nothing."""
    found = training_curves(run)
    if not found:
        return None
    machine = run.environment.summary
    return Picture("training", TITLE, SAYS, curves_data(found, "seconds"), lambda: draw_training(found, machine))


def training_curves(run: Run) -> list[Curves]:
    """A panel for each setting in which a curve has a point after its start."""
    found = []
    for one in trained_settings(run):
        lines = tuple(curve for trained in one.trained if (curve := _curve(trained)))
        if any(not line.level for line in lines):
            found.append(Curves(one.heading, one.metric, lines))
    return found


def _curve(trained: Trained) -> Curve | None:
    """At the iterations that the curves of all seeds have."""
    curves = [points for row in sound_rows(trained.bundle.rows) if row.quality and (points := _points(row))]
    common = set.intersection(*(set(points) for points in curves)) if curves else set()
    at = [[points[iteration] for points in curves] for iteration in sorted(common)]
    later = [points for points in at if median(seconds for seconds, _ in points) > 0]
    shown = later or at[-1:]
    if not shown:
        return None
    values = [[value for _, value in points] for points in shown]
    return Curve(
        trained.name,
        trained.algorithm,
        tuple(median(seconds for seconds, _ in points) for points in shown),
        tuple(map(fmean, values)),
        tuple(map(min, values)),
        tuple(map(max, values)),
        trained.cells,
        level=not later,
    )


def _points(row: Measurement) -> dict[int, tuple[float, float]]:
    """Seconds and value by iteration."""
    curve = row.quality.curve if row.quality else []
    return {point.iteration: (point.seconds, point.value) for point in curve if point.value is not None}


def draw_training(found: Sequence[Curves], machine: str) -> Figure:
    """A panel for each setting, seconds on a logarithmic axis."""
    with styled():
        return panels(TITLE, SAYS, machine, [curves_layout(one, _seconds_axis) for one in found])


def _seconds_axis(axes: Axes, panel: Curves) -> None:
    log_axis(axes.xaxis, *widened([x for line in panel.lines if not line.level for x in line.x]))
    axes.set_xlabel("seconds of meta-training")
