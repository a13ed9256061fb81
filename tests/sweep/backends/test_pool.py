"""How units are handed to nodes and taken back: nodes are stand-ins, and nothing is measured."""

import json
import re
from collections import deque
from contextlib import suppress
from threading import Event

import pytest
from msgspec import structs

from dispatch import rows_of, run_on
from listening import Silent
from metabench.errors import UserError
from metabench.machine.fingerprint import fingerprint
from metabench.progress import ConsoleProgress
from metabench.record.environment import Code
from metabench.record.reading import read_rows
from metabench.sweep.backends import pool
from metabench.sweep.backends.pool import BEGUN, Hello, Lost, Pool
from runs import made

SWEEP = """
[run]
noise_pairs = {pairs}
rounds = {rounds}
[[grid]]
task = "sinusoid"
algorithm = ["maml", "fomaml"]
inner_steps = {steps}
measure = {measure}
"""
STEP = {"median": 1.0, "low": 1.0, "high": 1.0, "iqr": 0.0, "n": 1, "block": 1, "samples": [1.0]}


def processor(summary):
    """The name of a processor, without its vector instructions, which not every machine has in its name."""
    return re.split(r" \(|,", summary, maxsplit=1)[0]


def text(steps="[1, 2, 3]", rounds=1, pairs=0, measure='["time"]'):
    return SWEEP.format(steps=steps, rounds=rounds, pairs=pairs, measure=measure)


HERE = fingerprint(1)


def machine(name="A"):
    return structs.replace(HERE, processor=structs.replace(HERE.processor, name=name))


def timed(job):
    time = {"step": STEP, "sampling": None, "compile_s": 0.0}
    return made(job.cell, job.round, "ok", "", time=time)


class Slot:
    """A node that says who it is, and then does what it is told by `does`, at once."""

    def __init__(self, name="A", does=timed, fits=lambda job: True, lasts=lambda seconds: True, hello=None):
        self.name, self.does, self.fits, self.lasts = name, does, fits, lasts
        self.replies = deque([hello or Hello(machine(name))])
        self.jobs, self.held = [], True

    def begin(self, job, work):
        assert not self.replies, "it does one thing at a time"
        self.jobs.append(job)
        self.replies.append(self.does(job))

    def poll(self):
        return self.replies.popleft() if self.replies else None


class Cluster:
    """Slots in the order in which they can be had."""

    name, remote, cores, wait_s = "fake", True, 1, 0.3

    def __init__(self, *slots):
        self.slots, self.left, self.refused = slots, deque(slots), []

    def open(self, wanted):
        return [self.left.popleft() for _ in range(max(0, min(wanted, len(self.left))))]

    def release(self, slot):
        assert slot.held
        slot.held = False

    @property
    def spent(self):
        return not self.left

    def refuse(self, slot):
        self.refused.append(slot)
        self.release(slot)

    def measure(self, work):
        yield from Pool(self, work).run()

    @property
    def holds(self):
        """Slots that were opened and not given back."""
        return [slot for slot in self.slots if slot.held and slot not in self.left]


