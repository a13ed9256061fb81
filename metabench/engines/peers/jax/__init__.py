"""`jax`: whole meta-iterations as JAX's own users write them, jit(vmap(grad)) of pure functions of a pytree.

`jax-im2col` is the same for processors: of convolutions whose weights differ from task to task vmap makes grouped
ones, which XLA has no fast code for there, and of matrix products batched ones.

Nothing here imports JAX before an iteration is asked for: engines are listed with JAX or without it.
"""

from functools import lru_cache, partial
from typing import TYPE_CHECKING

import torch

from metabench.algorithms.base import Algorithm
from metabench.engines.base import ENGINES, Engine, by_unit_descent
from metabench.engines.outer import Outer
from metabench.engines.peers.module import CARRIED, installed
from metabench.errors import Unsupported
from metabench.models.conv4 import Conv4
from metabench.models.mlp import MLP
from metabench.tensors import Params
from metabench.variables import set_meanwhile

if TYPE_CHECKING:
    import jax

    from metabench.engines.peers.jax.allocator import DeviceAllocator
    from metabench.engines.peers.jax.iterations import Iterations

NETWORKS = (MLP, Conv4)
KINDS = {"cpu": "cpu", "cuda": "gpu"}
"""What torch and JAX call a kind of device."""


def start(algorithm: Algorithm, meta: Params, outer: Outer, images: str) -> "Iterations":
    """Iterations of what is written in JAX here; `images` names the operations on images (`functions.IMAGES`)."""
    model = algorithm.learner.model
    if type(algorithm) not in CARRIED:
        raise Unsupported(f"{type(algorithm).__name__} is not written in JAX here")
    if type(model) not in NETWORKS:
        raise Unsupported(f"the network {type(model).__name__} is not written in JAX here: mlp and conv4 are")
    if algorithm.inner_optimizer != "sgd":
        raise Unsupported(f"the inner optimiser {algorithm.inner_optimizer} is not written in JAX here: sgd is")
    if algorithm.checkpoint:
        raise Unsupported("with jax.checkpoint, XLA takes no less memory on a processor: use loop, vmap or compile")
    if algorithm.second_order != "reverse":
        raise Unsupported(f"{algorithm.second_order} is not written in JAX here: use loop, vmap or native")
    installed("jax")
    from metabench.engines.peers.jax.functions import IMAGES, Functions
    from metabench.engines.peers.jax.iterations import Iterations

    device = device_like(next(iter(meta.values())).device)
    return Iterations(Functions(algorithm, IMAGES[images]), meta, outer, device)


def device_like(device: torch.device) -> "jax.Device":
    """JAX's device of the same kind as torch's; raises `Unsupported` where it has none, and takes no other."""
    import jax

    if device.type not in KINDS:
        raise Unsupported(f"jax is used on processors and on CUDA devices here, not on {device.type}")
    try:
        threads = threads_of_xla()
        found = jax.devices(KINDS[device.type])
    except RuntimeError as error:
        raise Unsupported(f"jax has no device for {device.type}: {str(error).splitlines()[0]}") from error
    if device.type == "cpu" and threads != torch.get_num_threads():
        raise Unsupported(
            f"XLA was started with {threads} threads in this process and cannot change to {torch.get_num_threads()}"
        )
    return found[device.index or 0]


@lru_cache(maxsize=1)
def threads_of_xla() -> int:
    """Start XLA, once, with as many threads as torch has; how many those were.

    XLA reads the size of its thread pools from the environment when a device is first asked for, and never again;
    left alone it takes every core that the process may use. XLA_FLAGS have no such number, and cores that threads are
    pinned to would be shared with the next process that does the same. With one thread, one computes at any time,
    while Python's may call the next iteration already. With more, the thread that runs an iteration helps those of
    the pool, as it does by default. Compilation heeds no number.
    """
    import jax

    threads = torch.get_num_threads()
    # Of a GPU's memory, JAX would take three quarters at once; torch, in the same process, needs some.
    wanted = {"PJRT_NPROC": str(threads), "NPROC": str(threads), "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    with set_meanwhile(wanted):
        jax.devices()
    return threads


def allocator_on(device: torch.device) -> "DeviceAllocator | None":
    """JAX's allocator on that device; None where it keeps no count, as on a processor."""
    from metabench.engines.peers.jax.allocator import DeviceAllocator

    found = device_like(device)
    return DeviceAllocator(found) if found.memory_stats() else None


for _name, _images, _summary in (
    ("jax", "lax", "jit(vmap(grad)) of whole meta-iterations in JAX"),
    ("jax-im2col", "im2col", "the same with convolutions as matrix products"),
):
    _start = partial(start, images=_images)
    ENGINES.register(_name)(
        Engine(
            _summary,
            by_unit_descent(_start),
            _start,
            library="jax",
            compiles=True,
            autocasts=False,
            foreign=allocator_on,
        )
    )
