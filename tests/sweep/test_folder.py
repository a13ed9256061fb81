import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import structs

from metabench.errors import UserError
from metabench.record.cell import Cell
from metabench.record.measurement import Measurement, Noise
from metabench.sweep.folder import BROKEN, open_run_folder
from runs import made

CELL = {"algorithm": "maml", "engine": "loop", "task": "sinusoid", "model": "mlp-40x2", "inner_lr": 0.1, "measure": []}
CELL |= dict.fromkeys(("inner_steps", "meta_batch", "ways", "shots", "query", "iterations"), 1)


def measurement(seed: int) -> Measurement:
    cell = CELL | {"seed": seed}
    return made(Cell.from_json(cell))


def seeds(rows) -> list[int]:
    return [row.cell.seed for row in rows]


def test_rows_come_back_as_written(tmp_path: Path):
    with open_run_folder(tmp_path / "a" / "run") as folder:
        assert folder.recover() == ([], [])
        folder.append(measurement(1))
        folder.append(measurement(2))
        before = folder.measurements.read_bytes()
        rows, said = folder.recover()
        assert (seeds(rows), said) == ([1, 2], [])
        assert folder.measurements.read_bytes() == before


def test_a_torn_last_row_is_moved_away_and_nothing_else(tmp_path: Path):
    with open_run_folder(tmp_path) as folder:
        folder.append(measurement(1))
        whole = folder.measurements.read_bytes()
        folder.measurements.write_bytes(whole + whole[:25])
        rows, said = folder.recover()
        assert seeds(rows) == [1]
        assert folder.measurements.read_bytes() == whole
        assert (tmp_path / BROKEN).read_bytes() == whole[:25] + b"\n"
        assert said == [
            "Line 2 of measurements.jsonl is left out: it is unfinished, as a kill leaves it.",
            "What was left out stands in broken-lines.txt, and is measured again.",
        ]


def test_a_torn_row_with_nothing_before_it(tmp_path: Path):
    with open_run_folder(tmp_path) as folder:
        folder.measurements.write_text('{"schema"')
        assert folder.recover()[0] == []
        assert folder.measurements.read_bytes() == b""


def test_a_last_row_that_lacks_its_line_break_alone_is_kept(tmp_path: Path):
    with open_run_folder(tmp_path) as folder:
        folder.append(measurement(1))
        whole = folder.measurements.read_bytes()
        folder.measurements.write_bytes(whole[:-1])
        assert folder.recover()[1] == []
        folder.append(measurement(2))
        assert seeds(folder.recover()[0]) == [1, 2]


def test_broken_rows_are_kept_in_a_file_of_their_own(tmp_path: Path):
    with open_run_folder(tmp_path) as folder:
        for seed in range(5):
            folder.append(measurement(seed))
        lines = folder.measurements.read_bytes().splitlines(keepends=True)
        broken = [b"\xff" + lines[0], lines[3].replace(b'"ok"', b'"ko"')]
        folder.measurements.write_bytes(b"".join([broken[0], *lines[1:3], broken[1], lines[4]]))
        rows, said = folder.recover()
        assert seeds(rows) == [1, 2, 4]
        assert [sentence[:36] for sentence in said[:2]] == [f"Line {n} of measurements.jsonl is left" for n in (1, 4)]
        assert folder.measurements.read_bytes() == b"".join([*lines[1:3], lines[4]])
        folder.append(measurement(7))
        folder.measurements.write_bytes(folder.measurements.read_bytes() + b"more\n")
        assert seeds(folder.recover()[0]) == [1, 2, 4, 7]
        assert (tmp_path / BROKEN).read_bytes() == b"".join([*broken, b"more\n"])  # added to, never overwritten


def test_a_newer_schema_is_refused(tmp_path: Path):
    with open_run_folder(tmp_path) as folder:
        folder.measurements.write_text(json.dumps({"schema": 99}) + "\n")
        with pytest.raises(UserError, match="newer metabench"):
            folder.recover()
        assert folder.measurements.read_text() == '{"schema": 99}\n'


