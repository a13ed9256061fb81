"""Names of what an algorithm learns or computes beside the parameters of its model."""

from collections.abc import Iterable

from metabench.errors import Unsupported
from metabench.tensors import Params


def beside(own: Params, learned: Params, added: Iterable[str] = ()) -> Params:
    """The model's own parameters, and what is learned besides; `added` are names of what adaptation adds to them.

    Raises `Unsupported` where the model has one of these names.
    """
    if taken := own.keys() & {*learned, *added}:
        raise Unsupported(
            f"this network has a parameter {min(taken)}, and the algorithm keeps something else by that name: "
            "give the layer another name"
        )
    return own | learned


def split_off(prefix: str, params: Params) -> tuple[Params, Params]:
    """The parameters without those that are called PREFIX.NAME after another parameter, NAME; and these, by NAME.

    A layer of the model may itself be called PREFIX.
    """
    found = {name: params[f"{prefix}.{name}"] for name in params if f"{prefix}.{name}" in params}
    taken = {f"{prefix}.{name}" for name in found}
    return {name: p for name, p in params.items() if name not in taken}, found
