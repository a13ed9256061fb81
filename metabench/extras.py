"""How what is optional is installed: the versions of the extras in pyproject.toml, as commands that work anywhere."""

INSTALL: dict[str, str] = {
    "higher": "pip install higher==0.2.1",
    "jax": "pip install jax",
    # The library's C files were written for Python 3.10 (learnables/learn2learn#413); asked for `build_ext`, its own
    # set-up writes them anew. Dependencies that its import does not need are left out: they are large and old.
    "learn2learn": (
        "pip install gym==0.26.2 requests tqdm, then pip install --no-deps --use-pep517 "
        "--config-settings=--build-option=build_ext learn2learn==0.2.0"
    ),
    "pytest-benchmark": "pip install pytest-benchmark",
    "ray": "pip install 'ray>=2.40'",
    "search": "pip install 'optuna>=5'",
    "slurm": "pip install 'submitit>=1.5'",
    "torchopt": "pip install torchopt==0.7.3",
}
"""The command by what it makes possible. It names the libraries themselves, so that it is true of a clone and of a
wheel alike."""
