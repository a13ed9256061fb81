"""The table of `metabench verify`."""

from collections import Counter
from collections.abc import Iterable

from metabench.cli.growing_table import GrowingTable
from metabench.correctness.outcome import Word
from metabench.correctness.settings import SETTINGS
from metabench.correctness.verification import CONTRACT, HEADERS, Checked, Chosen, lines, words_of

*BEFORE, VERDICT = HEADERS
WITH_SECONDS = (*BEFORE, "seconds", VERDICT)


def widths(chosen: Chosen) -> tuple[int, ...]:
    """The characters that the columns need, but for the last."""
    tried = [
        f"{name}{what}"
        for name in chosen.algorithms
        for what in (CONTRACT, *(f"/{engine}" for engine in chosen.engines))
    ]
    named = (("model", chosen.models), ("task", chosen.tasks))
    tried += [f"{kind} {name}{CONTRACT}" for kind, names in named for name in names]
    return max(map(len, tried)), max(len(str(setting)) for setting in SETTINGS), 0, 0, 0


def show(found: Iterable[Checked], table: GrowingTable) -> Counter[Word]:
    """End the row of each check, which the checks begin, and add one for each clause that is broken.

    Counts how directions and clauses ended.
    """
    words: Counter[Word] = Counter()
    for check in found:
        (_, _, *errors, verdict), *broken = lines(check)
        table.end(*errors, f"{table.seconds:.1f}", verdict)
        for *cells, why in broken:
            table.end(*cells, "", why)
        words += words_of(check)
    return words
