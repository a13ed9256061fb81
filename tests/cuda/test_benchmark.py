"""The fixture of the pytest plug-in on a GPU."""

from types import SimpleNamespace

import pytest

from metabench import sources
from metabench.pytest_plugin import BOUNDED, THREADS, MetaIteration


class Once:
    """A stand-in for the fixture of pytest-benchmark, which calls what it is given once."""

    group, stats, has_error = None, None, False

    def __init__(self):
        self.extra_info = {}

    def __call__(self, function):
        function()


def test_a_benchmark_on_a_gpu_is_proved(gpu):
    config = SimpleNamespace(stash=pytest.Stash(), rootpath=sources.folder())
    config.stash[BOUNDED], config.stash[THREADS] = True, set()
    node, benchmark = SimpleNamespace(config=config, iter_markers=lambda name: iter(())), Once()
    MetaIteration(node, benchmark)("maml/vmap", task="sinusoid", device=gpu.type, meta_batch=2)
    assert benchmark.extra_info["cell"]["device"] == "cuda" and not benchmark.has_error
    assert 0 < benchmark.extra_info["gate"]["timed_error"] < 1e-3
