"""Writes a forecast where documents can quote it."""

from pathlib import Path

from metabench.files import replace_file
from metabench.report.document import as_markdown
from metabench.report.forecast.predicting import Prediction
from metabench.report.forecast.shown import forecast_document


def write_forecast(found: Prediction, folder: Path) -> Path:
    """Write forecast.md into a folder, which is made if need be. Raises `UserError`."""
    file = folder / "forecast.md"
    replace_file(file, as_markdown(forecast_document(found)).encode())
    return file
