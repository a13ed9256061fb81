"""What is published of the records is what they are, and what the committed runs hold."""

import json

import jsonschema
import pytest

from places import RESULTS, ROOT
from write_reference import files, schemas


def test_what_is_published_is_up_to_date():
    for file, text in files().items():
        assert file.read_text(encoding="utf-8") == text, f"run `make docs`: {file.relative_to(ROOT)} is old"


@pytest.mark.parametrize("run", sorted(RESULTS.glob("*/*/measurements.jsonl")), ids=lambda file: file.parent.name)
def test_committed_runs_are_as_the_schemas_say(run):
    rows = jsonschema.Draft202012Validator(schemas()["measurement"])
    for line in run.read_text(encoding="utf-8").splitlines()[:5]:
        rows.validate(json.loads(line))
    environment = json.loads((run.parent / "environment.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schemas()["environment"]).validate(environment)


def test_a_schema_refuses_what_a_reader_refuses():
    rows = jsonschema.Draft202012Validator(schemas()["measurement"])
    assert not rows.is_valid({"id": "x", "round": -1, "status": "ok", "cell": {"algorithm": "a", "task": "t"}})
    assert not rows.is_valid({"id": "x", "round": 0, "status": "fine", "cell": {"algorithm": "a", "task": "t"}})
    assert rows.is_valid({"id": "x", "round": 0, "status": "ok", "cell": {"algorithm": "a", "task": "t"}})