class Clock:
    """Time passes while the pool sleeps, and at no other time: a busy machine changes nothing."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr(pool, "time", Clock())


def units(slot):
    """(round, inner steps) of what a slot measured, as it changes."""
    found = []
    for job in slot.jobs:
        unit = ("pair", job.noise.pair) if job.noise else (job.round, job.cell.inner_steps)
        found += [unit] if not found or found[-1] != unit else []
    return found


def test_what_is_compared_is_measured_on_one_node_one_after_the_other(tmp_path):
    cluster = Cluster(Slot(), Slot())
    rows = run_on(cluster, text(rounds=2, pairs=2), tmp_path)
    assert len(rows) == 2 * 3 * 2 + 4
    did = [units(slot) for slot in cluster.slots]
    assert len(did[0] + did[1]) == len(set(did[0] + did[1])) == 2 * 3 + 2  # no unit in two parts
    assert did[0] and did[1]
    assert cluster.holds == []
    assert [row["reference"]["side"] for row in rows if "reference" in row and row["reference"]["pair"] == 0] == [*"ab"]
    assert read_rows(tmp_path / "measurements.jsonl")[1] == []


def test_each_row_says_on_which_machine_and_rounds_stay_on_machines_of_one_kind(tmp_path):
    cluster = Cluster(Slot("A"), Slot("B"), Slot("A"))
    rows = run_on(cluster, text("[1, 2, 3, 4]", rounds=3), tmp_path)
    assert len(rows) == 24
    where = {}
    for row in rows:
        where.setdefault(row["cell"]["inner_steps"], set()).add(processor(row["machine"]))
    assert all(len(names) == 1 for names in where.values())
    assert set.union(*where.values()) == {"A", "B"}
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert set(environment["machines"]) == {row["machine"] for row in rows}
    assert "machine" not in environment
    assert environment["summary"] == "; ".join(environment["machines"])


def test_nodes_of_one_kind_are_one_machine(tmp_path):
    rows = run_on(Cluster(Slot(), Slot()), text(), tmp_path)
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["machine"]["processor"]["name"] == "A"
    assert processor(environment["summary"]) == "A"
    assert {row["machine"] for row in rows} == set(environment["machines"]) and len(environment["machines"]) == 1


def test_a_cell_whose_node_was_lost_is_tried_on_another_and_its_round_says_so(tmp_path):
    lossy = Slot(does=lambda job: Lost("its node died") if len(lossy.jobs) == 2 else timed(job))
    cluster, progress = Cluster(lossy, Slot()), Silent()
    rows = run_on(cluster, text("[1]"), tmp_path, progress)
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert [row["warnings"] for row in rows] == [[], [BEGUN]]
    assert cluster.slots[1].jobs == lossy.jobs[1:]
    assert cluster.holds == [] and cluster.refused == []
    assert progress.warnings == [
        f"a node was lost while it measured {lossy.jobs[1].cell.describe()}: its node died",
    ]


def test_a_cell_that_loses_three_nodes_is_a_row_and_the_rest_goes_on(tmp_path):
    def does(job):
        return Lost("its worker died") if job.cell.algorithm == "maml" else timed(job)

    cluster = Cluster(*(Slot(does=does) for _ in range(4)))
    rows = {row["cell"]["algorithm"]: row for row in run_on(cluster, text("[1]"), tmp_path)}
    assert rows["fomaml"]["status"] == "ok"
    assert (rows["maml"]["status"], rows["maml"]["reason"]) == (
        "crashed",
        "the node or its worker was lost 3 times while it was measured: its worker died",
    )
    assert rows["maml"]["machine"] == rows["fomaml"]["machine"]
    assert sum(job.cell.algorithm == "maml" for slot in cluster.slots for job in slot.jobs) == 3


def test_what_is_skipped_or_lost_leaves_no_time_in_the_estimate(tmp_path):
    """Of MAML, memory runs out, so that larger configurations are skipped; one node is lost."""

    def does(job):
        if job.cell.algorithm == "maml":
            return made(job.cell, job.round, "oom", "no memory left")
        lost.append(job)
        return Lost("its node died") if len(lost) == 1 else timed(job)

    lost, progress = [], ConsoleProgress()
    rows = run_on(Cluster(Slot(does=does), Slot(does=does)), text("[1, 2, 3, 4, 5, 6]"), tmp_path, progress)
    assert {row["status"] for row in rows} == {"ok", "oom", "skipped"} and len(lost) == 7
    assert progress.remaining.running == {} and progress.remaining.seconds == pytest.approx(0.0, abs=1e-9)


def test_where_no_node_is_left_the_run_ends_and_can_be_resumed(tmp_path):
    lossy = Slot(does=lambda job: Lost("its node died") if len(lossy.jobs) == 2 else timed(job))
    with pytest.raises(UserError, match=r"for 0.3 s there was no node for \w+/loop sinusoid"):
        run_on(Cluster(lossy), text(), tmp_path)
    assert len(rows_of(tmp_path)) == 1
    cluster, progress = Cluster(Slot()), Silent()
    rows = run_on(cluster, text(), tmp_path, progress, resume=True)
    assert (progress.total, progress.done) == (6, 1)
    assert len({row["id"] for row in rows}) == 6
    assert len(cluster.slots[0].jobs) == 5
    assert [row["warnings"] for row in rows].count([BEGUN]) == 1


def test_a_resumed_run_keeps_to_the_machines_it_had(tmp_path):
    with suppress(UserError):
        lossy = Slot("B", does=lambda job: Lost("gone") if len(lossy.jobs) == 3 else timed(job))
        run_on(Cluster(lossy), text("[1, 2]", rounds=2), tmp_path)
    (first,) = {row["cell"]["inner_steps"] for row in rows_of(tmp_path)}
    cluster = Cluster(Slot("A"), Slot("B"))
    rows = run_on(cluster, text("[1, 2]", rounds=2), tmp_path, resume=True)
    assert len(rows) == 8
    assert {row["machine"][0] for row in rows if row["cell"]["inner_steps"] == first} == {"B"}


@pytest.mark.parametrize(("name", "status"), [("small", "skipped"), ("large", "ok")])
def test_memory_that_ran_out_on_a_small_machine_is_none_of_a_large_one(tmp_path, name, status):
    run_on(
        Cluster(Slot("small", lambda job: structs.replace(timed(job), status="oom", time=None))),
        text("[1, 2]"),
        tmp_path,
    )
    kept = [row for row in rows_of(tmp_path) if row["cell"]["inner_steps"] == 1]
    assert [row["status"] for row in kept] == ["oom"] * 2
    (tmp_path / "measurements.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    rows = run_on(Cluster(Slot(name)), text("[1, 2]"), tmp_path, resume=True)
    assert [(row["status"], processor(row["machine"])) for row in rows if row["cell"]["inner_steps"] == 2] == [
        (status, name)
    ] * 2


def test_a_reference_that_fails_on_one_machine_is_skipped_there(tmp_path):
    def does(job):
        return structs.replace(timed(job), status="crashed", reason="it fell", time=None) if job.noise else timed(job)

    rows = run_on(Cluster(Slot(does=does)), text("[1, 2, 3, 4]", pairs=2), tmp_path)
    found = [(row["status"], row["reason"]) for row in rows if "reference" in row]
    assert found == [("crashed", "it fell"), *[("skipped", "the noise configuration was crashed before")] * 3]


def test_a_node_with_another_revision_measures_nothing(tmp_path):
    other = structs.replace(machine(), metabench=Code("9.9", "a" * 40, False))
    wrong, progress = Slot(hello=Hello(other)), Silent()
    cluster = Cluster(wrong, Slot())
    rows = run_on(cluster, text(), tmp_path, progress)
    assert len(rows) == 6 and wrong.jobs == [] and cluster.refused == [wrong]
    assert progress.warnings[0].startswith("a node runs metabench 9.9 at aaaaaaaa, and here it is ")
    with pytest.raises(UserError, match="no node is left to measure on: a node runs metabench 9.9 at aaaaaaaa"):
        run_on(Cluster(Slot(hello=Hello(other))), text(), tmp_path / "alone")


def test_a_node_that_cannot_begin_is_refused(tmp_path):
    with pytest.raises(UserError, match="no node is left to measure on: a node could not be used: no metabench there"):
        run_on(Cluster(Slot(hello=Lost("no metabench there"))), text(), tmp_path)


def test_cells_go_where_their_devices_are(tmp_path):
    small, large = Slot(fits=lambda job: job.cell.inner_steps < 3), Slot()
    cluster = Cluster(small, large)
    assert len(run_on(cluster, text(), tmp_path)) == 6
    assert {job.cell.inner_steps for job in large.jobs} >= {3}
    assert 3 not in {job.cell.inner_steps for job in small.jobs}
    with pytest.raises(UserError, match=r"there was no node for .* steps=3"):
        run_on(Cluster(Slot(fits=lambda job: job.cell.inner_steps < 3)), text(), tmp_path / "none")


def test_nodes_that_fit_nothing_keep_no_fitting_node_from_being_opened(tmp_path):
    """As many nodes without a GPU as there are units come before the one that has it."""
    small = [Slot(fits=lambda job: job.cell.inner_steps < 3) for _ in range(3)]
    cluster = Cluster(*small, Slot())
    rows = run_on(cluster, text(), tmp_path)
    assert [row["status"] for row in rows] == ["ok"] * 6
    assert (0, 3) in units(cluster.slots[3]) and cluster.holds == []


def test_no_more_nodes_are_opened_than_there_are_units_for_them(tmp_path):
    cluster = Cluster(*(Slot() for _ in range(5)))
    assert len(run_on(cluster, text("[1, 2]"), tmp_path)) == 4
    assert len(cluster.left) == 3


class Slow(Cluster):
    """A cluster that is looked at once in a second, as Ray's is: a node that was given back is had a second later."""

    wait_s, looked = 60.0, float("-inf")

    def open(self, wanted):
        if wanted < 1 or pool.time.monotonic() - self.looked < 1.0:
            return []
        self.looked = pool.time.monotonic()
        return super().open(wanted)

    def release(self, slot):
        super().release(slot)
        self.left.extend([Slot()] if slot not in self.refused else [])


