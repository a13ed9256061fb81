"""The public names as a program uses them; only the type checker reads this file."""

from pathlib import Path
from typing import Any, assert_type

import pandas as pd

import metabench as mb
from metabench.api.display import ShownFigure, ShownTable

results = mb.run({"algorithm": ["maml", "fomaml"], "task": "sinusoid"}, rounds=3, time_budget_s=0.5, device="cpu")
assert_type(results, mb.Results)
assert_type(mb.run("smoke", Path("runs/a"), set={"inner_steps": [1, 5]}, resume=True, progress=False), mb.Results)
assert_type(mb.load("runs/a"), mb.Results)
assert_type(mb.load([Path("runs/a"), "runs/b"]), mb.Results)
assert_type(results.frame("configuration"), pd.DataFrame)
assert_type(results.table("Growth"), ShownTable)
assert_type(results.figure("growth"), ShownFigure)
assert_type(results.figure("growth").spec, dict[str, Any])
assert_type(results.report("out"), Path)
assert_type(mb.advise("maml", engines=["loop"], inner_steps=5).fastest, str | None)
assert_type(mb.verify("maml", "vmap").passed, bool)
assert_type(mb.time("my.py:step"), mb.Timed)
assert_type([check.figure for check in mb.verify(models="mlp-40x2")], list[float])
mb.run("smoke", round=3)  # type: ignore[call-arg]
results.frame("configurations")  # type: ignore[arg-type]
