"""bfloat16 and the form of convolutions, in what engines trace: by the operations of the traced graph."""

import pytest
import torch
import torch.nn.functional as F
from torch._ops import OpOverload

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.correctness.gate import relative_error
from metabench.engines import convolutions, loop
from metabench.engines.convolutions import Forms
from metabench.engines.function import Made
from metabench.engines.iterations import Iterations
from metabench.engines.outer import DESCENT
from metabench.engines.rewriting import Rewriting
from metabench.engines.tracing import traced
from metabench.models.conv4 import Conv4
from metabench.models.mlp import MLP
from metabench.tensors import cast
from problems import image_episodes, points

PRODUCTS = ("mm", "bmm", "addmm", "baddbmm", "convolution", "convolution_backward")
POINTS = Learner(MLP(2, 1, 16, 1), "regression")
IMAGES = Learner(Conv4((1, 12, 12), 3, 4, max_pool=False, normalise=True, blocks=2), "classification")
BOTH = pytest.mark.parametrize(
    ("learner", "episodes"),
    [(POINTS, points(3, 20)), (IMAGES, image_episodes(3, 3, size=12))],
    ids=["dense", "convolutional"],
)


class Chosen(Forms):
    """Forms without a measurement: always this one."""

    def __init__(self, form):
        super().__init__(torch.device("cpu"))
        self.form = form

    def _form_of(self, geometry):
        self.chosen[str(geometry)] = self.form
        return self.form


def iteration_of(learner, graphs, forms=None, **options):
    """Traced iterations of MAML, whose graphs are put into the list; and where they begin."""
    made = ALGORITHMS.get("maml")(learner, 0.1, 2, **options)
    meta = made.init(torch.Generator().manual_seed(0))

    def make(function, state, episodes):
        graphs.append(traced(function, [*state, *episodes]))
        return Made(lambda inputs: graphs[-1](*inputs))

    return made, meta, Iterations(made, meta, DESCENT, make, forms)


def direction_of(iteration, meta, episodes):
    iteration.run(iteration.take(episodes))
    return {name: p - iteration.meta[name] for name, p in meta.items()}


def operations(graph):
    """Names of the operations that are called, and what they give."""
    calls = [node for node in graph.graph.nodes if isinstance(node.target, OpOverload)]
    return [(call.target.overloadpacket.__name__, call.meta["val"]) for call in calls]


def product_types(graph):
    """The types of all products' results in a graph."""
    values = [value for name, value in operations(graph) if name in PRODUCTS]
    flat = [one for value in values for one in (value if isinstance(value, (tuple, list)) else [value])]
    return {one.dtype for one in flat if one is not None}


@pytest.mark.parametrize("form", ["grouped", "matrix"])
def test_a_size_may_be_a_sequence_of_one(form):
    x, weight = torch.rand(2, 3, 9, 8), torch.rand(4, 3, 3, 3)
    found = Chosen(form).convolve(x, weight, stride=(2,), padding=[1], dilation=(1,))
    torch.testing.assert_close(found, F.conv2d(x, weight, stride=2, padding=1))


def test_a_convolution_without_memory_for_either_form_is_out_of_memory_and_kept_nowhere(monkeypatch, tmp_path):
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))

    def fail(inputs):
        raise torch.OutOfMemoryError("no memory")

    functions = {"grouped": fail, "matrix": fail}
    monkeypatch.setattr(convolutions, "_second_order", lambda form, geometry: functions[form])
    x, weight = torch.rand(1, 1, 5, 5), torch.rand(1, 1, 3, 3)
    with pytest.raises(torch.OutOfMemoryError, match="either form of the convolution of 1×1×5×5 to 1 by 3×3"):
        Forms(torch.device("cpu")).convolve(x, weight)
    assert not list(tmp_path.iterdir())
    functions["matrix"] = list  # with memory for one, that one is taken
    forms = Forms(torch.device("cpu"))
    forms.convolve(x, weight)
    assert list(forms.chosen.values()) == ["matrix"]