def another_revision():
    return Hello(structs.replace(machine(), metabench=Code("9.9", "a" * 40, False)))


def test_a_worker_that_is_lost_after_a_node_was_refused_does_not_end_the_run(tmp_path):
    lossy = Slot(does=lambda job: Lost("no memory") if len(lossy.jobs) == 2 else timed(job))
    cluster = Slow(Slot(hello=another_revision()), lossy)
    rows = run_on(cluster, text(), tmp_path)
    assert [row["status"] for row in rows] == ["ok"] * 6 and len(cluster.refused) == 1


def test_where_no_node_comes_in_time_the_refusal_is_named_too(tmp_path):
    cluster = Slow(Slot(hello=another_revision()))
    cluster.left.append(Slot())
    cluster.open = lambda wanted: [cluster.left.popleft()] if wanted > 0 and len(cluster.left) == 2 else []
    said = r"for 60 s there was no node for \w+/loop .*, and one was refused: a node runs metabench 9.9 at aaaaaaaa"
    with pytest.raises(UserError, match=said):
        run_on(cluster, text(), tmp_path)


def test_a_unit_of_which_nothing_was_timed_carries_no_warning_elsewhere(tmp_path):
    lossy = Slot(does=lambda job: Lost("its node died"))
    rows = run_on(Cluster(lossy, Slot()), text("[1]"), tmp_path / "lost")
    assert len(lossy.jobs) == 1 and [row["warnings"] for row in rows] == [[], []]
    short = Slot(lasts=lambda seconds: len(short.jobs) < 2)  # its time is up between two units
    cluster = Cluster(short, Slot())
    cluster.open = lambda wanted: [cluster.left.popleft()] if wanted > 0 and cluster.left and not cluster.holds else []
    rows = run_on(cluster, text("[1, 2]"), tmp_path / "up")
    assert len(short.jobs) == 2 and [row["warnings"] for row in rows] == [[]] * 4


