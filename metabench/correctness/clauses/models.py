"""The clauses of the contract of models: one function for each promise.

A clause tries a promise on a `ModelCase`, in float64 unless it says otherwise, and gives what it measured and, if the
promise is broken, one sentence. It raises `Unsupported`, with the reason, where the promise is not made.
"""

import torch
from torch import Tensor

from metabench.correctness.case import ModelCase
from metabench.correctness.gate import relative_error
from metabench.correctness.outcome import (
    KEPT,
    PRECISION_TOLERANCE,
    SAME,
    SYMMETRY_TOLERANCE,
    Outcome,
    broken,
    equal,
    watched,
    within,
)
from metabench.errors import Unsupported, in_short
from metabench.machine.limits import ran_out
from metabench.tensors import Params

COPIES = 8
"""How often a batch is repeated to take statistics of it: the variance that is put in place of the batch's is the
unbiased one, and of many examples it is nearly the same."""
UNBIASED = 0.25
"""Largest relative difference of outputs that the two variances explain: in eighteen layers it reaches 6e-2."""
SIDES = (1, 2, 4, 8)
"""Sides in pixels of the small images that are tried."""


def shapes(case: ModelCase) -> Outcome:
    """`features` gives a row and `head` all outputs for each example, finite ones."""
    params, x = case.params, case.x
    features = case.features_of(params, x)
    if features.ndim != 2 or len(features) != len(x):
        words = f"where (examples, features) = ({len(x)}, any) is due"
        return broken(f"features of {len(x)} examples have shape {tuple(features.shape)}, {words}")
    outputs, due = case.outputs_of(params, x), (len(x), case.outputs)
    if tuple(outputs.shape) != due or case.model.outputs != case.outputs:
        said = f" and model.outputs is {case.model.outputs}" if case.model.outputs != case.outputs else ""
        words = f"where (examples, outputs) = {due} is due"
        return broken(f"the model's outputs have shape {tuple(outputs.shape)}{said}, {words}")
    if not bool(outputs.isfinite().all()):
        return broken("near the initial parameters, the model's outputs are not finite")
    return KEPT


def initial_parameters(case: ModelCase) -> Outcome:
    """`init` gives plain float32 tensors on the CPU, which follow from the generator alone."""
    with watched() as drawn_from:
        once, again = (case.model.init(torch.Generator().manual_seed(0)) for _ in range(2))
        draws = drawn_from()
    if not equal(once, again):
        return broken("init gives other parameters from equal generators: draw them from the generator handed in")
    if draws:
        return broken("init changes torch's global generator: draw from the generator handed in")
    for name, p in once.items():
        if p.dtype != torch.float32 or p.device.type != "cpu" or p.requires_grad:
            return broken(f"init gives {name} as {p.dtype} on {p.device}, where plain float32 on the CPU is due")
        if not bool(p.isfinite().all()):
            return broken(f"init gives {name} with numbers that are not finite")
    random = any(p.numel() > 1 and bool(p.min() < p.max()) for p in once.values())
    if random and equal(once, case.model.init(torch.Generator().manual_seed(1))):
        return broken("init gives the same parameters from generators of different seeds")
    return KEPT


def names(case: ModelCase) -> Outcome:
    """`head_names` are what `head` alone uses; `modulated` names vectors, `held` and `norm_names` parts of the body."""
    params, head = case.params, case.model.head_names
    held: frozenset[str] = getattr(case.model, "held", frozenset())
    norms: frozenset[str] = getattr(case.model, "norm_names", frozenset())
    named = (("head_names", head), ("modulated", case.model.modulated), ("held", held), ("norm_names", norms))
    for words, found in named:
        for name in sorted(set(found) - params.keys()):
            return broken(f"{words} names {name}, which is no parameter: there are {', '.join(params)}")
    for name in case.model.modulated:
        if params[name].ndim != 1:
            return broken(f"modulated names {name} of shape {tuple(params[name].shape)}, where (units,) is due")
    if held & head:
        return broken(f"held names {', '.join(sorted(held & head))} of the head: only the body can be held")
    if norms & head:
        return broken(f"norm_names has {', '.join(sorted(norms & head))} of the head: only the body is normalised")
    features = case.features_of(params, case.x)
    other_head = {name: p + 1 if name in head else p for name, p in params.items()}
    if relative_error({"": case.features_of(other_head, case.x)}, {"": features}) > SAME:
        return broken("features depend on parameters in head_names")
    with torch.no_grad():
        outputs = case.model.head(params, features)
        other_body = {name: p if name in head else p + 1 for name, p in params.items()}
        if relative_error({"": case.model.head(other_body, features)}, {"": outputs}) > SAME:
            return broken("the head depends on parameters that head_names does not name")
    return KEPT


def types(case: ModelCase) -> Outcome:
    """Parameters and inputs in float32 or float64 give outputs in that type."""
    for dtype in (torch.float32, torch.float64):
        try:
            found = case.outputs_in(dtype).dtype
        except RuntimeError as error:
            # What works in single precision alone keeps tensors in it, such as buffers.
            if dtype == torch.float32 or ran_out(str(error)):
                raise
            words = f"cast what it keeps beside its parameters to their type ({in_short(error)})"
            return broken(f"with parameters and inputs in {dtype}, the model computes in another type too: {words}")
        if found != dtype:
            return broken(f"the model's outputs come out as {found} where all that went in is {dtype}")
    return KEPT


def precision(case: ModelCase) -> Outcome:
    """Outputs in float32 are close to those in float64."""
    single, double = case.outputs_in(torch.float32).double(), case.outputs_in(torch.float64).double()
    fault = "the model's outputs in float32 differ from those in float64"
    return within(relative_error({"": single}, {"": double}), PRECISION_TOLERANCE, fault)


