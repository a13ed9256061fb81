"""One meta-iteration (directions, average, outer update) of every implementation on every task.

Small enough that the whole suite takes a minute or two. Engines that compile or need a library are left to
`metabench run engines`.
"""

from typing import Any

import pytest

from metabench.algorithms.base import ALGORITHMS
from metabench.engines.base import in_process
from metabench.pytest_plugin import MetaIteration

IMAGES = {"model": "conv4-32", "meta_batch": 4, "query": 5}
SETTINGS: dict[str, dict[str, Any]] = {"sinusoid": {"meta_batch": 25}, "omniglot": IMAGES, "glyphs": IMAGES}


@pytest.mark.metabench(inner_steps=1, iterations=0)
@pytest.mark.parametrize("task", SETTINGS)
@pytest.mark.parametrize("implementation", [f"{a}/{e}" for a in ALGORITHMS.names() for e in in_process()])
def test_meta_iteration(meta_iteration: MetaIteration, implementation: str, task: str) -> None:
    meta_iteration(implementation, task=task, **SETTINGS[task])