def test_a_resumed_unit_of_which_nothing_was_timed_carries_no_warning(tmp_path):
    def does(job):
        return made(job.cell, job.round, "crashed", "it fell") if len(lossy.jobs) == 1 else Lost("its node died")

    lossy = Slot(does=does)
    with pytest.raises(UserError, match="there was no node"):
        run_on(Cluster(lossy), text("[1]"), tmp_path)
    assert [row["status"] for row in rows_of(tmp_path)] == ["crashed"]
    rows = run_on(Cluster(Slot()), text("[1]"), tmp_path, resume=True)
    assert [(row["status"], row["warnings"]) for row in rows] == [("crashed", []), ("ok", [])]


def test_a_slot_whose_time_is_up_is_given_back_before_it_would_cut_a_cell(tmp_path):
    short = Slot(lasts=lambda seconds: seconds == 600 and len(short.jobs) < 3)
    cluster = Cluster(short, Slot())
    cluster.open = lambda wanted: [cluster.left.popleft()] if wanted > 0 and cluster.left and not cluster.holds else []
    rows = run_on(cluster, text(), tmp_path)
    assert len(rows) == 6 and len(short.jobs) == 3
    assert [row["warnings"] for row in rows] == [[], [], [], [BEGUN], [], []]


def test_when_it_is_to_stop_what_runs_is_finished_and_no_more_begins(tmp_path):
    stop = Event()

    def does(job):
        stop.set()
        return timed(job)

    cluster = Cluster(Slot(does=does), Slot(hello=Hello(machine())))
    with pytest.raises(KeyboardInterrupt):
        run_on(cluster, text(), tmp_path, stop=stop)
    assert len(rows_of(tmp_path)) == sum(len(slot.jobs) for slot in cluster.slots) in (1, 2)
    assert cluster.holds == []


def test_an_interruption_at_once_gives_all_nodes_back(tmp_path):
    def interrupted(job):
        raise KeyboardInterrupt

    cluster = Cluster(Slot(does=interrupted), Slot())
    with pytest.raises(KeyboardInterrupt):
        run_on(cluster, text(), tmp_path)
    assert cluster.holds == []


def test_what_is_trained_alone_comes_last_and_by_seeds(tmp_path):
    sweep = text("[1]", measure='["quality"]').replace("[[grid]]", "[[grid]]\nseed = [0, 1]")
    cluster = Cluster(Slot())
    rows = run_on(cluster, sweep, tmp_path)
    assert [row["cell"]["seed"] for row in rows] == [0, 0, 1, 1]


def test_a_run_is_resumed_on_its_own_backend(tmp_path):
    run_on(Cluster(Slot()), text("[1]"), tmp_path)
    other = Cluster(Slot())
    other.name = "local"
    with pytest.raises(UserError, match="was begun on backend 'fake': resume it with --backend fake"):
        run_on(other, text("[1]"), tmp_path, resume=True)
