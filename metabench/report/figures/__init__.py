"""The pictures of a run. Each has a file here, which gives what is drawn as data, and draws it."""

from collections.abc import Callable

from metabench.report.figures.adaptation import adaptation_picture
from metabench.report.figures.engines import engines_picture
from metabench.report.figures.fits import fits_picture
from metabench.report.figures.growth import growth_picture
from metabench.report.figures.machines import machines_picture
from metabench.report.figures.pareto import pareto_picture
from metabench.report.figures.performance import performance_picture
from metabench.report.figures.phases import phases_picture
from metabench.report.figures.picture import Picture
from metabench.report.figures.roofline import roofline_picture
from metabench.report.figures.training import training_picture
from metabench.report.results import Run

PICTURES: tuple[Callable[[Run], Picture | None], ...] = (
    *(engines_picture, machines_picture, training_picture, pareto_picture, adaptation_picture, fits_picture),
    *(growth_picture, phases_picture, roofline_picture, performance_picture),
)
"""In the order in which they are shown; each gives None for a run that has no figures for it."""


def pictures(run: Run) -> list[Picture]:
    """All that the run has figures for."""
    return [picture for make in PICTURES if (picture := make(run))]
