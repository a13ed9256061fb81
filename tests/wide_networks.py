"""Meta-learning problems on networks whose layers have far more inputs than a task has examples."""

from dataclasses import replace

import torch
from torch.fx import GraphModule

from metabench.algorithms.base import ALGORITHMS, Algorithm, Learner
from metabench.autodiff import FUNCTIONAL
from metabench.correctness.gate import nudge
from metabench.engines import native
from metabench.engines.tracing import stage_of
from metabench.models.mlp import MLP
from metabench.tasks.base import TASKS, EpisodeShape
from metabench.tensors import Params, Task, cast

WIDTH, EXAMPLES = 96, 4


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def problem(algorithm: str, tasks: int = 2, **fields) -> tuple[Algorithm, Params, Task]:
    """An algorithm on sinusoids and a network with two wide matrices, its meta-parameters, and so many tasks."""
    distribution = TASKS.get("sinusoid").build(EpisodeShape(1, EXAMPLES, EXAMPLES - 1), None)
    learner = Learner(MLP(1, 1, WIDTH, 3), distribution.kind, distribution.training_classes)
    made = ALGORITHMS.get(algorithm)(learner, inner_lr=0.01, **fields)
    generator = torch.Generator().manual_seed(2)
    meta = {n: p.double() for n, p in nudge(made.init(torch.Generator()), generator).items()}
    episodes = distribution.sample("train", tasks, torch.Generator().manual_seed(1))
    return made, meta, cast(episodes, next(iter(meta.values())))


def direction(algorithm: str, inner_steps: int) -> tuple[GraphModule, int]:
    """The traced direction of a task, and how many of its inputs all tasks share."""
    made, meta, (support, query, classes) = problem(algorithm, inner_steps=inner_steps)
    stage, _ = stage_of(replace(made, autodiff=FUNCTIONAL))
    task = tuple((tensor.shape[1:], tensor.dtype) for tensor in (*support, *query, classes))
    graph, _ = native.direction_of(stage, tuple((name, p.shape) for name, p in meta.items()), task)
    return graph, len(meta) + len(stage.scheduled)