def test_two_writers_are_one_too_many_and_the_first_is_named(tmp_path: Path):
    code = f"""
from pathlib import Path
from metabench.sweep.folder import open_run_folder
with open_run_folder(Path({str(tmp_path)!r})):
    print("mine", flush=True)
    input()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"mine\n"
        named = rf"is writing to '.*' \(process {other.pid} on {socket.gethostname()}, since \d+-\d+-.* UTC\): wait, or"
        with pytest.raises(UserError, match=named), open_run_folder(tmp_path):
            pass
        other.communicate(b"\n")
    with open_run_folder(tmp_path) as folder:
        folder.append(measurement(1))
    assert sorted(file.name for file in tmp_path.iterdir()) == [".lock", "measurements.jsonl"]


@pytest.mark.parametrize("owner", ["", "{", "[]", '{"pid": "rm", "host": "h", "since": "s"}', '{"pid": 1}'])
def test_an_owner_that_cannot_be_read_is_not_named(tmp_path: Path, owner: str):
    with open_run_folder(tmp_path):
        (tmp_path / ".owner.json").write_text(owner)
        with pytest.raises(UserError, match=r"is writing to '[^']*': wait"), open_run_folder(tmp_path):
            pass


def test_a_row_takes_the_place_of_that_of_its_configuration_and_repetition(tmp_path: Path, room):
    with open_run_folder(tmp_path) as folder:
        for number in range(3):
            folder.append(structs.replace(measurement(1), round=number))
        folder.append(structs.replace(measurement(1), round=1, noise=Noise(1, "a")))
        before = folder.measurements.read_bytes()
        again = structs.replace(measurement(1), round=1, seconds=7.0)
        with room(20), pytest.raises(UserError, match="cannot write to '.*measurements.jsonl'"):
            folder.replace(again)
        assert folder.measurements.read_bytes() == before
        folder.replace(again)
        rows, said = folder.recover()
        assert [(row.round, row.seconds, bool(row.noise)) for row in rows] == [
            *((0, 1.0, False), (1, 7.0, False), (2, 1.0, False), (1, 1.0, True))
        ]
        assert said == []


def test_a_killed_owner_does_not_hold_the_folder(tmp_path: Path):
    (tmp_path / ".owner.json").write_text(json.dumps({"pid": os.getpid(), "host": "h", "since": "s"}))
    with open_run_folder(tmp_path) as folder:
        folder.append(measurement(1))


def test_a_full_disk_is_one_sentence_and_leaves_whole_rows(tmp_path: Path, room):
    with open_run_folder(tmp_path) as folder:
        folder.append(measurement(1))
        before = folder.measurements.read_bytes()
        with room(len(before) + 20), pytest.raises(UserError, match="cannot write to '.*measurements.jsonl'"):
            folder.append(measurement(2))
        assert folder.measurements.read_bytes() == before
        folder.append(measurement(2))
        assert seeds(folder.recover()[0]) == [1, 2]


def test_a_tiny_disk_that_is_really_full(tmp_path: Path):
    """Mounted where the test alone sees it: 16 KiB, of which the lock, its owner and a row take some."""
    script = """
import sys
from pathlib import Path
from test_folder import *
with open_run_folder(Path(sys.argv[1])) as folder:
    try:
        for seed in range(1000):
            folder.append(measurement(seed))
    except UserError as error:
        print(error)
    rows, said = folder.recover()
    print(seeds(rows) == list(range(seed)), seed > 5, said)
"""
    (tmp_path / "full.py").write_text(script)
    mounting = 'mount -t tmpfs -o size=16k none "$1" && cd "$3" && PYTHONPATH="$3:$4:$4/tests" "$0" "$2/full.py" "$1"'
    (tmp_path / "disk").mkdir()
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounting, sys.executable]
    places = [tmp_path / "disk", tmp_path, Path(__file__).parent, Path(__file__).parents[2]]
    probe = [*alone[:4], "mount", "-t", "tmpfs", "none", str(places[0])]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("this system lets no user mount a disk of their own")
    done = subprocess.run([*alone, *map(str, places)], capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        f"cannot write to '{tmp_path}/disk/measurements.jsonl': No space left on device",
        "True True []",
    ], done.stderr


def test_no_folder_can_be_made_below_a_file(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to"), open_run_folder(tmp_path / "file" / "run"):
        pass


def test_not_a_number_is_never_written(tmp_path: Path):
    with open_run_folder(tmp_path) as folder, pytest.raises(ValueError, match="JSON"):
        folder.append(structs.replace(measurement(1), seconds=float("nan")))
