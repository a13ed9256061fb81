"""Which characters are for training, validation and testing: by their names, or by alphabet as published."""

import hashlib
from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from metabench.tasks.base import SPLITS, Split
from metabench.tasks.packed import PackedImages
from metabench.tasks.published import published

Characters: TypeAlias = Mapping[Split, Tensor]
"""Places of the characters of each split in `PackedImages.characters`, in rising order, int64 (characters,)."""
PUBLISHED_SPLIT = (1100, 100, 423)
"""Training, validation and test characters of MAML's code (its paper says 1200 for training)."""
SPLIT_SEED = 0
BY_NAME, BY_ALPHABET = "classes", "vinyals"
JOINED = "-trainval"
"""End of the name of a split that trains on validation characters, too."""
RULES = tuple(rule + end for rule in (BY_NAME, BY_ALPHABET) for end in ("", JOINED))


def split_by(rule: str, images: PackedImages) -> tuple[Characters, Mapping[str, str]]:
    """The characters of each split, and what provenance says of it, by one of `RULES`."""
    by_name = rule.removesuffix(JOINED) == BY_NAME
    found = by_hash(images, SPLIT_SEED) if by_name else by_alphabet(images)
    details = (
        {"split_by": "by character, by a hash of names", "split_seed": str(SPLIT_SEED)}
        if by_name
        else published(images.name).details
    )
    if rule.endswith(JOINED):
        both = torch.cat([found["train"], found["validation"]]).sort().values
        found = {**found, "train": both, "validation": both[:0]}
        details = {**details, "split_by": f"{details['split_by']}; validation characters are trained on, too"}
    return found, details


def sizes(images: PackedImages) -> str:
    """Training, validation and test characters of each split, in words."""
    found = {rule: split_by(rule, images)[0] for rule in RULES}
    return ", ".join(f"{rule} {'/'.join(str(len(of[split])) for split in SPLITS)}" for rule, of in found.items())


def by_hash(images: PackedImages, seed: int) -> Characters:
    """Disjoint characters of the three splits, in the published proportion (exactly so for 1623 characters).

    Characters are ranked by a hash of the seed and their name, so the split is the same on every platform and with
    every version of every library, and does not depend on the order in which the characters are stored.
    """
    names = [f"{seed}/{name}" for name in _names(images)]
    ranked = sorted(range(len(names)), key=lambda i: hashlib.sha256(names[i].encode()).digest())
    train, validation = (len(names) * part // sum(PUBLISHED_SPLIT) for part in PUBLISHED_SPLIT[:2])
    bounds = (0, train, train + validation, len(names))
    return {
        split: torch.tensor(sorted(ranked[low:high]), dtype=torch.int64)
        for split, low, high in zip(SPLITS, bounds[:-1], bounds[1:], strict=True)
    }


def by_alphabet(images: PackedImages) -> Characters:
    """The published characters of each split. A list names whole alphabets, and some characters apart from theirs."""
    of_name: dict[str, Split] = {
        name: split for split, names in published(images.name).splits.items() for name in names
    }
    names = _names(images)
    found = [of_name.get(name) or of_name.get(name.partition("/")[0]) for name in names]
    return {
        split: torch.tensor([place for place, own in enumerate(found) if own == split], dtype=torch.int64)
        for split in SPLITS
    }


def _names(images: PackedImages) -> list[str]:
    """ALPHABET/CHARACTER of each character."""
    return [f"{alphabet}/{name}" for alphabet, name in zip(images.alphabets, images.characters, strict=True)]
