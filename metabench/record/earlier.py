"""What rows of earlier versions leave out. Complete: later rows say it themselves."""

import re
from typing import Any

FAMILIES = {
    **dict.fromkeys(
        ("maml", "maml++", "meta-sgd", "meta-curvature", "task-adaptive-maml", "anil", "cavia", "imaml", "fomaml"),
        "gradient-based",
    ),
    "reptile": "gradient-based",
    **dict.fromkeys(("prototypical", "prototypical-cosine", "matching", "matching-fce", "relation"), "metric-based"),
    "cnp": "model-based",
    **dict.fromkeys(("fine-tuning", "from-scratch"), "baseline"),
}
ORDERS = {
    **dict.fromkeys(("maml", "maml++", "meta-sgd", "meta-curvature", "task-adaptive-maml", "anil", "cavia"), "second"),
    **dict.fromkeys(("fomaml", "reptile", "fine-tuning", "from-scratch"), "first"),
    "imaml": "implicit",
    **dict.fromkeys(("prototypical", "prototypical-cosine", "matching", "matching-fce", "relation", "cnp"), "none"),
}
CONCURRENT_TASKS = {"loop": False, "vmap": True}
ALLOWED = {"tf32": 16.0, "bfloat16": 8.0}
OTHERWISE = 60.0
"""What was allowed of all tensors together, in errors of `loop`: half for each tensor's own, half for that of all."""
_PHASE = re.compile(r"\bin phase '([^']+)'")


def theory_of(algorithm: str, engine: str) -> dict[str, Any]:
    """Family, order and concurrent tasks of an implementation of an earlier version; of others nothing is known."""
    return {
        "family": FAMILIES.get(algorithm, ""),
        "order": ORDERS.get(algorithm, ""),
        "concurrent_tasks": CONCURRENT_TASKS.get(engine),
    }


def allowed_of(rounding_error: float | None, precision: str) -> float:
    """What rounding allowed of a direction, relative to it; zero where a row does not say how much it is."""
    return ALLOWED.get(precision, OTHERWISE) * (rounding_error or 0.0)


def phase_of(reason: str) -> str:
    """The phase that the reason of an earlier version names; empty where it names none."""
    found = _PHASE.search(reason)
    return found[1] if found else ""
