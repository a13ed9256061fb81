"""Engines that lie, each in its own way, and the honest ones."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.autodiff import TAPE
from metabench.correctness.outer_update import RATE, written
from metabench.correctness.timed import TimedProof
from metabench.engines import loop
from metabench.engines.base import ENGINES, OuterState, Stepwise
from metabench.engines.outer import Outer
from metabench.errors import Unsupported
from metabench.models.mlp import MLP
from metabench.tasks.base import TASKS, EpisodeShape
from metabench.tasks.stream import sampled
from metabench.tensors import task_at

SINUSOID = TASKS.get("sinusoid").build(EpisodeShape(1, 5, 5), None)
TASKS_OF_A_BATCH = 25
ADAM, DESCENT = Outer("adam", 1e-3, "none", 10, clip=0.5), Outer("sgd", 0.1, "linear", 10)


def made(name="maml", steps=2, lr=0.01, **changes):
    learner = Learner(MLP(1, SINUSOID.outputs, 8, 2), SINUSOID.kind)
    return ALGORITHMS.get(name)(learner, lr, steps, **changes)


def initial(algorithm, dtype=torch.float32):
    return {name: p.to(dtype) for name, p in algorithm.init(torch.Generator().manual_seed(0)).items()}


def proof_of(algorithm=None, outer=ADAM, dtype=torch.float32, **changes):
    algorithm = algorithm or made()
    precision = str(dtype).removeprefix("torch.")
    return TimedProof(algorithm, SINUSOID, outer, initial(algorithm, dtype), TASKS_OF_A_BATCH, precision, **changes)


def pool(dtype=torch.float32):
    generator = torch.Generator().manual_seed(9)
    return [sampled(SINUSOID, "train", TASKS_OF_A_BATCH, generator, torch.zeros((), dtype=dtype)) for _ in range(3)]


def tried(proof, iteration, step_s=None):
    """The fault that is found before or after some timed calls, or none."""
    episodes = pool(next(iter(proof.meta.values())).dtype)
    taken = [iteration.take(each) for each in episodes]
    if fault := proof.before(iteration):
        return fault
    for number in range(7):
        iteration.run(taken[number % 3])
    iteration.wait()
    return proof.after(iteration, episodes, step_s)


def stepwise(step, outer=ADAM, algorithm=None, dtype=torch.float32):
    return Stepwise(step, initial(algorithm or made(), dtype), replace(outer, lr=0.0))


@pytest.mark.parametrize("engine", ["loop", "vmap"])
@pytest.mark.parametrize("outer", [ADAM, replace(ADAM, epsilon=0.1), DESCENT])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["maml", "fomaml", "reptile", "anil"])
def test_what_is_right_passes(engine, outer, dtype, name):
    algorithm = made(name)
    proof = proof_of(algorithm, outer, dtype)
    iteration = stepwise(ENGINES.get(engine).build(algorithm), outer, algorithm, dtype)
    assert tried(proof, iteration, step_s=1.0) is None
    assert list(proof.points.found) == [0]
    assert 0 <= proof.worst.excess < 0.5
    assert proof.worst.error < 1e-4
    assert proof.worst.allowed < 0.1


def test_the_iteration_is_left_as_it_was():
    proof = proof_of()
    iteration = stepwise(loop.build(made()))
    assert proof.before(iteration) is None
    assert all(torch.equal(p, proof.meta[name]) for name, p in iteration.meta.items())
    iteration.run(pool()[0])
    assert all(torch.equal(p, proof.meta[name]) for name, p in iteration.meta.items())


FIRST_ORDER = made("fomaml")


def first_order_in_float32(meta, episodes):
    single = next(iter(meta.values())).dtype == torch.float32
    return loop.build(FIRST_ORDER if single else made())(meta, episodes)


def right_for_two_tasks(meta, episodes):
    if len(episodes.classes) <= 2:
        return loop.build(made())(meta, episodes)
    return loop.build(made())(meta, task_at(episodes, slice(-1)))  # the rest of a block of tasks is forgotten


def half_precision_inside(meta, episodes):
    with torch.autocast("cpu", torch.bfloat16):
        return loop.build(made())(meta, episodes)


def writes_to_its_meta_parameters(meta, episodes):
    found = loop.build(made())(meta, episodes)
    for p in meta.values():
        p.add_(1e-3)
    return found


def not_finite(meta, episodes):
    direction, metrics = loop.build(made())(meta, episodes)
    return {name: p / 0 for name, p in direction.items()}, metrics


def another_loss(meta, episodes):
    direction, metrics = loop.build(made())(meta, episodes)
    return direction, {"loss": 1.01 * metrics["loss"]}


class Keeps:
    """Gives what it gave before for the same `key` of its episodes."""

    def __init__(self, key):
        self.key, self.kept = key, {}

    def __call__(self, meta, episodes):
        key = self.key(episodes)
        if key not in self.kept:
            self.kept[key] = loop.build(made())(meta, episodes)
        direction, metrics = self.kept[key]
        return {name: p.clone() for name, p in direction.items()}, metrics


class SkipsEverySecond:
    def __init__(self):
        self.calls, self.found = 0, None

    def __call__(self, meta, episodes):
        self.calls += 1
        if self.calls % 2 or self.found is None:
            self.found = loop.build(made())(meta, episodes)
        direction, metrics = self.found
        return {name: p.clone() for name, p in direction.items()}, metrics


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (first_order_in_float32, "in float32 on 25 tasks, differs from float64"),
        (right_for_two_tasks, "differs from float64"),
        (half_precision_inside, "differs from float64"),
        (writes_to_its_meta_parameters, "moved hidden1.weight"),
        (not_finite, "not finite"),
        (another_loss, "its loss is"),
        (Keeps(lambda episodes: episodes.support.x.shape), "differs from float64"),
        (Keeps(lambda episodes: episodes.support.x.data_ptr()), "differs from float64"),
        (Keeps(id), "differs from float64"),
        (SkipsEverySecond(), "differs from float64"),
    ],
)
def test_an_engine_that_is_wrong_where_it_is_timed_is_refused(step, words):
    fault = tried(proof_of(), stepwise(step))
    assert fault.status == "incorrect"
    assert words in fault.reason


def test_a_wrong_float32_is_seen_on_loop_itself():
    class SingleIsFirstOrder(ALGORITHMS.get("maml")):
        def task_direction(self, meta, task):
            single = next(iter(meta.values())).dtype == torch.float32
            return super(SingleIsFirstOrder, replace(self, first_order=single)).task_direction(meta, task)

    right = made(lr=0.1)
    algorithm = SingleIsFirstOrder(right.learner, right.inner_lr, right.inner_steps, autodiff=TAPE)
    fault = tried(proof_of(algorithm), stepwise(loop.build(algorithm)))
    assert fault.status == "incorrect"
    assert "differs from float64" in fault.reason


class Meddler(Stepwise):
    """Iterations whose direction is right, and whose outer update is not."""

    def __init__(self, meddle):
        super().__init__(loop.build(made()), initial(made()), replace(ADAM, lr=0.0))
        self.meddle = meddle

    def run(self, episodes):
        metrics = super().run(episodes)
        self.meddle(self.optimizer)
        return metrics


def forget_squares(optimizer):
    for square in optimizer.squares:
        square.zero_()


def double_step(optimizer):
    optimizer.iteration += 1


def move(optimizer):
    for p in optimizer.meta.values():
        p.add_(1e-3 if optimizer.outer.lr == 0 else 0)


@pytest.mark.parametrize(
    ("meddle", "words"),
    [
        (forget_squares, "another mean of squares than Adam"),
        (double_step, "one call counted as 2 outer updates"),
        (move, "moved hidden1.weight"),
    ],
)
def test_a_wrong_outer_state_is_refused(meddle, words):
    fault = tried(proof_of(), Meddler(meddle))
    assert fault.status == "incorrect"
    assert words in fault.reason


def test_another_epsilon_than_that_of_the_cell_is_refused():
    fault = tried(proof_of(), stepwise(loop.build(made()), replace(ADAM, epsilon=0.1)))
    assert fault.status == "incorrect"
    assert "is not Adam's" in fault.reason


class Defers(Stepwise):
    """Puts its work off until its result is looked at: `run` and `wait` return at once."""

    def __init__(self, seconds):
        super().__init__(loop.build(made()), initial(made()), replace(ADAM, lr=0.0))
        self.seconds, self.waiting = seconds, []

    def run(self, episodes):
        self.waiting.append(episodes)
        return _Late(self)

    @property
    def outer_state(self):
        self.finish()
        return super().outer_state

    def set_rate(self, rate):
        self.finish()
        super().set_rate(rate)

    def finish(self):
        for episodes in self.waiting:
            time.sleep(self.seconds)
            self.loss = Stepwise.run(self, episodes)["loss"]
        self.waiting = []


class _Late(dict):
    def __init__(self, iteration):
        super().__init__()
        self.iteration = iteration

    def __getitem__(self, name):
        self.iteration.finish()
        return self.iteration.loss


def test_work_that_is_put_off_beyond_wait_is_found():
    fault = tried(proof_of(), Defers(0.05), step_s=1e-6)
    assert fault.status == "incorrect"
    assert "not done when wait returns" in fault.reason


class KeepsWhatWasRead(Stepwise):
    """Takes time for the first reading of a result, and none for a second one, as JAX does on a GPU."""

    def __init__(self, seconds):
        super().__init__(loop.build(made()), initial(made()), ADAM)
        self.seconds, self.fresh = seconds, False

    def run(self, episodes):
        self.fresh = True
        return super().run(episodes)

    @property
    def outer_state(self):
        if self.fresh:
            time.sleep(self.seconds)
        self.fresh = False
        return super().outer_state


def test_a_second_reading_may_be_quicker_than_the_first():
    assert tried(proof_of(), KeepsWhatWasRead(0.05), step_s=0.01) is None


class InTheBackground(Stepwise):
    """Works in threads that `wait` does not wait for."""

    def __init__(self, threads):
        super().__init__(loop.build(made()), initial(made()), replace(ADAM, lr=0.0))
        self.threads = threads

    def run(self, episodes):
        self.threads.submit(self._work, episodes)
        return {"loss": 0.0}

    def _work(self, episodes):
        time.sleep(0.5)
        super().run(episodes)


def test_a_thread_that_nobody_waits_for_is_found():
    with ThreadPoolExecutor() as threads:
        fault = proof_of().before(InTheBackground(threads))
    assert fault.status == "incorrect"
    assert "counted as 0 outer updates" in fault.reason


def test_an_inner_loop_that_is_not_finite_is_no_fault_of_the_engine():
    algorithm = made(lr=1e30)
    fault = tried(proof_of(algorithm), stepwise(loop.build(algorithm), algorithm=algorithm))
    assert fault.status == "diverged"
    assert "inner_lr = 1e+30" in fault.reason


def test_an_engine_that_hides_its_outer_state_is_not_timed():
    class Hidden:
        meta = initial(made())

    with pytest.raises(Unsupported, match="they need outer_state and set_rate"):
        proof_of().before(Hidden())


def test_fresh_episodes_are_written_into_the_buffers_that_were_timed():
    first, second, _ = pool()
    at = first.support.x.data_ptr()
    assert written(second, first).support.x.data_ptr() == at
    assert torch.equal(first.query.y, second.query.y)


def test_the_outer_rate_makes_an_update_plain_to_see():
    iteration = stepwise(loop.build(made()), DESCENT)
    iteration.set_rate(RATE)
    before = {name: p.clone() for name, p in iteration.meta.items()}
    (episodes, *_) = pool()
    direction, _ = loop.build(made())(before, episodes)
    iteration.run(episodes)
    for name, p in iteration.outer_state.meta.items():
        torch.testing.assert_close((before[name] - p) / RATE, direction[name], rtol=1e-4, atol=1e-6)
    assert isinstance(iteration.outer_state, OuterState)
    assert iteration.outer_state.means == {}
