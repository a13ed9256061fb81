from dataclasses import dataclass

import pytest

from metabench.algorithms.base import ALGORITHMS
from metabench.algorithms.maml import MAML
from metabench.correctness.settings import CONTRACT_SETTINGS, SETTINGS
from metabench.correctness.verification import Compliance, comply, verify
from metabench.engines.base import ENGINES, Engine
from metabench.models.base import MODELS
from metabench.tasks.base import TASKS


@pytest.fixture
def registered(monkeypatch):
    """Registers algorithms for one test."""
    ALGORITHMS.names()
    entries = dict(ALGORITHMS._entries)
    monkeypatch.setattr(ALGORITHMS, "_entries", entries)

    def register(name, algorithm):
        entries[name] = algorithm
        return name

    return register


@pytest.mark.parametrize("name", ALGORITHMS.names())
def test_every_algorithm_passes_the_gate_on_every_engine(name):
    verdicts = list(verify([name], ["loop", "vmap"], SETTINGS))
    assert len(verdicts) == 2 * len(SETTINGS)
    assert [v for v in verdicts if v.word == "incorrect"] == []
    for verdict in verdicts:
        mine = TASKS.get(verdict.setting.task).kind in ALGORITHMS.get(name).kinds
        assert verdict.word == ("ok" if mine else "unsupported"), verdict.reason


def test_settings_have_one_and_several_inner_steps_with_and_without_batch_norm():
    steps = {}
    for setting in SETTINGS:
        images = setting.task == "glyphs"
        model = MODELS.get(setting.model)((1, 28, 28) if images else (1,), 5 if images else 1)
        steps.setdefault((setting.task, model.batch_statistics), set()).add(setting.inner_steps)
    assert steps == {("sinusoid", False): {1, 5}, ("glyphs", True): {1, 5}, ("glyphs", False): {1, 5}}
    assert [s.task for s in CONTRACT_SETTINGS] == ["sinusoid", "glyphs"]


@dataclass(frozen=True)
class Raising(MAML):
    def objective(self, meta, anchor, task):
        raise ValueError("one line\nand another")


def test_an_algorithm_that_raises_is_incorrect_and_the_others_are_still_tried(registered):
    name = registered("raising", Raising)
    wrong, right = verify([name, "maml"], ["loop"], SETTINGS[:1])
    assert (wrong.implementation, wrong.word, wrong.gate) == ("raising/loop", "incorrect", None)
    assert wrong.reason == "it raises ValueError: one line"
    assert (right.implementation, right.word, right.reason) == ("maml/loop", "ok", "")


def test_a_wrong_direction_is_incorrect_and_says_by_how_much(registered):
    @dataclass(frozen=True)
    class Doubled(MAML):
        def task_direction(self, meta, task):
            direction, metrics = super().task_direction(meta, task)
            return {name: 2 * d for name, d in direction.items()}, metrics

    (verdict,) = verify([registered("doubled", Doubled)], ["loop"], SETTINGS[:1])
    assert verdict.word == "incorrect"
    assert verdict.gate.engine_error == 0
    assert 0.4 < verdict.gate.definition_error < 0.8  # half of the doubled direction is error
    assert "finite differences" in verdict.reason


def test_what_an_algorithm_is_not_for_is_unsupported_with_the_reason(registered):
    name = registered("images-only", type("ImagesOnly", (MAML,), {"kinds": ("classification",)}))
    (verdict,) = verify([name], ["loop"], SETTINGS[:1])
    assert (verdict.word, verdict.gate) == ("unsupported", None)
    assert "not for regression" in verdict.reason
    (compliance,) = comply([name], CONTRACT_SETTINGS[:1])
    assert compliance.findings == ()
    assert compliance.summary == "unsupported: ImagesOnly is for classification tasks, not for regression"


def test_compliance_counts_its_clauses(registered):
    name = registered("restless", type("Restless", (MAML,), {"adapted_names": lambda self, meta: frozenset()}))
    (compliance,) = comply([name], CONTRACT_SETTINGS[:1])
    assert (compliance.kind, compliance.name, compliance.setting) == ("algorithm", name, "sinusoid, mlp-40x2")
    assert compliance.word == "incorrect"
    assert compliance.summary == "ok: 14, incorrect: 1, unsupported: 1 clauses"
    assert Compliance("model", "x", "y", (), "why").summary == "unsupported: why"


@pytest.mark.parametrize(
    ("changed", "word", "says"),
    [
        (lambda loss: loss.float(), "ok", ""),
        (lambda loss: 2 * loss, "incorrect", "the engine's direction is right, and the loss that it reports differs"),
    ],
)
def test_a_loss_that_differs_is_not_called_a_direction_that_differs(monkeypatch, changed, word, says):
    def build(algorithm):
        step = ENGINES.get("loop").build(algorithm)

        def changing(meta, episodes):
            direction, metrics = step(meta, episodes)
            return direction, {"loss": changed(metrics["loss"])}

        return changing

    ENGINES.names()
    monkeypatch.setitem(ENGINES._entries, "changing", Engine("for one test", build))
    (verdict,) = verify(["maml"], ["changing"], SETTINGS[:1])
    assert verdict.word == word and verdict.reason.startswith(says)
    assert verdict.gate.engine_error < 1e-12
