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

_PLACES = {
    "Advice": "metabench.api.advising",
    "Results": "metabench.api.results",
    "UserError": "metabench.errors",
    "Verification": "metabench.api.verifying",
    "advise": "metabench.api.advising",
    "load": "metabench.api.results",
    "run": "metabench.api.running",
    "verify": "metabench.api.verifying",
}
"""The module that each public name stands in."""

__all__ = [
    "Advice",
    "Results",
    "UserError",
    "Verification",
    "__version__",
    "advise",
    "load",
    "run",
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
