"""A second device without any hardware: its tensors hold numbers, and refuse to be mixed with the processor's.

It is torch's PrivateUse1 backend, in Python. Its operations are those of the processor on the tensors within; autograd,
torch.func and tracing take it for a device like any other. As on CUDA, a tensor without dimensions may come from the
processor, a copy may cross over, and whatever else mixes devices raises.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "elsewhere"
CROSSING = (torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default)


class Away(torch.Tensor):
    """A tensor on the second device, around one of the processor's."""

    @staticmethod
    def __new__(cls, within):
        made = torch.Tensor._make_wrapper_subclass(
            *(cls, within.shape),
            strides=within.stride(),
            storage_offset=within.storage_offset(),
            dtype=within.dtype,
            device=torch.device(NAME, 0),
        )
        made.within = within
        return made

    def __repr__(self):
        return f"Away({self.within})"

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


class Elsewhere(TorchDispatchMode):
    """Within it, tensors can be made on the device and moved there."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


def _run(function, args, kwargs):
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    away = [tensor for tensor in given if isinstance(tensor, Away)]
    device = kwargs.get("device")
    if device is not None:
        goes_away, kwargs = torch.device(device).type == NAME, {**kwargs, "device": torch.device("cpu")}
    elif function is torch.ops.aten.copy_.default:
        goes_away = isinstance(args[0], Away)
    else:
        goes_away = bool(away)
    if away and function not in CROSSING:
        here = [tensor for tensor in given if not isinstance(tensor, Away) and tensor.dim()]
        if here:
            raise RuntimeError(f"{function} mixes tensors on '{NAME}' and on 'cpu'")
    args, kwargs = tree_map(lambda leaf: leaf.within if isinstance(leaf, Away) else leaf, (args, kwargs))
    result = function(*args, **kwargs)

    def placed(leaf):
        if not isinstance(leaf, torch.Tensor):
            return leaf
        same = next((tensor for tensor in given if leaf is tensor or leaf is getattr(tensor, "within", None)), None)
        if same is not None:  # written to in place
            return same
        return Away(leaf) if goes_away else leaf

    return tree_map(placed, result)


def available():
    """Whether this torch lets a device be written in Python."""
    try:
        from torch.utils.backend_registration import _setup_privateuseone_for_python_backend  # noqa: F401
    except ImportError:
        return False
    return True


def register():
    """Make the device known to torch, for the rest of this process."""
    from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

    class Module(_DummyBackendModule):
        def get_amp_supported_dtype(self):
            return [torch.bfloat16]

    _setup_privateuseone_for_python_backend(NAME, Module())
