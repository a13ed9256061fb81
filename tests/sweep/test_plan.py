import itertools
import tomllib

from metabench.sweep.runner import plan
from metabench.sweep.spec import parse_sweep

TEXT = """
[run]
rounds = 3
noise_pairs = 0
order_seed = {seed}
[[grid]]
task = "sinusoid"
algorithm = ["maml", "fomaml", "anil"]
engine = ["loop", "vmap"]
inner_steps = [1, 5]
meta_batch = [4, 25]
measure = ["time", "memory"]
[[grid]]
task = "sinusoid"
algorithm = "reptile"
measure = ["quality"]
"""


def jobs(seed: int = 0):
    text = TEXT.format(seed=seed)
    return plan(parse_sweep("test", tomllib.loads(text), text, 2))


def test_every_cell_is_timed_in_every_round_and_nothing_else_is_measured_twice():
    planned = jobs()
    assert len(planned) == 3 * 24 + 1
    assert len({(job.cell.id, job.round) for job in planned}) == len(planned)
    assert [job.round for job in planned] == sorted(job.round for job in planned)
    assert {job.cell.measure for job in planned if job.round > 0} == {("time",)}
    assert [job.round for job in planned if "quality" in job.cell.measure] == [0]


def test_what_a_clock_says_is_measured_in_every_round():
    document = {"run": {"rounds": 2, "noise_pairs": 0}, "grid": [{"task": "sinusoid", "algorithm": "maml"}]}
    document["grid"][0]["measure"] = ["memory", "phases", "work", "adaptation", "double_backward", "quality"]
    first, second = plan(parse_sweep("test", document, "", 2))
    assert first.cell.measure == ("memory", "phases", "work", "adaptation", "double_backward", "quality")
    assert second.cell.measure == ("phases", "adaptation", "double_backward")


def test_what_is_compared_is_measured_together():
    for number in range(3):
        settings = [job.cell.setting for job in jobs() if job.round == number]
        changes = sum(one != other for one, other in itertools.pairwise(settings))
        assert changes == len(set(settings)) - 1


def test_orders_are_shuffled_anew_in_each_round_and_from_the_seed():
    def order(seed, number):
        return [job.cell.id for job in jobs(seed) if job.round == number and "time" in job.cell.measure]

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, number)) for seed in (0, 1) for number in range(3)}) == 6
