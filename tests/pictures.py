"""Folders of small colour images, for tests of what reads a user's own."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_pictures(
    folder: Path, classes: int = 30, each: int = 6, side: int = 84, seed: int = 0, grouped: int = 0
) -> Path:
    """A folder with a folder for each class, `class00` and on, of RGB PNGs; `grouped` into so many groups of classes.

    Each class has a colour and a stripe of its own, and each image some noise: a network can tell them apart.
    """
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    for number in range(classes):
        group = f"group{number % grouped:02}" if grouped else ""
        place = folder / group / f"class{number:02}"
        place.mkdir(parents=True)
        colour, angle = generator.uniform(0.3, 1, 3), generator.uniform(0, np.pi)
        for image in range(each):
            wave = np.sin(2 * np.pi * (4 * (x * np.cos(angle) + y * np.sin(angle)) + generator.uniform()))
            coarse = generator.uniform(-0.2, 0.2, (8, 8)).repeat(-(-side // 8), 0).repeat(-(-side // 8), 1)
            grey = 0.5 + 0.3 * wave + coarse[:side, :side]
            pixels = np.uint8(255 * np.clip(grey[..., None] * colour, 0, 1))
            Image.fromarray(pixels).save(place / f"{image:03}.png", compress_level=1)
    return folder
