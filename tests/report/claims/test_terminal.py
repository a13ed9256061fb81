"""Claims on a terminal: decided ones as a table that fits, the others counted by reason."""

import re

import pytest

from metabench.report.claims.judging import judge_claims
from metabench.report.claims.reading import BUILTIN, read_claims
from metabench.report.claims.tables import VERDICTS, claims_document
from metabench.report.claims.terminal import claims_text
from metabench.report.claims.undecided import KINDS, kind_of
from metabench.report.results import read_run
from places import RESULTS

RUNS = ("epyc-2core/algorithms", "epyc-2core/sinusoid", "epyc-avx2-2core/memory", "h100-16core/gpu-large")


@pytest.fixture(scope="module")
def found():
    return judge_claims(read_claims(BUILTIN), [read_run(RESULTS / name) for name in RUNS])


def rows_of(text: str, first: str, columns: int) -> list[str]:
    """The first cells of the table whose header begins so, a row a cell: its other lines are indented or wrapped."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(first))
    assert len(re.split("  +", lines[start].strip())) == columns
    width = len(lines[start + 1].split()[0])
    end = next((i for i in range(start + 2, len(lines)) if not lines[i]), len(lines))
    return [line[:width].strip() for line in lines[start + 2 : end]]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("full", [False, True])
def test_it_fits_the_terminal(found, width, full):
    assert max(map(len, claims_text(found, width, full).splitlines())) <= width


def test_what_is_decided_is_shown_and_the_rest_is_counted_by_reason(found):
    text = claims_text(found, 400, full=False)
    decided = [judged for judged in found if judged.verdict != "cannot tell"]
    shown = rows_of(text, "claim", 4)
    assert sorted(shown) == sorted(judged.claim.says for judged in decided)
    verdicts = [next(j.verdict for j in found if j.claim.says == says) for says in shown]
    assert verdicts == sorted(verdicts, key=VERDICTS.index)
    counts = [int(number) for number in rows_of(text, "cannot tell", 2)]
    assert sum(counts) == len(found) - len(decided)
    assert counts == sorted(counts, reverse=True)
    head = text.splitlines()[0]
    assert head.startswith(f"{len(found)} claims: ") and head.endswith(f" {sum(counts)} cannot be told.")


def test_all_are_shown_on_demand(found):
    shown = rows_of(claims_text(found, 2000, full=True), "claim", 4)
    assert sorted(shown) == sorted(judged.claim.says for judged in found)


def test_the_reasons_are_of_few_kinds(found):
    kinds = {kind for _, kind in KINDS}
    unknown = {judged.reason for judged in found if judged.verdict == "cannot tell"}
    assert {kind_of(reason) for reason in unknown} & kinds
    assert len({kind_of(reason) for reason in unknown} - kinds) <= 2
    assert kind_of("a fixed part may explain it") == "a fixed part may explain it"
    assert kind_of("not measured: ways 5, not 20") == "not measured in the source's setting"
    assert kind_of("not measured: the double backward is not timed apart").endswith("no figure of a run says it")
    assert kind_of("not measured").endswith("no figure of a run says it")
    assert kind_of("not reached in another setting: another model (a, not b)").startswith("not reached, in another")
    assert kind_of("not reached; repeated but for: a; b").endswith("in what no setting changes")
    assert kind_of("repeated but for: a; b").endswith("in what no setting changes")
    assert (
        kind_of("not reached; one training seed") == kind_of("one training seed") == "one training seed refutes nothing"
    )
    assert kind_of("trained for 2 500 of 60 000 iterations").startswith("measured in another setting")
    assert kind_of("measured on a processor, not on a GPU").startswith("the source had a GPU")
    assert kind_of("no GPU in this run").startswith("the source had a GPU")


def test_the_file_has_all_of_them_the_decided_first(found):
    decided, undecided = claims_document(found).sections
    counts, claims = decided.tables
    verdicts = [row[-1].partition(":")[0].partition(" (")[0] for row in claims.rows]
    assert len(verdicts) == len(found)
    assert verdicts == sorted(verdicts, key=VERDICTS.index)
    assert [int(row[-1]) for row in counts.rows] == [verdicts.count(verdict) for verdict in VERDICTS]
    assert all(int(scores) + int(costs) == int(both) for _, scores, costs, both in counts.rows)
    left = [row for row, verdict in zip(claims.rows, verdicts, strict=True) if verdict == "cannot tell"]
    (groups,) = undecided.tables
    assert sorted(", ".join(row[-1] for row in groups.rows).split(", ")) == sorted(row[0] for row in left)
    assert sum(int(row[2]) for row in groups.rows) == len(left)
    assert all(row[1] != "–" for row in groups.rows), "what would decide each of ours is said"
