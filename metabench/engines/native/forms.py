"""Forms of an operation that `native` has: overloads, keywords, types of numbers. All other forms are refused."""

import inspect
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.utils._pytree import tree_leaves

from metabench.engines.native.operations import OPERATIONS
from metabench.errors import Unsupported

INSTEAD = "use compile, vmap or loop"
OVERLOADS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("add", "sub", "mul", "div", "le", "lt", "ge", "gt", "eq", "ne"), ("Tensor", "Scalar")),
    "pow": ("Tensor_Scalar", "Tensor_Tensor", "Scalar"),
    "clamp_min": ("default", "Tensor"),
    "where": ("self", "ScalarSelf", "ScalarOther", "Scalar"),
    "squeeze": ("default", "dim", "dims"),
    "select": ("int",),
    "slice": ("Tensor",),
    "split": ("Tensor",),
    "unbind": ("int",),
    "sum": ("default", "dim_IntList"),
    "mean": ("default", "dim"),
    "var_mean": ("correction",),
    "scatter": ("value",),
    "index": ("Tensor",),
}
"""The overloads of each operation that has others than `default`."""
PLACES = ("device", "layout", "pin_memory", "memory_format", "requires_grad", "implicit", "dtype")
"""Keywords that say where a tensor lies, or of what type it is: types are looked at in the result."""
COMPARED = ("le", "lt", "ge", "gt", "eq", "ne")
COMPUTED = (
    *("add", "sub", "mul", "div", "neg", "relu", "abs", "sign", "clamp_min", "pow", "sum", "mean", "var_mean"),
    *("exp", "log", "log1p", "sqrt", "rsqrt", "reciprocal", "tanh", "sigmoid", "fma"),
    *("mm", "bmm", "addmm", "convolution", "convolution_backward"),
)
"""Operations whose results depend on how a type rounds or wraps."""


def operation_of(node: Node, engine: str) -> Callable[..., Any]:
    """The operation of a node. Raises `Unsupported`, by name, for one that has no C++, or not in that form."""
    if node.target is operator.getitem:
        return OPERATIONS["getitem"]
    _, name, overload = f"{node.target}..".split(".")[:3]
    if name not in OPERATIONS:
        raise Unsupported(f"{engine} has no C++ for the operation {name}: {INSTEAD}")
    if overload not in OVERLOADS.get(name, ("default",)):
        raise Unsupported(f"{engine} has no C++ for this form of the operation {name} ({overload}): {INSTEAD}")
    unknown = [word for word in node.kwargs if word not in PLACES and word not in _keywords(name)]
    if unknown:
        raise Unsupported(f"{engine} has no C++ for the operation {name} with {', '.join(unknown)}: {INSTEAD}")
    _check_types(name, node, engine)
    return OPERATIONS[name]


def keywords_of(node: Node) -> dict[str, Any]:
    """The keywords of a node that its operation takes."""
    return {word: value for word, value in node.kwargs.items() if word not in PLACES}


def _keywords(name: str) -> frozenset[str]:
    return frozenset(inspect.signature(OPERATIONS[name]).parameters)


def _check_types(name: str, node: Node, engine: str) -> None:
    """Raise `Unsupported` where the types of numbers matter: all are computed in that of the meta-parameters."""
    results = _types(node)
    given = [dtype for argument in node.all_input_nodes for dtype in _types(argument)]
    if any(tensor.numel() == 0 for tensor in _tensors(node)):
        raise Unsupported(f"{engine} has no tensors without elements, as {name} gives them: {INSTEAD}")
    if any(dtype.is_complex for dtype in results):
        raise Unsupported(f"{engine} has no complex numbers, as {name} gives them: {INSTEAD}")
    for dtype in results:
        narrow = dtype.is_floating_point and dtype != torch.float64
        whole = not dtype.is_floating_point and dtype != torch.int64
        computed = name in COMPUTED and (narrow or whole or (dtype == torch.int64 and name in ("pow", "div")))
        cut = name in ("convert_element_type", "sum") and not all(_holds(dtype, each) for each in given)
        if computed or cut:
            raise Unsupported(f"{engine} computes in one type of numbers, and {name} gives {dtype} here: {INSTEAD}")
        if narrow and name in ("full", "scalar_tensor") and not float(node.args[-1]).is_integer():  # type: ignore[arg-type]
            raise Unsupported(
                f"{engine} computes in one type of numbers, and the network has one of {dtype}: {INSTEAD}"
            )


def _holds(wide: torch.dtype, narrow: torch.dtype) -> bool:
    """Whether one type holds every number of another that occurs."""
    return wide == narrow or torch.promote_types(wide, narrow) == wide


def _types(node: Node) -> list[torch.dtype]:
    return [tensor.dtype for tensor in _tensors(node)]


def _tensors(node: Node) -> list[Tensor]:
    return [value for value in tree_leaves(node.meta.get("val")) if isinstance(value, Tensor)]
