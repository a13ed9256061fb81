"""metabench: a benchmark and profiling suite for meta-learning.

`import metabench as mb` loads nothing yet: each name below is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from metabench.version import __version__

if TYPE_CHECKING:
    from metabench.api.advising import Advice as Advice
    from metabench.api.advising import advise as advise
    from metabench.api.results import Results as Results
    from metabench.api.results import load as load
    from metabench.api.running import run as run
    from metabench.api.verifying import Verification as Verification
    from metabench.api.verifying import verify as verify
    from metabench.errors import UserError as UserError
    from metabench.models.module import from_module as from_module
    from metabench.tasks.regression import regression as regression
    from metabench.timing.calling import Timed as Timed
    from metabench.timing.calling import time as time

_PLACES = {
    "Advice": "metabench.api.advising",
    "Results": "metabench.api.results",
    "Timed": "metabench.timing.calling",
    "UserError": "metabench.errors",
    "Verification": "metabench.api.verifying",
    "advise": "metabench.api.advising",
    "from_module": "metabench.models.module",
    "load": "metabench.api.results",
    "regression": "metabench.tasks.regression",
    "run": "metabench.api.running",
    "time": "metabench.timing.calling",
    "verify": "metabench.api.verifying",
}
"""The module that each public name stands in."""

__all__ = [
    "Advice",
    "Results",
    "Timed",
    "UserError",
    "Verification",
    "__version__",
    "advise",
    "from_module",
    "load",
    "regression",
    "run",
    "time",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'metabench' has no attribute '{name}'")
    found = getattr(import_module(_PLACES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
