"""The code that a training is computed by: where it has changed, what is kept of trainings counts no longer."""

import json
from hashlib import sha256
from pathlib import Path

import torch

from metabench import sources

CODE = Path(__file__).parents[1]
COMPUTES = (
    *("algorithms", "autodiff.py", "correctness", "engines", "evaluation.py", "models", "tasks", "tensors.py"),
    *("training.py", "record/cell.py"),
    *(f"sweep/{name}.py" for name in ("cell_tasks", "judging", "scoring", "workload")),
)
"""The parts of metabench that a training's numbers come from. What plans, reports or prints may change meanwhile."""
WRITTEN_IN = (".py", ".cpp", ".cu")


def code_facts() -> dict[str, str]:
    """What code a training depends on, as a checkpoint keeps it: `checkpoints.WORDS` has words for these."""
    return {
        "code": digest_of_code(),
        "sources": json.dumps(sources.digests()),
        "torch": str(torch.__version__),
    }


def digest_of_code() -> str:
    """SHA-256 of the sources that train: a commit does not say what has changed since."""
    digest = sha256()
    for file in sources_that_train(CODE):
        digest.update(f"{file.relative_to(CODE)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()


def sources_that_train(package: Path) -> list[Path]:
    """The files of `COMPUTES` in the package, in a fixed order."""
    found = (
        file
        for part in COMPUTES
        for file in ((package / part).rglob("*") if (package / part).is_dir() else [package / part])
    )
    return sorted(file for file in found if file.suffix in WRITTEN_IN)
