"""What is assumed of machines: every figure has a source, and every mistake is one sentence."""

import pytest

from metabench.errors import UserError
from metabench.forecast.hardware import BUILTIN, Hardware, find_hardware, read_hardware


def test_what_comes_along_is_complete():
    for machine in read_hardware(BUILTIN).values():
        assert {"name", "title", *machine.assumed} == set(Hardware.__struct_fields__)
        assert all(figure.source and figure.low <= figure.high for figure in machine.assumed.values())
        assert len(set(machine.choices("float32"))) == 32


def test_choices_are_the_ends_and_links_go_together(hardware_file):
    toy = find_hardware(str(hardware_file(inside_latency_s=[1e-6, 2e-6], inside_bandwidth=[1e9, 4e9])))
    found = toy.choices("float32")
    assert {rates.arithmetic for rates in found} == {1e11, 5e11}
    assert {(rates.inside.latency_s, rates.inside.bandwidth) for rates in found} == {(1e-6, 4e9), (2e-6, 1e9)}
    assert toy.has_peak("float32") and not toy.has_peak("bfloat16")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"call_s": None}, "it has no 'call_s'"),
        ({"cal_s": 1.0}, "unknown quantity 'cal_s': did you mean 'call_s'?"),
        ({"call_s": -1}, "'call_s.value': expected a number > 0.0"),
        ({"call_s": "nan"}, "'call_s.value': expected a number > 0.0"),
        ({"call_s": [2, 1]}, "'call_s': the range in 'value' starts above its end"),
        ({"call_s": [1, 2, 3]}, "'call_s.value': expected a list of length <= 2"),
        ({"call_s": "true"}, "'call_s.value': expected a number or a list, got true or false"),
        ({"share_of_peak": 1.5}, "'share_of_peak.value': expected a number <= 1.0"),
        ({"share_of_peak": [0.1, 1.5]}, "'share_of_peak.value[1]': expected a number <= 1.0"),
        ({"memory": [1, 2]}, "'memory.value': expected a number, got a list"),
        ({"devices_per_node": 2.5}, "'devices_per_node.value': expected a whole number, got a number"),
    ],
)
def test_mistakes_are_named(hardware_file, changes, says):
    with pytest.raises(UserError, match="toy") as caught:
        find_hardware(str(hardware_file(**changes)))
    assert says in str(caught.value)


def test_a_figure_needs_a_source_and_nothing_else(hardware_file):
    file = hardware_file()
    text = file.read_text()
    for given, said in (
        ('wait = { value = 0, source = " " }', "'wait.source'"),
        ("wait = { value = 0 }", "'wait': it has no 'source'"),
        ('wait = { value = 0, source = "x", "\\u001b[2J" = 1 }', "'wait': it has an unknown field '\\x1b[2J'"),
        ("wait = 3", "'wait': expected a table, got a whole number"),
    ):
        file.write_text(text.replace('wait = { value = 0, source = "test" }', given))
        with pytest.raises(UserError) as caught:
            find_hardware(str(file))
        assert said in str(caught.value) and str(caught.value).isprintable()


def test_a_name_or_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="unknown hardware 'h20': did you mean 'h200'"):
        find_hardware("h20")
    with pytest.raises(UserError, match="there is no hardware file"):
        find_hardware(str(tmp_path / "none.toml"))
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(UserError, match="describes 0 machines"):
        find_hardware(str(tmp_path / "empty.toml"))
    (tmp_path / "broken.toml").write_text("[")
    with pytest.raises(UserError, match="is not valid TOML"):
        find_hardware(str(tmp_path / "broken.toml"))
    (tmp_path / "flat.toml").write_text("h200 = 1")
    with pytest.raises(UserError, match="h200: it is not a table"):
        find_hardware(str(tmp_path / "flat.toml"))
