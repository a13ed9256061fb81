"""Writes a forecast where documents can quote it."""

from pathlib import Path

from metabench.files import replace_file
from metabench.forecast.predicting import Prediction
from metabench.forecast.shown import forecast_document
from metabench.report.document import as_markdown


def write_forecast(found: Prediction, folder: Path) -> Path:
    """Write forecast.md into a folder, which is made if need be. Raises `UserError`."""
    file = folder / "forecast.md"
    replace_file(file, as_markdown(forecast_document(found)).encode())
    return file
