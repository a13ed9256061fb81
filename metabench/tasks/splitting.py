"""Which classes are for training, validation and testing: by their names, by folders, by groups, or by a list."""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from metabench.errors import UserError, unknown
from metabench.files import MEBIBYTE, read_text
from metabench.tasks.base import SPLITS, Split
from metabench.tasks.listing import Listing

Splits: TypeAlias = dict[Split, tuple[str, ...]]
"""The names of the classes of each split."""
SHARES = (64, 16, 20)
"""Training, validation and test classes in a hundred, as in miniImageNet."""
RULES = ("classes", "folders", "groups", "*.json", "*.csv")
"""Ways to split classes; the last two are names of lists."""
MOST_LIST = 16 * MEBIBYTE
WORDS: Mapping[str, Split] = {
    **{split: split for split in SPLITS},
    "val": "validation",
    "valid": "validation",
    "training": "train",
    "testing": "test",
}
"""What folders, lists and columns may call a split."""


def is_grouped(rule: str) -> bool:
    """Whether class folders stand in folders of their own: those of groups, or of splits."""
    return rule in ("groups", "folders")


def split_by(rule: str, listing: Listing, base: Path) -> tuple[Splits, str]:
    """The classes of each split and how that was done, in words; a list is looked for from `base`.

    A split may be empty. Raises `UserError` for a list or folders that do not fit, or if splits share a class.
    """
    if rule == "classes":
        return by_hash(listing.classes), f"by a hash of class names, {_shares()}"
    if rule == "groups":
        chosen = by_hash(sorted(set(listing.groups)))
        of_group = {group: split for split, groups in chosen.items() for group in groups}
        sizes = ", ".join(f"{split} {len(groups)}" for split, groups in chosen.items())
        return _gathered(listing, lambda place: of_group[listing.groups[place]]), (
            f"whole groups by a hash of their names, {_shares()}: {sizes} groups"
        )
    if rule == "folders":
        return _by_folders(listing), "by folders"
    return _by_list(listing, base / rule)


def by_hash(names: Sequence[str], shares: tuple[int, int, int] = SHARES) -> Splits:
    """Names in the three splits, ranked by a hash of each: the same on every platform and in whatever order they are.

    Of three names or more, no split is empty.
    """
    ranked = sorted(names, key=lambda name: hashlib.sha256(f"0/{name}".encode()).digest())
    count, whole = len(names), sum(shares)
    test = min(max(1, round(count * shares[2] / whole)), max(0, count - 1))
    validation = min(max(1, round(count * shares[1] / whole)), max(0, count - test - 1))
    train = count - validation - test
    bounds = (0, train, train + validation, count)
    return {
        split: tuple(sorted(ranked[low:high])) for split, low, high in zip(SPLITS, bounds[:-1], bounds[1:], strict=True)
    }


def _shares() -> str:
    return "/".join(map(str, SHARES)) + " %"


def _gathered(listing: Listing, split_of: Callable[[int], Split]) -> Splits:
    """The classes of each split, given the split of each place in the listing."""
    splits: dict[Split, list[str]] = {split: [] for split in SPLITS}
    for place, name in enumerate(listing.classes):
        splits[split_of(place)].append(name)
    return {split: tuple(names) for split, names in splits.items()}


def _by_folders(listing: Listing) -> Splits:
    for group in listing.groups:
        if group not in WORDS:
            found = ", ".join(dict.fromkeys(listing.groups))
            raise UserError(f"split = \"folders\" is for the folders train, val and test: '{listing.name}' has {found}")
    seen: dict[str, str] = {}
    for name in listing.classes:
        group, _, own = name.partition("/")
        if own in seen and WORDS[seen[own]] != WORDS[group]:
            raise UserError(
                f"class '{own}' of '{listing.name}' is in {seen[own]} and in {group}: splits share no class"
            )
        seen.setdefault(own, group)
    return _gathered(listing, lambda place: WORDS[listing.groups[place]])


def _by_list(listing: Listing, file: Path) -> tuple[Splits, str]:
    texts = [(each, _text(each)) for each in _files_of(file)]
    named: dict[str, Split] = {}
    for each, text in texts:
        entries = _of_json(text, each) if each.suffix.lower() == ".json" else _of_csv(text, each)
        for split, name in entries:
            if named.setdefault(name, split) != split:
                raise UserError(f"'{each.name}' has class '{name}' in {split}, and it is in {named[name]} too")
    for name in named:
        if name not in listing.classes:
            raise unknown(f"class in '{file.name}' of folder '{listing.name}'", name, listing.classes)
    splits: Splits = {split: tuple(name for name in listing.classes if named.get(name) == split) for split in SPLITS}
    digest = hashlib.sha256("".join(f"{split}\0{name}\0" for split in SPLITS for name in splits[split]).encode())
    rest = len(listing.classes) - len(named)
    left = f", {rest} classes in no split" if rest else ""
    return splits, f"by a list of classes, hash {digest.hexdigest()[:12]}{left}"


def _files_of(file: Path) -> list[Path]:
    """The list, or where it is one of a split alone, as train.csv is, those of the others that stand beside it."""
    if file.suffix.lower() == ".csv" and file.stem in WORDS:
        return [found for word in WORDS if (found := file.with_name(f"{word}{file.suffix}")).is_file()] or [file]
    return [file]


def _text(file: Path) -> str:
    try:
        return read_text(file, MOST_LIST)
    except FileNotFoundError:
        raise UserError(
            f"there is no list '{file.name}' of the classes of each split in '{file.parent.name or file.parent}'"
        ) from None


def _of_json(text: str, file: Path) -> list[tuple[Split, str]]:
    form = '{"train": ["robin", …], "val": […], "test": […]}'
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"'{file.name}' is not valid JSON: {error}") from None
    if not isinstance(found, dict) or not all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in found.values()
    ):
        raise UserError(f"'{file.name}' must name the classes of each split: {form}")
    return [(_split(word, file), name) for word, names in found.items() for name in names]


def _of_csv(text: str, file: Path) -> list[tuple[Split, str]]:
    """Split and class of each row: of its columns `split` and `class` (or `label`); without `split`, the file's name
    says it."""
    reader = csv.DictReader(io.StringIO(text))
    try:
        header, rows = reader.fieldnames or (), list(reader)
    except csv.Error as error:  # such as a quote that is not closed
        raise UserError(f"'{file.name}' is not valid CSV: {error}") from None
    column = next((name for name in ("class", "label") if name in header), None)
    if column is None or ("split" not in header and file.stem not in WORDS):
        raise UserError(
            f"'{file.name}' must have a column class or label, and a column split unless it is called train.csv, "
            "val.csv or test.csv"
        )
    of_file = "" if "split" in header else file.stem
    return [(_split(of_file or row["split"] or "", file), row[column] or "") for row in rows]


def _split(word: str, file: Path) -> Split:
    if word not in WORDS:
        raise unknown(f"split in '{file.name}'", word, WORDS)
    return WORDS[word]
