"""A second device without any hardware: its tensors hold numbers, and refuse to be mixed with the processor's.

It is torch's PrivateUse1 backend, in Python. Its operations are those of the processor on the tensors within; autograd,
torch.func and tracing take it for a device like any other. As on CUDA, a tensor without dimensions may come from the
processor, a copy may cross over, and whatever else mixes devices raises.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

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


def _mapped(change, value):
    """The value with its tensors changed, those in lists, tuples and dictionaries too; a tenth of tree_map's time."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)([_mapped(change, one) for one in value])
    if isinstance(value, dict):
        return {name: _mapped(change, one) for name, one in value.items()}
    return value


def _run(function, args, kwargs):
    given = []
    _mapped(given.append, (args, kwargs))
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
    args, kwargs = _mapped(lambda tensor: tensor.within if isinstance(tensor, Away) else tensor, (args, kwargs))
    result = function(*args, **kwargs)

    def placed(found):
        for tensor in given:
            if found is tensor or found is getattr(tensor, "within", None):  # written to in place
                return tensor
        return Away(found) if goes_away else found

    return _mapped(placed, result)


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
