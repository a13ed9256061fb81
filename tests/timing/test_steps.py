"""What can be timed, and what is said of all else."""

import functools
import sys

import pytest
import torch

from metabench.errors import UserError
from metabench.timing.steps import after_first_call, checked, labels, said_by, step_named


def step():
    return None


@pytest.mark.parametrize("found", [step, functools.partial(max, [1]), lambda x=1: x, lambda *a, **k: a, object])
def test_what_can_be_called_alone_is_a_step(found):
    assert checked(found) is found


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (3, "it is an object of type int, which cannot be called"),
        (lambda model, *, data: model, "it needs model, data"),
        (torch.nn.Linear, "it needs in_features, out_features"),
    ],
)
def test_all_else_is_refused_with_what_a_step_is(found, says):
    with pytest.raises(UserError, match=says) as told:
        checked(found)
    assert "a step is called without arguments, and does one iteration" in str(told.value)


def test_a_function_that_returns_a_step_is_a_set_up():
    assert after_first_call(lambda: step, step) == (step, True)
    part = functools.partial(max, [1])
    assert after_first_call(step, part) == (part, True)


class NeedsX(torch.nn.Module):
    def forward(self, x):
        return x


@pytest.mark.parametrize("result", [None, 1.0, torch.zeros(2), NeedsX(), dict, lambda x: x, [step]])
def test_what_cannot_be_called_alone_is_the_result_of_a_step(result):
    assert after_first_call(step, result) == (step, False)


def lazy():
    yield 1


async def later():
    return 1


def test_work_that_is_put_off_is_refused():
    coroutine = later()
    for result, what in ((lazy(), "a generator"), (coroutine, "a coroutine")):
        with pytest.raises(UserError, match=f"it returns {what}, whose work is not done when the call returns"):
            after_first_call(step, result)
    coroutine.close()


def raised(call):
    try:
        call()
    except BaseException as error:
        return error


def wrong():
    torch.zeros(2) + torch.zeros(3)


def ends():
    sys.exit(3)


def test_a_users_error_is_told_with_its_line():
    line = wrong.__code__.co_firstlineno + 1
    said = said_by(raised(wrong), wrong)
    assert said.startswith("RuntimeError: ") and said.endswith(f" (test_steps.py, line {line}, in wrong)")
    line = ends.__code__.co_firstlineno + 1
    assert said_by(raised(ends), ends) == f"it ends the program (sys.exit(3)) (test_steps.py, line {line}, in ends)"
    assert said_by(ValueError(), 3) == "ValueError: no message"


def test_names_are_as_short_as_they_can_be():
    assert labels(["my.py:a", "sub/my.py:b", "lambda"]) == ["a", "b", "lambda"]
    assert labels(["my.py:a", "other.py:a"]) == ["my.py:a", "other.py:a"]


def test_a_name_without_a_place_is_told_how_to_say_it():
    with pytest.raises(UserError, match="name a file and a function in it, as in my.py:step"):
        step_named("step")
