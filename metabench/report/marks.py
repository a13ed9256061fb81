"""Marks beside the figures of tables, and what each means."""

from collections.abc import Mapping

from metabench.report.bundles import Bundle
from metabench.report.noise import DRIFTING, SAME
from metabench.statistics.intervals import NOISY_WIDTH

LETTER = r"\((?:[a-z]|\d+)\)"
"""Pattern of the mark of a figure whose row differs from the others; a note says in what."""
PARTIAL = " ‡"
DISTURBED = " (disturbed)"
"""Marks a time that other programs disturbed, and what it is divided by or divides."""
MARKS: Mapping[str, str] = {
    SAME: "≈ no difference that can be told: the interval holds 1 or is not known.",
    DRIFTING: f"↕ a time that rose or fell by more than {100 * NOISY_WIDTH:.0f} % while a process measured it; or a "
    "ratio that such a drift could explain.",
    PARTIAL: "‡ Some repetitions or seeds failed; the figure is of what was measured before: see the failures.",
    DISTURBED: "(disturbed): something other than the work, most likely other programs, decided on the time, when it "
    "was measured again, too; results.csv says in its column disturbed how that is known.",
}
"""What a mark means, in whatever table it stands."""


def disturbed_mark(*stood_on: Bundle | None) -> str:
    """The mark of a figure where a time that it stands on was disturbed; empty for all others."""
    return DISTURBED if any(bundle and bundle.disturbed for bundle in stood_on) else ""
