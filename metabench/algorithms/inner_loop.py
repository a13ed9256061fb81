"""The one piece that gradient-based algorithms share: gradient descent on a sequence of batches."""

from collections.abc import Callable, Iterable, Iterator

from torch import Tensor

from metabench.autodiff import Autodiff
from metabench.tensors import Batch, Params


def descend(
    autodiff: Autodiff, loss: Callable[[Params, Batch], Tensor], params: Params, batches: Iterable[Batch], lr: float
) -> Iterator[Params]:
    """φ₀ = params, then φᵢ₊₁ = φᵢ - lr ∇L(φᵢ, batchᵢ) for each batch."""
    yield params
    for batch in batches:
        gradient, _ = autodiff.gradient_and_value(loss)(params, batch)
        params = {name: p - lr * gradient[name] for name, p in params.items()}
        yield params
