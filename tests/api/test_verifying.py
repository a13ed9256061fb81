"""Proofs from Python: objects that say what was tried, on what, and what came of it."""

import pytest
import torch

import metabench as mb
from metabench.correctness import verification
from metabench.correctness.outcome import Finding
from metabench.correctness.verification import Compliance


@pytest.fixture
def quick(monkeypatch):
    """The smallest setting alone."""
    monkeypatch.setattr(verification, "SETTINGS", verification.SETTINGS[:1])
    monkeypatch.setattr(verification, "CONTRACT_SETTINGS", verification.SETTINGS[:1])


def test_directions_and_contracts_are_checks(quick):
    torch.set_num_threads(2)
    found = mb.verify("fomaml", ["loop", "vmap"], progress=False)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    directions = [check for check in found if check.clause == "direction"]
    assert [(check.name, check.word) for check in directions] == [("fomaml/loop", "ok"), ("fomaml/vmap", "ok")]
    assert directions[0].figure == 0 and 0 <= directions[1].figure < 1e-12
    assert found.passed and found.incorrect == () and len(found) > 10 and found[0] is found.checks[0]
    frame = found.frame()
    assert list(frame.columns) == ["name", "setting", "clause", "word", "figure", "reason"]
    assert list(frame["clause"]) == [check.clause for check in found]
    assert "All " in repr(found) and "fomaml/vmap" in found._repr_html_()


def test_a_class_is_named_by_itself(quick, monkeypatch):
    import sys

    from metabench.algorithms.fomaml import FOMAML

    live = type("Live", (FOMAML,), {"__module__": "__main__", "__doc__": "A class of a notebook."})
    monkeypatch.setattr(sys.modules["__main__"], "Live", live, raising=False)
    found = mb.verify(live, "loop", progress=False)
    assert found[0].name == "__main__:Live/loop" and found.passed


def test_models_and_task_distributions_have_contracts():
    found = mb.verify(models="mlp-40x2", tasks="sinusoid", progress=False)
    assert {check.name for check in found} == {"mlp-40x2", "sinusoid"} and found.passed


def test_what_is_wrong_is_a_check_and_not_an_exception(quick, monkeypatch):
    findings = (Finding("shapes", "ok", 0.0, ""), Finding("seeded", "incorrect", 0.5, "it draws <others>"))
    monkeypatch.setattr(
        verification, "_comply_tasks", lambda name, *_: Compliance("task", name, "regression", findings)
    )
    found = mb.verify(tasks=["sinusoid"], progress=False)
    assert not found.passed
    (wrong,) = found.incorrect
    assert (wrong.clause, wrong.word, wrong.figure, wrong.reason) == ("seeded", "incorrect", 0.5, "it draws <others>")
    assert "1 of 2 checks failed" in repr(found) and "&lt;others&gt;" in found._repr_html_()
    assert found.table().frame()["verdict"].iloc[-1] == "incorrect: it draws <others>"


def test_a_name_that_is_not_there_is_one_sentence():
    with pytest.raises(mb.UserError, match="unknown algorithm 'mmal': did you mean 'maml'?"):
        mb.verify("mmal")
    with pytest.raises(mb.UserError, match="unknown engine 'vmpa': did you mean 'vmap'?"):
        mb.verify("maml", ["vmpa"])


def test_a_folder_of_data_needs_a_task_distribution_that_takes_it(tmp_path):
    with pytest.raises(mb.UserError, match="axis 'path' is for the tasks .*images.*: name one of them"):
        mb.verify("maml", path=str(tmp_path))
