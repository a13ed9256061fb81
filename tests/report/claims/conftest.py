"""Claims in a few words, on runs in a few rows."""

from pathlib import Path

import pytest

from metabench.report.claims.judging import judge_claims
from metabench.report.claims.reading import read_claims


def toml(**names):
    """One claim as TOML."""
    whole = {"id": "one", "says": "It is so.", "source": "a paper", "mark": "V", **names}
    return "[[claim]]\n" + "".join(f"{name} = {written(value)}\n" for name, value in whole.items())


def written(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {written(one)}" for name, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


@pytest.fixture
def claim_of(tmp_path):
    """Reads one claim, from its names and values."""

    def read(**names):
        file = Path(tmp_path / "claims.toml")
        file.write_text(toml(**names), encoding="utf-8")
        (claim,) = read_claims(file)
        return claim

    return read


@pytest.fixture
def held(claim_of):
    """Holds one claim against runs."""

    def judge(runs, **names):
        (found,) = judge_claims([claim_of(**names)], runs)
        return found

    return judge