@pytest.mark.parametrize("checkpoint", [False, True])
@BOTH
def test_under_autocast_every_product_is_in_bfloat16_and_no_loss_is(learner, episodes, checkpoint):
    graphs = []
    single = cast(episodes, torch.zeros(()))
    made, meta, plain = iteration_of(learner, graphs, checkpoint=checkpoint)
    truth = direction_of(plain, meta, single)
    with torch.autocast("cpu", torch.bfloat16):
        _, _, half = iteration_of(learner, graphs, checkpoint=checkpoint)
        reference, _ = loop.build(made)(meta, single)
    found = direction_of(half, meta, single)
    assert product_types(graphs[0]) == {torch.float32}
    assert product_types(graphs[1]) == {torch.bfloat16}
    (loss,) = (node.args[0][0] for node in graphs[1].graph.nodes if node.op == "output")
    assert loss.meta["val"].dtype == torch.float32
    assert all(p.dtype == torch.float32 for p in half.meta.values())
    # as far from float32 as the loop is under torch.autocast, but for the rounding of single operations
    assert 1e-4 < relative_error(found, truth) < 3 * relative_error(reference, truth)


@pytest.mark.parametrize("form", ["grouped", "matrix"])
@pytest.mark.parametrize("max_pool", [False, True])
def test_the_form_of_a_convolution_changes_no_direction(form, max_pool):
    learner = Learner(Conv4((1, 12, 12), 3, 4, max_pool=max_pool, normalise=False, blocks=2), "classification")
    episodes, graphs = image_episodes(3, 3, size=12), []
    made, meta, iteration = iteration_of(learner, graphs, Chosen(form))
    meta = {name: p.double() for name, p in meta.items()}
    iteration = Iterations(made, meta, DESCENT, iteration.make, Chosen(form))
    found = direction_of(iteration, meta, episodes)
    assert relative_error(found, loop.build(made)(meta, episodes)[0]) < 1e-12
    names = {name for name, _ in operations(graphs[-1])}
    assert ("convolution" in names) == (form == "grouped")
    assert set(iteration.choices.values()) == {form}
    assert len(iteration.choices) == 4, "two layers, each with the support and with the query set"


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2, "padding": 1},
        {"stride": (2, 1), "padding": (0, 2)},
        {"padding": "same"},
        {"dilation": 2},
        {"groups": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("bias", [False, True])
def test_a_convolution_gives_what_torch_gives(options, bias):
    generator = torch.Generator().manual_seed(0)
    groups = options.get("groups", 1)
    x = torch.randn(2, 4, 9, 7, generator=generator).double()
    weight = torch.randn(6, 4 // groups, 3, 3, generator=generator).double()
    shift = torch.randn(6, generator=generator).double() if bias else None
    expected = F.conv2d(x, weight, shift, **options)
    forms = Chosen("matrix")
    with Rewriting(None, forms):
        torch.testing.assert_close(F.conv2d(x, weight, shift, **options), expected, rtol=1e-12, atol=1e-12)
    other_form = not options.keys() & {"dilation", "groups"} and options["padding"] != "same"
    assert list(forms.chosen.values()) == ["matrix"] * other_form


def test_a_form_is_measured_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))
    measured = []

    def measure(geometry, device):
        measured.append(str(geometry))
        return {"grouped": 2.0, "matrix": 1.0 if geometry.channels == 1 else 3.0}

    monkeypatch.setattr("metabench.engines.convolutions.measured", measure)
    expected = {
        "2×1×9×9 to 3 by 3×3, stride 1×1, padding 1×1": "matrix",
        "2×4×9×9 to 3 by 3×3, stride 1×1, padding 1×1": "grouped",
    }
    for damage in (False, False, True):
        if damage:
            (tmp_path / "convolutions.json").write_text("{")
            measured.clear()
        forms = Forms(torch.device("cpu"))
        for channels in (1, 4, 1):
            forms.convolve(torch.zeros(2, channels, 9, 9), torch.zeros(3, channels, 3, 3), padding=1)
        assert forms.chosen == expected
        assert measured == list(expected)


def test_a_measurement_times_both_forms():
    from metabench.engines.convolutions import FORMS, Geometry, measured

    found = measured(Geometry(2, 1, 6, 6, 2, (3, 3), (1, 1), (1, 1)), torch.device("cpu"))
    assert set(found) == set(FORMS)
    assert all(seconds > 0 for seconds in found.values())
