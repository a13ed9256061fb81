"""Devices that are asked for by name."""

from collections.abc import Set

from metabench.errors import UserError


def check_device(devices: Set[str]) -> None:
    """Raise `UserError` for a device that is not there."""
    import torch

    if "cuda" in devices and not torch.cuda.is_available():
        raise UserError("device cuda was asked for, but torch finds no CUDA device: use device cpu")
