"""The memory that JAX hands out on a GPU, in bytes, by its own counts."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


class DeviceAllocator:
    """The `metabench.engines.base.Allocator` of a device that keeps counts."""

    def __init__(self, device: jax.Device) -> None:
        self.device = device

    def in_use(self) -> int:
        return self._counts()["bytes_in_use"]

    def peak(self) -> int:
        return self._counts()["peak_bytes_in_use"]

    def reserved(self) -> int | None:
        return self._counts().get("peak_pool_bytes")

    def limit(self) -> int | None:
        return self._counts().get("bytes_limit")

    def hold(self, size: int) -> Callable[[], object]:
        try:
            block = jnp.zeros(-(-size // 4), jnp.float32, device=self.device).block_until_ready()
        except RuntimeError as error:  # JAX's own for RESOURCE_EXHAUSTED is one
            raise MemoryError(str(error)) from error
        return lambda: block.delete()

    def _counts(self) -> dict[str, int]:
        counts: dict[str, int] = self.device.memory_stats()
        return counts
