"""The pictures of a run. Each has a file here, which gives what is drawn as data, and draws it."""

from collections.abc import Callable

from metabench.report.frame import Run
from metabench.report.plots.adaptation import adaptation_picture
from metabench.report.plots.engines import engines_picture
from metabench.report.plots.fits import fits_picture
from metabench.report.plots.growth import growth_picture
from metabench.report.plots.machines import machines_picture
from metabench.report.plots.pareto import pareto_picture
from metabench.report.plots.performance import performance_picture
from metabench.report.plots.phases import phases_picture
from metabench.report.plots.picture import Picture
from metabench.report.plots.roofline import roofline_picture
from metabench.report.plots.training import training_picture

PICTURES: tuple[Callable[[Run], Picture | None], ...] = (
    *(engines_picture, machines_picture, training_picture, pareto_picture, adaptation_picture, fits_picture),
    *(growth_picture, phases_picture, roofline_picture, performance_picture),
)
"""In the order in which they are shown; each gives None for a run that has no figures for it."""


def pictures(run: Run) -> list[Picture]:
    """All that the run has figures for."""
    return [picture for make in PICTURES if (picture := make(run))]
