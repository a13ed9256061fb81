"""Reads a file of claims: as data, of bounded size, checked name by name."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metabench.errors import UserError, unknown
from metabench.files import DATA, MEBIBYTE, read_toml
from metabench.record.axes import LARGEST
from metabench.record.cell import AXES as CELL_AXES
from metabench.report.claims.claim import ALONG, FIGURES, MARKS, METRICS, RULES, Claim, Figure, Scalar, Selection

MOST_BYTES = MEBIBYTE // 4
MOST_CLAIMS = 1000
LONGEST = 500
"""Characters of a text."""
MOST_VALUES = 50
TEXTS = ("id", "says", "source", "mark", "rule")
NUMBERS = ("plus_minus", "allowance", "at_least", "at_most")
PER = ("inner_steps", "meta_batch", "world_size")
SELECTIONS = ("of", "against", "setting")
KNOWN = (*TEXTS, *NUMBERS, *SELECTIONS, "figure", "claimed", "metric", "after", "along", "per", "unmeasured")
AXES = frozenset(("parameters", *CELL_AXES)) - {"seed", "machine"}
_ID = re.compile("[a-z0-9][a-z0-9+-]{0,79}")
BUILTIN = DATA / "claims.toml"
"""The claims that come with metabench."""


def read_claims(file: Path) -> tuple[Claim, ...]:
    """The claims of a TOML file, in its order. Raises `UserError`: whatever is wrong, with the claim it is in."""
    _, tables = read_toml(file, MOST_BYTES, "file of claims")
    for name in tables:
        if name != "claim":
            raise UserError(f"'{file}': {unknown('table', name, ['claim'])}")
    found = tables.get("claim")
    if not isinstance(found, list) or not found or not all(isinstance(table, dict) for table in found):
        raise UserError(f"'{file}' has no claims: each is a table [[claim]]")
    if len(found) > MOST_CLAIMS:
        raise UserError(f"'{file}' has {len(found):,} claims, where at most {MOST_CLAIMS:,} are read")
    claims: dict[str, Claim] = {}
    for number, table in enumerate(found, 1):
        name = table.get("id") if isinstance(table.get("id"), str) else ""
        try:
            claim = _claim(table)
            if claim.id in claims:
                raise UserError("another claim has the same id")
        except UserError as error:
            raise UserError(f"'{file}', claim {number}{f' ({name[:80]})' if name else ''}: {error}") from None
        claims[claim.id] = claim
    return tuple(claims.values())


def _claim(table: Mapping[str, Any]) -> Claim:
    for name in table:
        if name not in KNOWN:
            raise unknown("name", name, KNOWN)
    texts = {name: _text(table, name) for name in TEXTS}
    if not _ID.fullmatch(texts["id"]):
        raise UserError("its id is not of small letters, digits, + and -")
    figure: Figure = _one_of(table, "figure", FIGURES) or "quality"
    metric = _one_of(table, "metric", METRICS)
    rule = _one_of(table, "rule", RULES)
    mark = _one_of(table, "mark", MARKS)
    if figure == "quality" and not metric:
        raise UserError(f"a claim on quality needs a metric: one of {', '.join(METRICS)}")
    numbers = {name: _number(table[name], name) for name in NUMBERS if name in table}
    if any(numbers.get(name, 0.0) < 0 for name in ("plus_minus", "allowance")):
        raise UserError("plus_minus and allowance are 0 or more")
    after = table.get("after")
    if after is not None and (isinstance(after, bool) or not isinstance(after, int) or not 0 <= after <= 10_000):
        raise UserError("'after' is a number of inner steps")
    low, high = _claimed(table, numbers, rule)
    along = _one_of(table, "along", ALONG)
    _check_rule(rule, figure, table, along)
    return Claim(
        id=texts["id"],
        says=texts["says"],
        source=texts["source"],
        mark=mark,
        rule=rule,
        figure=figure,
        **{name: _selection(table.get(name, {}), name) for name in SELECTIONS},
        low=low,
        high=high,
        plus_minus=numbers.get("plus_minus", 0.0),
        allowance=numbers.get("allowance", 0.0),
        metric=metric,
        after=after,
        along=along,
        per=_one_of(table, "per", PER),
        unmeasured=_text(table, "unmeasured", needed=False),
    )


def _check_rule(rule: str, figure: str, table: Mapping[str, Any], along: str) -> None:
    """Whether the claim has what its rule needs."""
    if not table.get("of") and "unmeasured" not in table:
        raise UserError("it needs 'of': the cells that it is about")
    if rule in ("ratio", "order") and not table.get("against") and "unmeasured" not in table:
        raise UserError(f"the rule '{rule}' needs 'against': what differs in the cells it compares with")
    if rule == "exponent" and not along:
        raise UserError(f"the rule 'exponent' needs 'along': one of {', '.join(ALONG)}")
    if rule in ("interval", "range", "one-sided") and figure != "quality":
        raise UserError(f"the rule '{rule}' is for quality: times and peaks are compared as a 'ratio' or an 'order'")
    if rule in ("ratio", "exponent") and figure == "quality":
        raise UserError(f"the rule '{rule}' is for time and memory: give 'figure'")


def _claimed(table: Mapping[str, Any], numbers: Mapping[str, float], rule: str) -> tuple[float, float]:
    """Both ends of what is claimed."""
    if rule == "order" or "unmeasured" in table:
        return -math.inf, math.inf
    if rule == "one-sided":
        if ("at_least" in numbers) == ("at_most" in numbers):
            raise UserError("the rule 'one-sided' needs 'at_least' or 'at_most'")
        return numbers.get("at_least", -math.inf), numbers.get("at_most", math.inf)
    claimed = table.get("claimed")
    ends = claimed if isinstance(claimed, list) else [claimed]
    if claimed is None or len(ends) not in (1, 2):
        raise UserError("it needs 'claimed': a number, or two for a range")
    low, high = _number(ends[0], "claimed"), _number(ends[-1], "claimed")
    if low > high:
        raise UserError("the range in 'claimed' starts above its end")
    if rule == "range" and len(ends) == 1:
        raise UserError("the rule 'range' needs two numbers in 'claimed'")
    if rule == "ratio" and low <= 0:
        raise UserError("a claimed ratio is above 0")
    return low, high


def _text(table: Mapping[str, Any], name: str, needed: bool = True) -> str:
    text = table.get(name, None if needed else "")
    if text is None:
        raise UserError(f"it has no '{name}'")
    if not isinstance(text, str) or (needed and not text.strip()) or len(text) > LONGEST:
        raise UserError(f"'{name}' is not a text of at most {LONGEST} characters")
    return text


def _one_of(table: Mapping[str, Any], name: str, valid: tuple[str, ...]) -> Any:
    """The word that stands there; empty if there is none."""
    word = table.get(name, "")
    if not isinstance(word, str):
        raise UserError(f"'{name}' is not a text")
    if word and word not in valid:
        raise unknown(name, word, valid)
    return word


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= LARGEST:
        raise UserError(f"'{name}' is not a number")
    return float(value)


def _selection(table: Any, name: str) -> Selection:
    if not isinstance(table, dict):
        raise UserError(f"'{name}' is not a table of axes")
    return {axis: _values(axis, value) for axis, value in table.items()}


def _values(axis: str, value: Any) -> tuple[Scalar, ...]:
    if axis not in AXES:
        raise unknown("axis", axis, AXES)
    values = value if isinstance(value, list) else [value]
    if not values or len(values) > MOST_VALUES:
        raise UserError(f"the axis '{axis}' has no value, or more than {MOST_VALUES}")
    for one in values:
        if not isinstance(one, (str, bool, int, float)) or (isinstance(one, str) and len(one) > LONGEST):
            raise UserError(f"a value of the axis '{axis}' is no text, number or truth value")
        if isinstance(one, (int, float)) and not abs(one) <= LARGEST:
            raise UserError(f"a value of the axis '{axis}' is not a number")
    if axis == "iterations" and (len(values) > 1 or isinstance(values[0], str)):
        raise UserError("'iterations' are given as one number: the fewest")
    if axis == "parameters" and (len(values) != 2 or isinstance(values[0], str) or isinstance(values[1], str)):
        raise UserError("'parameters' are given as two numbers: the fewest and the most")
    return tuple(values)
