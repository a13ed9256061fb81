"""What the comparison of documents lets pass, and what not."""

import pytest

from alike import about, differences

TABLE = """\
| engine   | step time              | peak    | tasks |
|----------|------------------------|---------|-------|
| loop     | 12.35 ms [12.30, 12.4] | 195 KiB | 600   |
| jax-2    | 1.5e-03 ± 2e-05        | 0.5     | 25    |
"""


def changed(*changes):
    text = TABLE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    "other",
    [
        TABLE,
        changed(("12.35 ms", "12.36 ms")),
        changed(("[12.30,", "[12.3,")),
        changed(("12.4]", "12.351]")),
        changed(("1.5e-03", "1.6e-03")),
        changed(("step time    ", "step time"), ("|--------------", "|----------")),
    ],
)
def test_figures_that_differ_in_the_last_digit_are_alike(other):
    assert differences(other, TABLE) == differences(TABLE, other) == []


@pytest.mark.parametrize(
    "other",
    [
        changed(("12.35 ms", "12.37 ms")),
        changed(("12.35 ms", "-12.35 ms")),
        changed(("1.5e-03", "1.5e-04")),
        changed(("600", "601")),
        changed(("jax-2", "jax-3")),
        changed(("loop", "vmap")),
        changed((" ms", " s")),
        changed(("0.5 ", "–   ")),
    ],
)
def test_all_else_is_a_difference_and_names_its_line(other):
    (difference,) = differences(other, TABLE)
    assert difference.startswith("line 3: " if other.splitlines()[3] == TABLE.splitlines()[3] else "line 4: ")
    assert len(differences(TABLE, other)) == 1


def test_a_line_more_is_a_difference():
    assert differences(TABLE + "more\n", TABLE) == ["5 lines, where 4 are expected"]


def test_floats_at_any_depth_are_equal_to_rounding_and_all_else_exactly():
    row = {"value": 0.25, "steps": [{"step": 1, "error": 3e-16}], "name": "maml"}
    assert about(row) == {"value": 0.25 + 1e-9, "steps": [{"step": 1, "error": 5e-16}], "name": "maml"}
    for wrong in ({"value": 0.2501}, {"steps": [{"step": 2, "error": 3e-16}]}, {"name": "anil"}, {"more": 1}):
        assert row | wrong != about(row)
