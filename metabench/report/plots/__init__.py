"""The pictures of a run. Each has a file here, which gives what is drawn as data, and draws it."""

from metabench.report.document import data_names
from metabench.report.frame import Run
from metabench.report.noise import noise_floor
from metabench.report.plots.engines import draw_engines, engine_groups
from metabench.report.plots.style import FORMATS, image


def pictures(run: Run) -> dict[str, bytes]:
    """File name -> content, for each picture that the run has figures for, in each format."""
    rows, data = run.measurements, data_names(run.measurements)
    figures = {}
    if groups := engine_groups(rows, data, noise_floor(run.references)):
        figures["engines"] = draw_engines(groups, str(run.environment.get("summary", "")))
    return {f"{name}.{kind}": image(figure, kind) for name, figure in figures.items() for kind in FORMATS}
