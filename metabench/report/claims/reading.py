"""Reads a file of claims: TOML of bounded size."""

from pathlib import Path
from typing import Any

import msgspec

from metabench.errors import UserError, unknown
from metabench.files import DATA, MEBIBYTE, as_struct, read_toml, said_of
from metabench.record.cell import AXES as CELL_AXES
from metabench.report.claims.claim import Claim, Values

MOST_BYTES = MEBIBYTE // 4
MOST_CLAIMS = 1000
AXES = frozenset(("parameters", *CELL_AXES)) - {"seed", "machine"}
BUILTIN = DATA / "claims.toml"
"""The claims that come with metabench."""


def read_claims(file: Path) -> tuple[Claim, ...]:
    """The claims of a TOML file, in its order. Raises `UserError`, which names the claim that is wrong."""
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


def _claim(table: dict[str, Any]) -> Claim:
    for name in ("of", "against", "setting"):
        if isinstance(table.get(name), dict):
            table[name] = {axis: _values(axis, value) for axis, value in table[name].items()}
    if "claimed" in table:
        table["claimed"] = _listed(table["claimed"])
    return as_struct(table, Claim, "name")


def _values(axis: str, value: Any) -> Values:
    if axis not in AXES:
        raise unknown("axis", axis, AXES)
    try:
        values = msgspec.convert(_listed(value), Values)
    except msgspec.ValidationError as error:
        raise UserError(f"a value of the axis '{axis}': {said_of(error)}") from None
    words = any(isinstance(one, str) for one in values)
    if axis == "iterations" and (len(values) > 1 or words):
        raise UserError("'iterations' are given as one number: the fewest")
    if axis == "parameters" and (len(values) != 2 or words):
        raise UserError("'parameters' are given as two numbers: the fewest and the most")
    return values


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
