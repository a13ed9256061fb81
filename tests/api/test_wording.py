"""Errors that a program meets name arguments, and those of a command name options."""

import pytest
from typer.main import get_command

from metabench.api.wording import ARGUMENTS, in_python
from metabench.cli.main import app
from metabench.errors import UserError
from metabench.tasks.download import DataMissing


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("add --resume, or choose another --out", "add resume=True, or choose another out"),
        ("the same file, --set and --only", "the same file, set and only"),
        ("give --data-dir or METABENCH_DATA", "give data_dir or METABENCH_DATA"),
        ("'runs/--out' and '--output' stay as they are", "'runs/--out' and '--output' stay as they are"),
    ],
)
def test_options_are_named_as_arguments(said, meant):
    with pytest.raises(UserError) as caught, in_python():
        raise UserError(said)
    assert str(caught.value) == meant


def test_an_error_stays_of_its_kind_and_others_pass():
    with pytest.raises(DataMissing), in_python():
        raise DataMissing("give --data-dir")
    with pytest.raises(ValueError, match="--out"), in_python():
        raise ValueError("--out")


def test_each_option_is_one_of_the_command():
    run = get_command(app).commands["run"]
    options = {option for parameter in run.params for option in parameter.opts}
    assert set(ARGUMENTS) <= options
