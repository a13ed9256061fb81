"""Sweeps on class folders of a user's own images."""

import json

import numpy as np
import pytest
from PIL import Image

from metabench.errors import UserError
from metabench.sweep.estimate import evaluation_seconds, expected, memory_bytes
from metabench.sweep.spec import Settings, parse_sweep
from pictures import write_pictures

SWEEP = """
[run]
noise_pairs = 0
curve_points = 1
[[grid]]
task = "images"
path = ["birds", "fish"]
algorithm = "maml"
measure = ["memory", "quality"]
model = "conv2-8"
ways = 2
query = 2
meta_batch = 2
inner_steps = 1
iterations = 2
eval_tasks = 3
threads = 1
"""


def cells(**axes):
    grid = {"algorithm": "maml", "task": "images", **axes}
    return parse_sweep("one", {"grid": [grid]}, "", 1).cells


def test_tasks_that_take_no_path_have_none():
    found = cells(task=["images", "omniglot"], path=["birds", "fish"], image_size=84)
    assert [(cell.task, cell.path, cell.image_size) for cell in found] == [
        ("images", "birds", 84),
        ("images", "fish", 84),
        ("omniglot", "", 0),
    ]
    assert len({cell.seed_for("train") for cell in found}) == len({cell.setting for cell in found}) == 3


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"task": "omniglot", "path": "birds"}, "axis 'path' is for the tasks .*images.*, not for omniglot"),
        ({"path": "birds", "split": "group"}, "unknown split 'group': did you mean 'groups'"),
        ({"path": "birds", "split": 3}, "axis 'split' takes names, not 3"),
        ({"path": "x" * 201}, "axis 'path' takes"),
        ({"path": "birds", "image_size": 1025}, "axis 'image_size' takes whole numbers from 0 to 1024, not 1025"),
        ({"path": "birds", "image_size": -1}, "axis 'image_size' takes whole numbers from 0 to 1024, not -1"),
    ],
)
def test_what_a_sweep_may_not_say_of_its_data(axes, message):
    with pytest.raises(UserError, match=message):
        cells(**axes)


def test_a_guess_knows_how_large_the_images_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "birds", classes=3, each=1, side=28)
    small, large = cells(path="birds", model="conv4-16", image_size=[28, 84])
    assert memory_bytes(large) > 6 * memory_bytes(small)
    few, many = cells(path="birds", model="conv4-16", eval_tasks=[10, 600], measure="quality")
    settings = Settings(curve_points=10)
    more = expected(many, settings).work - expected(few, settings).work
    assert more == pytest.approx((590 + 11 * 90) * evaluation_seconds(few))  # validation takes no more than testing


def test_two_folders_stand_apart_in_all_that_is_reported(metabench, tmp_path):
    for seed, name in enumerate(("birds", "fish")):
        write_pictures(tmp_path / name, classes=12, each=3, side=8, seed=seed)
    (tmp_path / "mine.toml").write_text(SWEEP)
    done = metabench("run", "mine.toml", "--out", "run")
    rows = _rows(tmp_path)
    assert [row["status"] for row in rows] == ["ok"] * 2, done.stderr
    hashes = {row["cell"]["path"]: row["data"]["content_hash"] for row in rows}
    assert len(set(hashes.values())) == 2
    assert {row["data"]["name"] for row in rows} == {"birds", "fish"}
    assert str(tmp_path) not in (tmp_path / "run" / "measurements.jsonl").read_text()
    report = (tmp_path / "run" / "tables.md").read_text()
    for name in hashes:
        assert f"Cost and quality: {name} (task images), 2-way 1-shot" in report


def test_a_folder_that_has_changed_is_noticed_when_a_run_is_resumed(metabench, tmp_path):
    """The run was stopped before its second row."""
    write_pictures(tmp_path / "birds", classes=12, each=3, side=8)
    sweep = SWEEP.replace('["birds", "fish"]', '"birds"').replace(', "quality"]', "]")
    (tmp_path / "mine.toml").write_text(sweep.replace('"maml"', '["maml", "fomaml"]'))
    metabench("run", "mine.toml", "--out", "run")
    rows = tmp_path / "run" / "measurements.jsonl"
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:1]))
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(tmp_path / "birds" / "class00" / "000.png")
    metabench("run", "mine.toml", "--out", "run", "--resume")
    first, last = _rows(tmp_path)
    assert first["status"] == "ok" and last["status"] == "incorrect" and last["memory"] is None
    assert last["reason"].startswith("the data of images birds changed during the run")
    assert last["reason"].endswith("): start a new run")


def _rows(folder):
    return [json.loads(line) for line in (folder / "run" / "measurements.jsonl").read_text().splitlines()]
