"""Convolutions whose weights differ from task to task: grouped, or as one matrix product for each task.

torch.func.vmap makes of them one convolution with a group for each task, for which libraries have slow kernels. The
other form (im2col) lays the parts of the image under each place of the kernel side by side: all tasks are then one
batched matrix product. It moves up to nine times as many numbers, so that which form is faster depends on the sizes.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.engines.capture import captured
from metabench.engines.function import Function
from metabench.errors import UserError
from metabench.files import MEBIBYTE, cache_dir, make_cache_dir, read_text, replace_file

Pair: TypeAlias = tuple[int, int]
Form: TypeAlias = Literal["grouped", "matrix"]
FORMS: tuple[Form, ...] = get_args(Form)
KEPT = "convolutions.json"
TASKS, FEW_TASKS = 16, 2
"""How many tasks a form is tried on: on a GPU, and on a processor."""
TRIES = 5
MOST_BYTES = 4 * MEBIBYTE


@dataclass(frozen=True)
class Geometry:
    """One task's convolution."""

    examples: int
    channels: int
    height: int
    width: int
    outputs: int
    kernel: Pair
    stride: Pair
    padding: Pair

    def __str__(self) -> str:
        kernel, stride = ("×".join(map(str, pair)) for pair in (self.kernel, self.stride))
        return (
            f"{self.examples}×{self.channels}×{self.height}×{self.width} to {self.outputs} by {kernel}, "
            f"stride {stride}, padding {'×'.join(map(str, self.padding))}"
        )


def by_matrix(x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """The convolution of (examples, channels, height, width) and (outputs, channels, *kernel) as one matrix product."""
    outputs, channels, *kernel = weight.shape
    x = F.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    rows, columns = ((size - k) // s + 1 for size, k, s in zip(x.shape[2:], kernel, stride, strict=True))
    below = [
        x[:, :, i : i + (rows - 1) * stride[0] + 1 : stride[0], j : j + (columns - 1) * stride[1] + 1 : stride[1]]
        for i in range(kernel[0])
        for j in range(kernel[1])
    ]
    parts = torch.stack(below, 2).permute(1, 2, 0, 3, 4).reshape(channels * len(below), -1)
    product = weight.reshape(outputs, -1) @ parts
    return product.reshape(outputs, -1, rows, columns).transpose(0, 1)


class Forms:
    """The faster form of each convolution on a device: measured when it is first met there, and kept on disk."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.chosen: dict[str, str] = {}
        """The chosen form of each geometry."""

    def convolve(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Pair = 1,
        padding: int | Pair | str = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
    ) -> Tensor:
        """Convolve as `F.conv2d`, which is called for what has no other form (groups, dilation, a padding by name)."""
        if x.dim() == 4 and not isinstance(padding, str) and _pair(dilation) == (1, 1) and groups == 1:
            (examples, channels, height, width), (outputs, _, *kernel) = x.shape, weight.shape
            steps, border = _pair(stride), _pair(padding)
            geometry = Geometry(examples, channels, height, width, outputs, _pair(kernel), steps, border)
            if self._form_of(geometry) == "matrix":
                result = by_matrix(x, weight, steps, border)
                return result if bias is None else result + bias[:, None, None]
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)

    def _form_of(self, geometry: Geometry) -> str:
        name = str(geometry)
        if name not in self.chosen:
            seconds = _kept(self.device).get(name)
            if not seconds:
                # In a thread of its own: this one may be tracing, inside of vmap, or on another stream.
                with ThreadPoolExecutor(1) as alone:
                    seconds = alone.submit(measured, geometry, self.device).result()
                _keep(self.device, name, seconds)
            self.chosen[name] = min(seconds, key=seconds.__getitem__)
        return self.chosen[name]


@lru_cache
def forms_for(device: torch.device) -> Forms:
    """The forms of a device: one object, so that what was compiled with them can be found again."""
    return Forms(device)


def measured(geometry: Geometry, device: torch.device) -> dict[str, float]:
    """Seconds that the second-order gradient of some tasks takes in each form: the least of a few tries.

    A form that runs out of memory is left out; raises torch.OutOfMemoryError where both do.
    """
    tasks, shape = TASKS if device.type == "cuda" else FEW_TASKS, (geometry.channels, *geometry.kernel)
    x = torch.rand(tasks, geometry.examples, geometry.channels, geometry.height, geometry.width, device=device)
    weight = torch.rand(tasks, geometry.outputs, *shape, device=device)
    calls = {}
    for form in FORMS:
        with suppress(torch.OutOfMemoryError):
            call = _repeatable(_second_order(form, geometry), [x, weight])
            _seconds(call, device)
            calls[form] = call
    if not calls:
        raise torch.OutOfMemoryError(f"no memory for either form of the convolution of {geometry}")
    times: dict[str, list[float]] = {form: [] for form in calls}
    for _ in range(TRIES):
        for form, call in calls.items():
            times[form].append(_seconds(call, device))
    return {form: min(found) for form, found in times.items()}


def _second_order(form: Form, geometry: Geometry) -> Function:
    """`[x, weight] of all tasks -> [gradient of the squared gradient of a loss]` in both."""

    def loss(x: Tensor, weight: Tensor) -> Tensor:
        if form == "matrix":
            return by_matrix(x, weight, geometry.stride, geometry.padding).square().mean()
        return F.conv2d(x, weight, stride=geometry.stride, padding=geometry.padding).square().mean()

    def squared_slope(x: Tensor, weight: Tensor) -> Tensor:
        slopes: tuple[Tensor, Tensor] = torch.func.grad(loss, argnums=(0, 1))(x, weight)
        return slopes[0].square().sum() + slopes[1].square().sum()

    gradients = torch.func.vmap(torch.func.grad(squared_slope, argnums=(0, 1)))
    return lambda inputs: list(gradients(*inputs))


def _repeatable(function: Function, inputs: list[Tensor]) -> Callable[[], object]:
    """The function of these inputs; on CUDA captured, so that it is the device that is timed."""
    if inputs[0].device.type == "cuda":
        function = captured(function, [], inputs).run
    return lambda: function(inputs)


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _pair(value: int | Sequence[int]) -> Pair:
    """A size for height and width, of which torch takes one number for both, too, alone or in a sequence."""
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


# --- what is kept on disk --------------------------------------------------------------------------------------------


def _kept(device: torch.device) -> Mapping[str, dict[str, float]]:
    """What was measured on such a device, by geometry; nothing where the file cannot be read."""
    return _read().get(_machine(device), {})


def _keep(device: torch.device, geometry: str, seconds: dict[str, float]) -> None:
    from filelock import FileLock

    folder = make_cache_dir()
    with FileLock(folder / f"{KEPT}.lock"):
        known = _read()
        known.setdefault(_machine(device), {})[geometry] = seconds
        replace_file(folder / KEPT, json.dumps(known, indent=1).encode())


def _read() -> dict[str, dict[str, dict[str, float]]]:
    with suppress(FileNotFoundError, UserError, ValueError):  # it is measured again
        known = json.loads(read_text(cache_dir() / KEPT, MOST_BYTES))
        if isinstance(known, dict):
            return known
    return {}


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{capability}, {torch.get_num_threads()} threads, torch {torch.__version__}"
