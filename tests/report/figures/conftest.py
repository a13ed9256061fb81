"""What the tests of all figures share."""

from collections.abc import Callable
from typing import Any

import pytest

from metabench.record.cell import identity
from metabench.report.figures import figures
from metabench.report.figures.base import Figure
from metabench.report.results import Run


@pytest.fixture(scope="session")
def figure_of() -> Callable[[Run, str], Figure | None]:
    """The run's figure of that name; None where it has none."""
    return lambda run, name: {figure.name: figure for figure in figures(run)}.get(name)


@pytest.fixture(scope="session")
def renamed() -> Callable[..., dict[str, Any]]:
    """The row of another cell, whose figures stay."""

    def change(row: dict[str, Any], **changes: Any) -> dict[str, Any]:
        cell = row["cell"] | changes
        return row | {"cell": cell, "id": identity(cell)}

    return change
