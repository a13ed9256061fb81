"""Algorithms know a network's parameters by what the network says of them, and not by how they are called."""

import pytest
import torch
from torch import nn

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.errors import Unsupported
from metabench.models.base import MODELS
from metabench.models.conv4 import Conv4
from metabench.models.module import from_module
from metabench.tensors import Batch, task_at
from problems import image_episodes, perturbed

WAYS, CLASSES, STEPS = 3, 7, 2
KNOWN = {"conv": "a", "head": "b", "norm": "c"}
"""What the layers of `Conv4` are called in `Renamed`, in the same order."""
LEARNS = [name for name, algorithm in ALGORITHMS if "classification" in algorithm.kinds]


class Renamed:
    """A network of `Conv4` whose parameters have other names, all of which begin alike."""

    def __init__(self, prefix):
        self.own = Conv4((1, 12, 12), WAYS, 2, max_pool=False, normalise=True, blocks=2)
        self.prefix, self.outputs, self.width, self.batch_statistics = prefix, WAYS, 2, True
        self.head_names = frozenset(map(self.named, self.own.head_names))
        self.norm_names = frozenset(map(self.named, self.own.norm_names))
        self.modulated = tuple(map(self.named, self.own.modulated))

    def named(self, name):
        return f"{self.prefix}.{KNOWN[name[:4]]}{name[4:]}"

    def back(self, params):
        names = [f"{known}{rest}" for known in KNOWN for rest in ("1", "2", "")]
        parts = [f"{name}.{part}" for name in names for part in ("weight", "bias", "mean", "variance")]
        return {name: params[self.named(name)] for name in parts if self.named(name) in params}

    def init(self, generator):
        return {self.named(name): p for name, p in self.own.init(generator).items()}

    def features(self, params, x):
        return self.own.features(self.back(params), x)

    def feature_map(self, params, x):
        return self.own.feature_map(self.back(params), x)

    def head(self, params, features):
        return self.own.head(self.back(params), features)

    def statistics(self, params, x):
        return {self.named(name): p for name, p in self.own.statistics(self.back(params), x).items()}


def build(name, model, **fields):
    steps = 0 if ALGORITHMS.get(name).order == "none" else STEPS
    return ALGORITHMS.get(name)(Learner(model, "classification", CLASSES), 0.1, steps, **fields)


def same_under(name, prefix, **fields):
    """Whether directions, predictions and what is moved are those of the network under its usual names."""
    network = Renamed(prefix)
    usual, renamed = build(name, network.own, **fields), build(name, network, **fields)
    task = task_at(image_episodes(1, WAYS, size=12), 0)
    task = task._replace(classes=torch.tensor([6, 0, 3]))
    # In the same order, since the first numbers of a generator go to the first parameters.
    metas = [
        {known: p.abs() if fields else p for known, p in perturbed(each).items()}  # `rmsprop` remembers squares
        for each in (usual, renamed)
    ]
    assert [p.shape for p in metas[1].values()] == [p.shape for p in metas[0].values()]
    pairs = list(zip(*metas, strict=True))
    directions = [each.task_direction(meta, task)[0] for each, meta in zip((usual, renamed), metas, strict=True)]
    for one, other in pairs:
        torch.testing.assert_close(directions[1][other], directions[0][one], rtol=1e-9, atol=1e-12)
    adapted = [each.adapt(meta, task.support) for each, meta in zip((usual, renamed), metas, strict=True)]
    outputs = [each.predict(end, task.query.x) for each, end in zip((usual, renamed), adapted, strict=True)]
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-9, atol=1e-12)
    moved = [each.adapted_names(meta) for each, meta in zip((usual, renamed), metas, strict=True)]
    assert {one for one, other in pairs if other in moved[1]} == moved[0] & metas[0].keys()
    assert len(moved[1]) == len(moved[0])


@pytest.mark.parametrize("name", LEARNS)
def test_names_of_layers_make_no_difference(name):
    same_under(name, "net")


OWN = {
    "meta-sgd": ["rate"],
    "maml++": ["rate", "step1"],
    "task-adaptive-maml": ["rate", "rates"],
    "meta-curvature": ["curvature"],
    "cavia": ["context"],
    "fine-tuning": ["joint"],
    "reptile": ["square"],
    "relation": ["relation"],
}
"""First parts of the names of what an algorithm learns besides."""


@pytest.mark.parametrize(("name", "prefix"), [(name, prefix) for name, all_of in OWN.items() for prefix in all_of])
def test_a_layer_may_be_called_as_what_an_algorithm_learns(name, prefix):
    same_under(name, prefix, **({"inner_optimizer": "rmsprop"} if name == "reptile" else {}))


class Taken(Renamed):
    """A network that has a parameter more, which it does not use."""

    def __init__(self, name):
        super().__init__("net")
        self.name = name

    def init(self, generator):
        return {**super().init(generator), self.name: torch.zeros(())}


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("meta-sgd", "rate.net.a1.weight"),
        ("maml++", "rate.net.a1.weight"),
        ("maml++", "step2.net.c1.bias"),
        ("task-adaptive-maml", "rates.output.bias"),
        ("meta-curvature", "curvature.net.a1.weight.filter"),
        ("cavia", "phi"),
        ("cavia", "context.net.c1.weight"),
        ("fine-tuning", "joint.weight"),
        ("reptile", "weight.square"),
        ("prototypical", "prototypes"),
        ("prototypical-cosine", "scale"),
        ("matching", "support.labels"),
        ("matching-scaled", "scale"),
        ("matching-fce", "backward.bias"),
        ("relation", "class.maps"),
        ("relation", "relation.hidden.bias"),
    ],
)
def test_a_parameter_by_a_name_that_is_needed_is_refused(name, taken):
    made = build(name, Taken(taken), **({"inner_optimizer": "rmsprop"} if name == "reptile" else {}))
    with pytest.raises(Unsupported, match=f"this network has a parameter {taken}, and the algorithm .* another name"):
        made.init(torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["fine-tuning", "task-adaptive-maml", "matching-fce"])
@pytest.mark.parametrize("model", ["resnet12", "resnet18"])
def test_a_head_has_the_name_that_the_network_gives_it(name, model):
    made = build(name, MODELS.get(model)((1, 8, 8), WAYS))
    meta = made.init(torch.Generator().manual_seed(0))
    task = task_at(image_episodes(1, WAYS, size=8, query=1), 0)
    support = Batch(task.support.x.float(), task.support.y)
    with torch.no_grad():
        outputs = made.predict(made.adapt(meta, support), task.query.x.float())
    assert outputs.shape == (len(task.query.x), WAYS) and outputs.isfinite().all()


class Narrow(nn.Module):
    """A network whose last layers are those that are handed in."""

    def __init__(self, *head):
        super().__init__()
        self.body, self.head = nn.Linear(12 * 12, 4), nn.Sequential(*head)

    def forward(self, x):
        return self.head(self.body(x.flatten(1)).relu())


@pytest.mark.parametrize("name", ["fine-tuning", "task-adaptive-maml", "matching-fce"])
def test_a_head_of_several_layers_is_refused_where_its_features_are_counted(name):
    two = from_module(lambda outputs: Narrow(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, outputs)), head="head")
    with pytest.raises(Unsupported, match="is not one linear layer"):
        build(name, two((1, 12, 12), WAYS))
    without_bias = from_module(lambda outputs: Narrow(nn.Linear(4, outputs, bias=False)))
    assert build(name, without_bias((1, 12, 12), WAYS)).learner.feature_count == 4
