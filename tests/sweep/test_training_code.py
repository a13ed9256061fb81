"""The digest of the code that trains."""

from metabench.sweep import training_code


def test_the_digest_of_the_code_is_that_of_what_trains(tmp_path, monkeypatch):
    """A report or a sweep's estimate may change while a training waits; an algorithm or a kernel may not."""
    train = ["training.py", "algorithms/maml.py", "engines/native/step.cpp"]
    others = ["report/tables.py", "sweep/estimate.py"]
    for name in (*train, *others):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("one")
    monkeypatch.setattr(training_code, "COMPUTES", ("training.py", "algorithms", "engines"))
    monkeypatch.setattr(training_code, "CODE", tmp_path)
    digests = [training_code.digest_of_code()]
    for name in (*train, *others):
        (tmp_path / name).write_text("another")
        digests.append(training_code.digest_of_code())
    assert len(set(digests[:4])) == 4 and set(digests[3:]) == {digests[3]}
