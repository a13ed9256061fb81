"""Gradients of `FUNCTIONAL` are those of `torch.func` and of the tape, nested and vmapped."""

import pytest
import torch

from metabench.autodiff import FUNCTIONAL, TAPE

X = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4)
PARAMS = {
    "w": torch.linspace(0.1, 0.8, 8, dtype=torch.float64).reshape(2, 4),
    "b": torch.tensor([0.3, -0.2], dtype=torch.float64),
}


def loss(params, x):
    return torch.tanh(x @ params["w"].T + params["b"]).pow(2).mean()


def adapted(gradient_and_value):
    """The loss after an inner step: what a second-order gradient is taken of."""

    def objective(params, x):
        gradient, _ = gradient_and_value(loss)(params, x)
        return loss({name: p - 0.5 * gradient[name] for name, p in params.items()}, x.flip(0))

    return objective


def same(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("function", [loss, adapted(torch.func.grad_and_value)], ids=["first order", "second order"])
def test_a_gradient_and_its_value_are_those_of_torch(function):
    ours = loss if function is loss else adapted(FUNCTIONAL.gradient_and_value)
    gradient, value = FUNCTIONAL.gradient_and_value(ours)(PARAMS, X)
    expected, expected_value = torch.func.grad_and_value(function)(PARAMS, X)
    same({**gradient, "value": value}, {**expected, "value": expected_value})


def test_under_vmap_each_task_has_its_own_gradient():
    tasks = torch.stack([X, X + 0.3, -X])
    objective = adapted(FUNCTIONAL.gradient_and_value)
    gradient, value = torch.func.vmap(FUNCTIONAL.gradient_and_value(objective), in_dims=(None, 0))(PARAMS, tasks)
    for i, x in enumerate(tasks):
        alone, alone_value = torch.func.grad_and_value(adapted(torch.func.grad_and_value))(PARAMS, x)
        same({name: g[i] for name, g in gradient.items()} | {"value": value[i]}, {**alone, "value": alone_value})


def test_the_tape_goes_through_it():
    """The engine vmap takes the outer gradient by the tape."""
    leaves = {name: p.clone().requires_grad_() for name, p in PARAMS.items()}
    adapted(FUNCTIONAL.gradient_and_value)(leaves, X).backward()
    expected, _ = TAPE.gradient_and_value(adapted(torch.func.grad_and_value))(PARAMS, X)
    same({name: p.grad for name, p in leaves.items()}, expected)


def test_what_the_function_does_not_use_has_a_gradient_of_zero():
    gradient, _ = FUNCTIONAL.gradient_and_value(lambda params, x: (x @ params["w"].T).sum())(PARAMS, X)
    assert gradient["b"].tolist() == [0.0, 0.0]
    assert torch.equal(gradient["w"], X.sum(0).expand(2, 4))


def test_constant_gradients_are_not_differentiated_through():
    gradient, _ = FUNCTIONAL.gradient_and_value(adapted(FUNCTIONAL.constant_gradient_and_value))(PARAMS, X)
    expected, _ = TAPE.gradient_and_value(adapted(TAPE.constant_gradient_and_value))(PARAMS, X)
    same(gradient, expected)


def test_a_function_that_raises_leaves_no_layer_behind():
    def broken(params, x):
        raise ValueError("no loss")

    for _ in range(2):
        with pytest.raises(ValueError, match="no loss"):
            FUNCTIONAL.gradient_and_value(broken)(PARAMS, X)
    level = torch._C._functorch.maybe_current_level()
    assert level is None
    assert PARAMS["w"].requires_grad is False
