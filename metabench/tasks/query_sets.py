"""Query sets that do not hold each class equally often: chosen from tasks whose query sets do."""

from dataclasses import dataclass
from hashlib import sha256

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from metabench.tasks.base import ALL, Kind, Provenance, Split, TaskDistribution
from metabench.tasks.stream import sampled
from metabench.tensors import Batch, Task


@dataclass(frozen=True)
class QuerySets:
    """The tasks of a distribution, each with `queries` of its query examples: their classes are drawn anew.

    The class of each query is drawn by itself, every class being as likely, or with `single` one for all queries of a
    task. The examples of a class are then taken in the order in which the distribution gives them, so the distribution
    must give `queries` of each class. Support sets are those of the distribution: what is drawn here comes from a
    generator of its own, whose seed follows from the state of the other.
    """

    distribution: TaskDistribution
    queries: int
    single: bool

    @property
    def kind(self) -> Kind:
        return self.distribution.kind

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.distribution.input_shape

    @property
    def outputs(self) -> int:
        return self.distribution.outputs

    @property
    def training_classes(self) -> int:
        return self.distribution.training_classes

    @property
    def provenance(self) -> Provenance:
        return self.distribution.provenance

    def sample(self, split: Split, tasks: int, generator: torch.Generator, share: slice = ALL) -> Task:
        """An episode batch as by `TaskDistribution.sample`, with the drawn classes as y of the query set."""
        own = torch.Generator().manual_seed(_seed_from(generator))
        support, (x, y), classes = sampled(self.distribution, split, tasks, generator, torch.zeros(()), share)
        ways = classes.shape[1]
        drawn = torch.randint(ways, (tasks, 1 if self.single else self.queries), generator=own)[share]
        drawn = drawn.expand(-1, self.queries)
        # Query sets are shot-major: example shot * ways + way is of class way.
        chosen = _times_before(drawn, ways) * ways + drawn
        task = torch.arange(len(chosen))[:, None]
        return Task(support, Batch(x[task, chosen], y[task, chosen]), classes)


def _times_before(drawn: Tensor, ways: int) -> Tensor:
    """How often each class of a row was drawn in it before: (tasks, queries) -> (tasks, queries)."""
    seen = one_hot(drawn, ways)
    return (seen.cumsum(1) - seen).gather(2, drawn[..., None])[..., 0]


def _seed_from(generator: torch.Generator) -> int:
    """A seed that follows from a generator's state, which is left as it is."""
    return int.from_bytes(sha256(generator.get_state().numpy().tobytes()).digest()[:7])
