"""Any `nn.Module` as a model: what is done about each obstacle, and what is refused with which remedy."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.correctness.case import ModelCase
from metabench.correctness.contract import check_model
from metabench.correctness.gate import nudge
from metabench.correctness.problem import check_problem
from metabench.errors import Unsupported, UserError
from metabench.models.base import accepted
from metabench.models.module import from_module
from metabench.sweep.worker import outcome
from metabench.tasks.base import EpisodeShape
from nets import (
    ByHand,
    Convolutional,
    Noise,
    Recurrent,
    ResNet12,
    Transformer,
    WideResNet,
    proved,
    with_dropout,
    with_replaced_norms,
    without_norm,
)

IMAGE = (1, 12, 12)
SIX = {
    "batch norm": Convolutional,
    "batch norm replaced by torch.func": with_replaced_norms,
    "no norm": without_norm,
    "dropout": with_dropout,
    "transformer": Transformer,
    "lstm": Recurrent,
}


def net(forward, **layers):
    """A factory of modules with that forward and copies of those layers; `fc` is made for the outputs."""

    class Net(nn.Module):
        def __init__(self, outputs):
            super().__init__()
            for name, layer in layers.items():
                setattr(self, name, copy.deepcopy(layer))
            self.fc = nn.LazyLinear(outputs)

        def forward(self, x):
            return forward(self, x)

    return Net


def built(factory, shape=(5, 6), outputs=2, **options):
    return from_module(factory, **options)(shape, outputs)


def refused(factory, shape=(5, 6), outputs=2, **options):
    with pytest.raises(Unsupported) as caught:
        built(factory, shape, outputs, **options)
    return str(caught.value)


def params_of(model, nudged=True):
    generator = torch.Generator().manual_seed(0)
    params = model.init(generator)
    return nudge(params, generator) if nudged else params


@pytest.mark.parametrize("name", SIX)
@pytest.mark.parametrize("algorithm", ["maml", "anil"])
def test_the_six_networks_have_right_directions_on_loop_and_vmap(name, algorithm):
    found = proved(built(SIX[name], IMAGE), algorithm, Noise(IMAGE))
    assert found.passed, found.reason


REMEDIES = {
    ("batch norm", "loop"): "from_module",
    ("batch norm", "vmap"): "from_module",
    ("batch norm replaced by torch.func", "vmap"): "from_module",
    ("dropout", "loop"): "from_module",
    ("dropout", "vmap"): "from_module",
    ("transformer", "loop"): "from_module",
    ("transformer", "vmap"): "from_module",
    ("transformer without dropout", "loop"): "compute it under sdpa_kernel(SDPBackend.MATH), wrap the nn.Module by",
    ("transformer without dropout", "vmap"): "compute it under sdpa_kernel(SDPBackend.MATH), wrap the nn.Module by",
    ("lstm", "vmap"): "from_module",
}
"""What helps where the six networks are wrapped by hand; all others have right directions."""


BY_HAND = SIX | {"transformer without dropout": partial(Transformer, dropout=0.0)}


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_wrapped_by_hand_each_of_them_is_right_or_has_a_remedy(name, engine):
    torch.manual_seed(0)
    module = BY_HAND[name](IMAGE, 2)
    try:
        found = proved(ByHand(module, 2), "maml", Noise(IMAGE), engine)
        reason = found.reason
    except RuntimeError as error:
        row = outcome(error, engine)
        assert row["status"] == "unsupported", row
        reason = row["reason"]
    remedy = REMEDIES.get((name, engine), "")
    assert (remedy in reason) if remedy else reason == ""


def test_what_torch_differentiates_wrongly_by_itself_has_a_remedy():
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.fc = nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)), nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(self.a(x).tanh())

    found = proved(ByHand(Normed(), 2), "maml", Noise((6,)), inner_lr=0.5)
    assert found.definition_error > 1e-5 and found.engine_error < 1e-8
    assert "second derivative that torch takes of weight_norm is wrong: wrap the nn.Module by" in found.reason


@pytest.mark.parametrize("factory", [*SIX.values(), ResNet12, WideResNet], ids=[*SIX, "resnet12", "wide resnet"])
def test_it_keeps_the_contract_of_models(factory):
    shape = (1, 20, 20)
    inputs = torch.rand(6, *shape, generator=torch.Generator().manual_seed(1))
    findings = list(check_model(ModelCase(from_module(factory), shape, 3, inputs)))
    assert {f.clause: f.reason for f in findings if f.word == "incorrect"} == {}
    unsupported = {f.clause for f in findings if f.word == "unsupported"}
    assert unsupported == (set() if from_module(factory)(shape, 3).batch_statistics else {"running statistics"})


# --- batch normalisation ---------------------------------------------------------------------------------------------

NORMS = {
    "stock": lambda width: nn.BatchNorm2d(width),
    "no affine": lambda width: nn.BatchNorm2d(width, affine=False),
    "cumulative": lambda width: nn.BatchNorm2d(width, momentum=None, eps=1e-3),
    "not tracked": lambda width: nn.BatchNorm2d(width, track_running_stats=False),
    "synchronised": lambda width: nn.SyncBatchNorm(width),
    "lazy": lambda width: nn.LazyBatchNorm2d(),
}


@pytest.mark.parametrize("kind", NORMS)
def test_batch_norm_is_that_of_torch_in_training_mode(kind):
    model = built(lambda input_shape, outputs: Convolutional(input_shape, outputs, NORMS[kind]), IMAGE)
    params, x = params_of(model), torch.rand(6, *IMAGE).double()
    theirs = Convolutional(IMAGE, 2, NORMS["stock" if kind in ("synchronised", "lazy") else kind]).double().train()
    missing, unexpected = theirs.load_state_dict(params, strict=False)
    assert not unexpected and all("running" in name or "tracked" in name for name in missing)
    outputs = model.head(params, model.features(params, x))
    torch.testing.assert_close(outputs, theirs(x), rtol=1e-10, atol=1e-10)
    assert model.batch_statistics
    scales_and_shifts = {f"norm{i}.{part}" for i in (1, 2) for part in ("weight", "bias")}
    assert model.norm_names == scales_and_shifts & params.keys()
    assert (kind == "no affine") == (not model.norm_names)


def test_statistics_are_what_torch_keeps_and_take_the_batchs_place():
    model = built(Convolutional, IMAGE)
    params, x = params_of(model), torch.rand(6, *IMAGE).double()
    seen = model.statistics(params, x)
    theirs = Convolutional(IMAGE, 2, lambda width: nn.BatchNorm2d(width, momentum=1.0)).double().train()
    theirs.load_state_dict(params, strict=False)
    theirs(x)
    kept = {name: tensor for name, tensor in theirs.named_buffers() if "tracked" not in name}
    assert seen.keys() == kept.keys() and len(seen) == 4
    for name, tensor in kept.items():
        torch.testing.assert_close(seen[name], tensor, rtol=1e-10, atol=1e-10)
    outputs = model.head(params, model.features(params | seen, x[:1]))
    torch.testing.assert_close(outputs, theirs.eval()(x[:1]), rtol=1e-10, atol=1e-10)
    assert built(without_norm, IMAGE).statistics(params, x) == {}


def running(model, shape):
    """Why a configuration with `batch_norm = "running"` is not measured."""
    learner, images = Learner(model, "classification"), Noise(shape)
    with pytest.raises(Unsupported) as caught:
        check_problem(learner, images, EpisodeShape(2, 3, 3), torch.device("cpu"), batch_norm="running")
    return str(caught.value)


def centred(self, x):
    h = self.fc1(x.flatten(1))
    return self.fc((h - h.mean(0)).tanh())


def test_running_is_refused_where_there_are_no_statistics():
    model = built(net(centred, fc1=nn.Linear(30, 4)))
    assert model.batch_statistics and model.statistics(params_of(model), torch.rand(6, 5, 6).double()) == {}
    assert "statistics gives none: 'running' would be transductive" in running(model, (5, 6))
    by_hand = ByHand(with_replaced_norms(IMAGE, 2), 2)
    assert "'running' would be transductive" in running(by_hand, IMAGE)


# --- dropout ---------------------------------------------------------------------------------------------------------

DROPOUTS = {
    "dropout": nn.Dropout(0.5),
    "dropout1d": nn.Dropout1d(0.5),
    "alpha": nn.AlphaDropout(0.5),
    "feature alpha": nn.FeatureAlphaDropout(0.5),
    "stochastic depth": torchvision.ops.StochasticDepth(0.5, "row"),
}


@pytest.mark.parametrize("kind", DROPOUTS)
def test_dropout_is_off_or_one_mask_for_all_examples_and_calls(kind):
    factory = net(
        lambda self, x: self.fc(self.drop(self.body(x)).flatten(1)), body=nn.Linear(6, 40), drop=DROPOUTS[kind]
    )
    off, seeded, again = built(factory), built(factory, dropout="seeded"), built(factory, dropout="seeded")
    params, x = params_of(off), torch.rand(4, 5, 6).double()
    whole = F.linear(x, params["body.weight"], params["body.bias"]).flatten(1)
    torch.testing.assert_close(off.features(params, x), whole)
    found = seeded.features(params, x)
    assert not torch.allclose(found, whole)
    torch.testing.assert_close(found[1:2], seeded.features(params, x[1:2]))
    torch.testing.assert_close(found, again.features(params, x))
    assert not seeded.batch_statistics
    assert proved(seeded, "maml", Noise((5, 6), shots=1)).passed


def test_a_mask_of_dropout_keeps_the_mean_and_drops_the_share():
    factory = net(lambda self, x: self.fc(F.dropout(x, 0.25, self.training).flatten(1)))
    model = built(factory, (1000,), dropout="seeded")
    found = model.features(params_of(model), torch.ones(2, 1000).double())
    values = found.unique().tolist()
    assert values == pytest.approx([0, 4 / 3]) and float((found == 0).double().mean()) == pytest.approx(0.25, abs=0.05)


def test_dropout_that_is_always_on_is_off():
    model = built(net(lambda self, x: self.fc(F.dropout(x, 0.5).flatten(1))))
    params, x = params_of(model), torch.rand(4, 5, 6).double()
    torch.testing.assert_close(model.features(params, x), x.flatten(1))


def test_dropout_is_off_or_seeded():
    with pytest.raises(UserError, match="one of off, seeded"):
        from_module(Convolutional, dropout="on")


# --- functions and layers that torch does not differentiate as they are ----------------------------------------------


def attention(self, x, **options):
    q, k, v = self.qkv(x).unflatten(-1, (2, 12)).transpose(1, 2).chunk(3, -1)
    return self.fc(F.scaled_dot_product_attention(q, k, v, **options).flatten(1))


QKV = nn.Linear(6, 24)
MADE_EXACT = {
    "attention": net(attention, qkv=QKV),
    "causal attention": net(lambda self, x: attention(self, x, is_causal=True, dropout_p=0.1), qkv=QKV),
    "multi-head attention": net(
        lambda self, x: self.fc(self.a(x, x, x)[0].flatten(1)), a=nn.MultiheadAttention(6, 2, 0.1, batch_first=True)
    ),
    "layer norm": net(lambda self, x: self.fc(self.norm(self.a(x)).tanh().flatten(1)), a=QKV, norm=nn.LayerNorm(24)),
    "F.layer_norm": net(
        lambda self, x: self.fc(F.layer_norm(self.a(x), (24,), self.norm.weight, self.norm.bias).tanh().flatten(1)),
        a=QKV,
        norm=nn.GroupNorm(1, 24),
    ),
    "instance norm": net(
        lambda self, x: self.fc(self.norm(self.a(x)).tanh().flatten(1)),
        a=QKV,
        norm=nn.InstanceNorm1d(5, affine=True, track_running_stats=True),
    ),
    "group norm": net(lambda self, x: self.fc(self.norm(self.a(x)).tanh().flatten(1)), a=QKV, norm=nn.GroupNorm(1, 5)),
    "F.batch_norm": net(
        lambda self, x: self.fc(
            F.batch_norm(self.a(x).flatten(1), None, None, self.norm.weight, self.norm.bias, True).tanh()
        ),
        a=QKV,
        norm=nn.GroupNorm(1, 120),
    ),
    "hard sigmoid": net(lambda self, x: self.fc(self.s(self.a(x)).flatten(1)), a=QKV, s=nn.Hardsigmoid()),
    "F.hardsigmoid": net(lambda self, x: self.fc(F.hardsigmoid(self.a(x)).flatten(1)), a=QKV),
    "weight norm of a whole": net(
        lambda self, x: self.fc(self.a(x).tanh().flatten(1)),
        a=nn.utils.parametrizations.weight_norm(nn.Linear(6, 4), dim=None),
    ),
    "weight norm": net(
        lambda self, x: self.fc(self.a(x).tanh().flatten(1)), a=nn.utils.parametrizations.weight_norm(nn.Linear(6, 4))
    ),
}


@pytest.mark.parametrize("name", MADE_EXACT)
def test_what_torch_does_not_differentiate_as_it_is_is_exact(name):
    noise = Noise((5, 6), shots=2)
    found = proved(built(MADE_EXACT[name]), "maml", noise, inner_lr=0.5)
    assert found.passed, found.reason


def test_words_are_inputs_like_any_other():
    factory = net(lambda self, x: self.fc(self.words(x).mean(1)), words=nn.Embedding(9, 4))
    assert proved(built(factory, (6,)), "maml", Noise((6,), words=9)).passed


# --- what a module holds beside its parameters -----------------------------------------------------------------------


class Holds(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.register_buffer("shift", torch.ones(30), persistent=False)
        self.scale = torch.full((30,), 2.0)
        self.frozen = nn.Linear(30, 30).requires_grad_(False)
        self.first, self.again, self.fc = nn.Linear(30, 30), nn.Linear(30, 30), nn.Linear(30, outputs)
        self.again.weight = self.first.weight

    def forward(self, x):
        x = self.frozen(x.flatten(1) * self.scale + self.shift)
        return self.fc(self.again(self.first(x).tanh()).tanh())


def test_constants_have_the_type_of_the_input_and_tied_parameters_are_one():
    model = built(Holds)
    params = params_of(model)
    assert list(params) == ["first.weight", "first.bias", "again.bias", "fc.weight", "fc.bias"]
    assert model.head_names == {"fc.weight", "fc.bias"} and model.modulated == ("again.bias",)
    for dtype in (torch.float32, torch.float64):
        cast = {name: p.to(dtype) for name, p in params.items()}
        assert model.features(cast, torch.rand(3, 5, 6).to(dtype)).dtype == dtype
    assert proved(model, "maml", Noise((5, 6))).passed


def test_initial_parameters_are_torchs_own_and_follow_from_the_generator():
    before = torch.get_rng_state()
    model = built(lambda outputs: Holds(outputs).half())
    one, same, other = (model.init(torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["fc.weight"], other["fc.weight"])
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in one.values())
    assert float(one["fc.weight"].abs().max()) == pytest.approx(30**-0.5, rel=0.1)
    assert torch.equal(before, torch.get_rng_state())


def test_peers_carry_a_module_or_say_why():
    model = built(Convolutional, IMAGE)
    with pytest.raises(Unsupported, match="ModuleModel is not written in JAX here"):
        proved(model, "maml", Noise(IMAGE), "jax")
    pytest.importorskip("higher")
    assert proved(model, "maml", Noise(IMAGE), "higher").passed


# --- the head --------------------------------------------------------------------------------------------------------


def test_the_head_is_the_last_layer_of_the_outputs_or_what_holds_it():
    assert built(Convolutional, IMAGE).parts.path == "fc"
    squeezing = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    class Squeeze(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.classifier = nn.Conv2d(1, 3, 3), copy.deepcopy(squeezing)

        def forward(self, x):
            return self.classifier(self.body(x)).flatten(1)

    model = built(lambda outputs: Squeeze(), IMAGE)
    assert model.parts.path == "classifier" and model.head_names == {"classifier.1.weight", "classifier.1.bias"}
    assert model.features(params_of(model), torch.rand(4, *IMAGE).double()).shape == (4, 300)
    whole = built(lambda outputs: nn.Linear(6, outputs), (6,))
    assert whole.head_names == {"weight", "bias"} and proved(whole, "maml", Noise((6,))).passed


def two_layers(outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(30, 4), nn.Sequential(nn.Tanh(), nn.Linear(4, outputs)))


def test_a_head_may_be_named():
    assert built(two_layers).head_names == {"2.1.weight", "2.1.bias"}
    model = built(two_layers, head="2")
    assert model.parts.path == "2" and model.head_names == {"2.1.weight", "2.1.bias"}
    assert proved(model, "anil", Noise((5, 6))).passed


@pytest.mark.parametrize(
    ("factory", "options", "words"),
    [
        (two_layers, {"head": "1"}, "the head 1 is followed by what changes its outputs, .* name another head"),
        (two_layers, {"head": "2.l"}, "unknown head '2.l': did you mean '2.1'?"),
        (net(lambda self, x: F.log_softmax(self.fc(x.flatten(1)), -1)), {}, "let the module give what fc gives"),
        (net(lambda self, x: self.fc(x.flatten(1)) * self.scale.weight, scale=nn.PReLU(1)), {}, "followed by"),
        (net(lambda self, x: self.fc(x.flatten(1)) @ self.w.weight, w=nn.Linear(2, 2)), {}, "name the head"),
        (lambda outputs: nn.Sequential(nn.Flatten(), nn.Bilinear(30, 1, outputs)), {}, "cannot take inputs of shape"),
        (
            net(lambda self, x: self.fc(x.flatten(1))[:, :1]),
            {},
            r"shape \(4, 1\) for 4 examples, where \(4, 2\) is due",
        ),
        (net(lambda self, x: (self.fc(x.flatten(1)), x)), {}, "gives tuple, where one tensor is due"),
        (net(lambda self, x: {"logits": self.fc(x.flatten(1))}), {}, "gives dict, where one tensor is due"),
        (net(lambda self, x: self.fc(x.flatten(1) + torch.randn(30))), {}, "draws random numbers by itself"),
        (
            net(lambda self, x: self.fc(self.n(x.flatten(1))), n=nn.utils.spectral_norm(nn.Linear(30, 3))),
            {},
            "use weight_n",
        ),
        (
            net(
                lambda self, x: self.fc(self.n(x.flatten(1))),
                n=nn.utils.parametrizations.spectral_norm(nn.Linear(30, 3)),
            ),
            {},
            "spectral_norm keeps vectors",
        ),
        (net(lambda self, x: self.fc(self.e(x)), e=nn.Embedding(9, 4, padding_idx=0)), {}, "with padding_idx"),
        (lambda outputs: 3, {}, "the factory gives int, where an nn.Module is due"),
        (lambda a, b, c: nn.Linear(a, b), {}, r"takes other things than \(input_shape, outputs\) or \(outputs\)"),
    ],
)
def test_what_cannot_be_a_model_is_refused_with_a_remedy(factory, options, words):
    with pytest.raises(Unsupported, match=words):
        built(factory, **options)


def test_a_state_is_refused():
    class Counts(nn.Module):
        def __init__(self, outputs):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))
            self.fc = nn.Linear(30, outputs)

        def forward(self, x):
            self.calls += 1
            return self.fc(x.flatten(1))

    assert "writes to its buffer calls" in refused(Counts)


def test_running_statistics_outside_of_a_stock_layer_are_refused():
    class OwnNorm(nn.BatchNorm1d):
        def forward(self, x):
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.training)

    factory = net(lambda self, x: self.fc(self.norm(x.flatten(1))), norm=OwnNorm(30))
    assert "calls F.batch_norm with running statistics: use nn.BatchNorm2d" in refused(factory)


def test_a_head_that_shares_with_the_body_is_refused():
    def tied(outputs):
        made = nn.Sequential(nn.Linear(6, outputs), nn.Linear(outputs, 6), nn.Linear(6, outputs))
        made[2].weight = made[0].weight
        return made

    assert refused(tied, (6,)) == "the head 2 and the body share 0.weight: untie them"


@pytest.mark.parametrize(("shape", "words"), [((1, 3, 3), "shape (1, 3, 3)"), ((3, 12, 12), "channels")])
def test_inputs_that_the_module_cannot_take_are_refused_with_their_shape(shape, words):
    def fixed(outputs):
        return nn.Sequential(nn.Conv2d(1, 4, 5), nn.MaxPool2d(2), nn.Flatten(), nn.LazyLinear(outputs))

    reason = refused(fixed, shape)
    assert reason.startswith(f"the module cannot take inputs of shape {shape}") and words in reason


def test_large_colour_images_are_inputs_like_any_other():
    model = built(ResNet12, (3, 84, 84), 5)
    params, x = params_of(model, nudged=False), torch.rand(10, 3, 84, 84)
    assert model.head(params, model.features(params, x)).shape == (10, 5)


def test_a_mistake_in_a_module_is_shown_as_it_is():
    with pytest.raises(AttributeError, match="no_such_layer"):
        built(net(lambda self, x: self.no_such_layer(x)))


# --- what a name by path may stand for -------------------------------------------------------------------------------


class Named(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.fc = nn.Linear(30, num_classes)

    def forward(self, x):
        return self.fc(x.flatten(1))


@pytest.mark.parametrize(
    "found",
    [
        Named,
        lambda input_shape, outputs: Named(outputs),
        lambda shape, ways: Named(ways),
        lambda ways: Named(ways),
        lambda **options: Named(**options),
        from_module(Named),
        lambda input_shape, outputs: from_module(Named)(input_shape, outputs),
    ],
)
def test_a_class_a_function_and_a_factory_are_models(found):
    before = torch.get_rng_state()
    model = accepted(found)((5, 6), 3)
    assert model.outputs == 3 and model.head_names == {"fc.weight", "fc.bias"}
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("found", "words"), [(Named(), "name the class"), (3, "a class of nn.Module, or a function")])
def test_what_is_no_model_is_refused(found, words):
    with pytest.raises(UserError, match=words):
        accepted(found)


def test_cavia_needs_a_layer_to_modulate():
    model = built(net(lambda self, x: self.fc(x.flatten(1))))
    assert model.modulated == ()
    with pytest.raises(Unsupported, match="names no layer that the context could modulate"):
        ALGORITHMS.get("cavia")(Learner(model, "classification"), 0.1, 1)
    assert built(Convolutional, IMAGE).modulated == ("norm2.weight", "norm2.bias")
    assert proved(built(Convolutional, IMAGE), "cavia", Noise(IMAGE)).passed