def repeatable(case: ModelCase) -> Outcome:
    """Two calls with the same arguments give the same outputs, whatever was called before."""
    params, x = case.params, case.x
    before = _random_states(x)
    once, again = case.outputs_of(params, x), case.outputs_of(params, x)
    draws = not all(map(torch.equal, before, _random_states(x)))
    case.outputs_of(params, x.flip(0)[: len(x) // 2])
    error = relative_error({"": again}, {"": once})
    fault = "two calls with the same arguments give different outputs"
    if not error <= SYMMETRY_TOLERANCE:
        why = "the model draws random numbers" if draws else "the model keeps a state, or draws random numbers"
        return Outcome(error, f"{fault}: {why}")
    error = relative_error({"": case.outputs_of(params, x)}, {"": once})
    return Outcome(error, "" if error <= SYMMETRY_TOLERANCE else f"{fault}: the model keeps a state between calls")


def pure(case: ModelCase) -> Outcome:
    """Neither parameters nor inputs are written to."""
    params, x = case.params, case.x
    case.outputs_of(params, x)
    with torch.no_grad():
        case.model.statistics(params, x)
    for name, own in case.params.items():
        if name not in params or not torch.equal(params[name], own):
            return broken(f"the parameter {name} is written to")
    for name in params.keys() - case.params.keys():
        return broken(f"{name} is put among the parameters that are handed in")
    return KEPT if torch.equal(x, case.x) else broken("the inputs are written to")


def differentiable(case: ModelCase) -> Outcome:
    """Outputs can be differentiated twice, which a second-order algorithm needs."""
    params = {name: p.requires_grad_() for name, p in case.params.items()}
    loss = case.model.head(params, case.model.features(params, case.x)).square().mean()
    slopes = torch.autograd.grad(loss, list(params.values()), create_graph=True, allow_unused=True)
    # The square gives the sum a graph where a network is linear in its parameters.
    total = torch.stack([slope.square().sum() for slope in slopes if slope is not None]).sum()
    second = torch.autograd.grad(total, list(params.values()), allow_unused=True)
    if not all(bool(slope.isfinite().all()) for slope in (*slopes, *second) if slope is not None):
        return broken("a first or second derivative of the outputs is not finite")
    return KEPT


def batch_statistics(case: ModelCase) -> Outcome:
    """`batch_statistics` says whether an example's features depend on the others; the figure is by how much."""
    error = _dependence(case, case.params)
    depends = not error <= SYMMETRY_TOLERANCE
    if depends and not case.model.batch_statistics:
        return Outcome(error, "an example's features depend on the others of its batch, and batch_statistics is False")
    if case.model.batch_statistics and not depends:
        return Outcome(error, "batch_statistics is True, and an example's features do not depend on the others")
    return Outcome(error)


def running_statistics(case: ModelCase) -> Outcome:
    """`statistics` are those of the batch, and with them among the parameters no example depends on the others."""
    params, x = case.params, case.x
    many = x.repeat(COPIES, *[1] * (x.ndim - 1))
    with torch.no_grad():
        found = case.model.statistics(params, many)
    if not case.model.batch_statistics:
        if found:
            return broken(f"batch_statistics is False, and statistics gives {', '.join(found)}")
        raise Unsupported("the model has no statistics of the batch")
    if not found:
        return broken("batch_statistics is True, and statistics gives none: 'running' would be transductive")
    for name in found.keys() & params.keys():
        return broken(f"statistics gives {name}, which is a parameter: it would take the place of what was learned")
    error = _dependence(case, params | found)
    if not error <= SYMMETRY_TOLERANCE:
        words = "'running' would be transductive in part"
        return Outcome(error, f"with statistics among the parameters, an example still depends on the others: {words}")
    error = relative_error({"": case.outputs_of(params | found, many)}, {"": case.outputs_of(params, many)})
    return within(error, UNBIASED, "a batch with its own statistics among the parameters has other outputs than it has")


def small_images(case: ModelCase) -> Outcome:
    """Images that are too small are refused when the model is built; the figure is the least side that is taken."""
    if len(case.input_shape) != 3:
        raise Unsupported("its inputs are no images")
    taken = float(min(case.input_shape[1:]))
    for side in sorted((side for side in SIDES if side < taken), reverse=True):
        smaller = ModelCase(case.build, (case.input_shape[0], side, side), case.outputs, case.inputs[..., :side, :side])
        try:
            outputs = smaller.outputs_of(smaller.params, smaller.x)
        except Unsupported:
            continue
        except Exception as error:
            why = f"raises {type(error).__name__}: {in_short(error)}"
        else:
            why = "" if bool(outputs.isfinite().all()) else "gives outputs that are not finite"
        if why:
            words = "raise Unsupported where it is built, with the size that it needs"
            return broken(f"it is built for images of {side}x{side} pixels and {why}: {words}")
        taken = float(side)
    return Outcome(taken)


def _dependence(case: ModelCase, params: Params) -> float:
    """How much the outputs of the first half of a batch differ from those of that half alone."""
    x = case.x
    whole = case.outputs_of(params, x)
    half = case.outputs_of(params, x[: len(x) // 2])
    return relative_error({"": half}, {"": whole[: len(half)]})


def _random_states(x: Tensor) -> list[Tensor]:
    """The states of torch's global generators that a call on `x` may draw from."""
    on_gpu = [torch.cuda.get_rng_state(x.device)] if x.device.type == "cuda" else []
    return [torch.get_rng_state(), *on_gpu]
