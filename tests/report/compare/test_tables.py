"""A comparison as tables and as JSON."""

import json

from metabench.report.compare.runs import compare
from metabench.report.compare.tables import comparison_document, comparison_json
from metabench.report.compare.thresholds import failures
from metabench.report.document import as_markdown, as_text
from metabench.text import strict_json
from runs import faster, run


def found(row):
    base, new = [], []
    for name, factor in (("maml", 1.0), ("anil", 2.0), ("fomaml", 0.5)):
        for number in range(8):
            made = row(0, algorithm=name) | {"round": number}
            base.append(made)
            new.append(faster(made, factor + 0.001 * (-1) ** number))
    base.append(row(algorithm="reptile"))
    new.append(row(0, "crashed", "a | b", algorithm="reptile"))
    new.append(row(inner_steps=7))
    return compare(run(base, "old", pairing="x"), run(new, "young", pairing="x", metabench={"commit": "b" * 40}))


def test_all_is_shown(row):
    comparison = found(row)
    failed = failures(comparison, 0.05)
    text = as_text(comparison_document(comparison, failed))
    lines = text.splitlines()
    assert lines[0] == "bbbbbbbb against aaaaaaaa"
    rows = [[part.strip() for part in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    verdicts = {line[0]: (line[4].split(" ")[0], line[-1]) for line in rows if len(line) == 8}
    assert verdicts["anil/vmap"] == ("2.000", "slower")
    assert verdicts["fomaml/vmap"][1] == "faster"
    assert verdicts["maml/vmap"][1] == "the same"
    assert next(line for line in lines if "times  " in line).split(maxsplit=1)[1] == "1 slower, 1 faster, 1 the same"
    assert [next(line for line in rows if "algorithm anil" in line)[i] for i in (0, 3)] == ["algorithm anil", "8"]
    for title in ("Above the threshold", "Statuses that differ", "Figures of one run alone"):
        assert title in lines
    assert "Test CPU, 2 cores, 8 GiB" in text
    assert "in pairs, one right after the other" in text
    assert "0 of 3 configurations changed, the others by not a byte" in text


def test_what_there_is_nothing_of_is_left_out(row):
    text = as_text(comparison_document(compare(run([row()]), run([row()]))))
    for title in ("Above the threshold", "Statuses that differ", "Figures of one run alone", "Memory"):
        assert title not in text.splitlines()
    assert "1 repetition of 1 configuration can call no difference of time; from 5 repetitions on" in text
    assert "cannot tell" in text


def test_markdown(row):
    comparison = found(row)
    text = as_markdown(comparison_document(comparison, failures(comparison, 0.05)))
    assert text.startswith("# bbbbbbbb against aaaaaaaa\n")
    assert "| anil/vmap " in text
    assert "*cannot tell*" in text
    assert "Times are of one meta-iteration (directions" not in text  # that is how to read a run


def test_an_end_that_is_not_known_is_null_in_json(row):
    (cell,) = json.loads(strict_json(comparison_json(compare(run([row()]), run([row()])), [])))["cells"]
    assert cell["time"]["ratio"] == {"value": 1.0, "low": 0.0, "high": None}


def test_json_holds_every_digit(row):
    comparison = found(row)
    made = json.loads(strict_json(comparison_json(comparison, failures(comparison, 0.05))))
    assert made["base"]["revision"] == "aaaaaaaa"
    by_name = {change["cell"]["algorithm"]: change for change in made["cells"]}
    (exact,) = (change.time.ratio.value for change in comparison.cells if change.cell["algorithm"] == "anil")
    assert by_name["anil"]["time"]["ratio"]["value"] == exact
    assert by_name["anil"]["time"]["base"]["low"] > 0
    assert by_name["anil"]["time"]["test"] == "means"  # eight rounds of three cells
    assert [failure["cell"]["algorithm"] for failure in made["failures"]] == ["anil"]
    sides = {(one["side"], one["cell"]["inner_steps"], one["cell"]["algorithm"]) for one in made["alone"]}
    assert sides == {("base", 1, "reptile"), ("new", 7, "maml")}
    assert [change["new"] for change in made["statuses"]] == ["crashed"]


def test_a_time_that_was_disturbed_bears_its_mark(row):
    base, new = row(), row()
    new["time"]["disturbed"] = {"reason": "others kept 3 cores busy", "factor": 4.0}
    text = as_text(comparison_document(compare(run([base]), run([new]))))
    line = next(line for line in text.splitlines() if line.startswith("│") and "ms" in line)
    assert [("(disturbed)" in part) for part in line.split("│")[3:5]] == [False, True]
    assert "results.csv says in its column disturbed" in " ".join(text.split())
    assert "(disturbed)" not in as_text(comparison_document(compare(run([base]), run([base]))))
