"""Counts are held against counts by hand; speeds against a clock whose every block takes ten milliseconds."""

import gc
import math

import pytest
import torch

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.errors import Unsupported
from metabench.measure import clock
from metabench.measure.clock import Budget
from metabench.measure.roofline import Sizes, Traffic, measure_peaks, step_flops
from metabench.models.conv4 import Conv4
from metabench.models.mlp import MLP
from metabench.tensors import Batch, Task
from problems import image_episodes, points

CPU = torch.device("cpu")
TASKS, SUPPORT, QUERY = 3, 4, 8
INPUTS, WIDTH = 5, 7
PERCEPTRON = Learner(MLP(INPUTS, 1, WIDTH, layers=1), "regression")

# One hidden layer: z = x Wᵀ, h = relu(z), out = h Vᵀ, and with δ the loss's derivative in `out`:
#   gradient in V: δᵀ h,   e = δ V,   ε = e ∘ relu'(z),   gradient in W: εᵀ x
# Each is a product of 2 · examples · rows · columns operations: first = that of W, second = that of V.
#   forward            z and out                            first + second
#   backward           e, and both gradients                first + 2 second; none goes to x, which is data
#   double backward    of εᵀx, in ε                         first
#                      of e, in δ and V                     2 second
#                      of δᵀh, in δ and h                   2 second
#                      of out, in h and V                   2 second
#                      of z, in W                           first


def first(examples):
    return 2 * examples * INPUTS * WIDTH


def second(examples):
    return 2 * examples * WIDTH


def forward(examples):
    return first(examples) + second(examples)


def gradient(examples):
    return forward(examples) + first(examples) + 2 * second(examples)


def double_backward(examples):
    return 2 * first(examples) + 6 * second(examples)


BY_HAND = {
    "maml": lambda steps: steps * (gradient(SUPPORT) + double_backward(SUPPORT)) + gradient(QUERY),
    "fomaml": lambda steps: steps * gradient(SUPPORT) + gradient(QUERY),
    # minibatches of the support set's size, of which some are from the query set
    "reptile": lambda steps: steps * gradient(SUPPORT),
    # features once: z, and the gradient in W. Each step: out and δᵀh, then δᵀh in δ and h, out in h and V
    "anil": lambda steps: 2 * first(SUPPORT) + steps * 6 * second(SUPPORT) + gradient(QUERY),
}


def regression(tasks=TASKS):
    x = torch.randn(tasks, SUPPORT + QUERY, INPUTS, generator=torch.Generator().manual_seed(2))
    y = x.sum(-1, keepdim=True)
    support, query = Batch(x[:, :SUPPORT], y[:, :SUPPORT]), Batch(x[:, SUPPORT:], y[:, SUPPORT:])
    return Task(support, query, torch.zeros(tasks, 1, dtype=torch.int64))


def flops(name, learner, steps, episodes, **techniques):
    algorithm = ALGORITHMS.get(name)(learner, 0.1, steps, **techniques)
    like = episodes.support.x
    meta = {key: p.to(like.device, like.dtype) for key, p in algorithm.init(torch.Generator().manual_seed(0)).items()}
    return step_flops(algorithm, episodes, meta)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("name", BY_HAND)
def test_a_perceptron_is_counted_as_by_hand(name, steps):
    assert flops(name, PERCEPTRON, steps, regression()) == TASKS * BY_HAND[name](steps)


@pytest.mark.parametrize("name", BY_HAND)
def test_it_is_linear_in_the_tasks(name):
    counts = [flops(name, PERCEPTRON, 2, regression(tasks)) for tasks in (1, 2, 5)]
    assert counts == [counts[0], 2 * counts[0], 5 * counts[0]]


def test_first_order_is_fomaml_and_less_than_the_second():
    second_order = flops("maml", PERCEPTRON, 2, regression())
    assert flops("maml", PERCEPTRON, 2, regression(), first_order=True) == TASKS * BY_HAND["fomaml"](2) < second_order


def test_anil_is_less_than_maml():
    assert flops("anil", PERCEPTRON, 2, regression()) < flops("maml", PERCEPTRON, 2, regression())


def test_what_is_computed_again_counts_again():
    plain, again = (flops("maml", PERCEPTRON, 2, regression(), checkpoint=value) for value in (False, True))
    assert again >= plain + TASKS * 2 * forward(SUPPORT)  # and a part of the gradient, up to where torch stops


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("name", ["maml", "fomaml"])
def test_a_convolutional_network_is_counted_as_by_hand(name, normalise):
    """The same with batch normalisation and without: that is left out."""
    ways, shots, query, width = 3, 1, 2, 4
    network = Learner(Conv4((1, 28, 28), ways, width, max_pool=True, normalise=normalise), "classification")

    def product(examples, rows, inputs):  # padding included: nine products at every pixel
        return 2 * examples * rows**2 * 9 * inputs * width

    def others(examples):  # the maps are halved by each max-pooling; the head sees one pixel
        return sum(product(examples, rows, width) for rows in (14, 7, 3)) + 2 * examples * width * ways

    # As in the perceptron: forward and two gradients, but for one where the input is data.
    support, asked = ways * shots, ways * query
    by_hand = sum(2 * product(n, 28, 1) + 3 * others(n) for n in (support, asked))
    if name == "maml":
        # And once more in the first layer: torch takes a convolution's second derivative in its input, asked or not.
        by_hand += 3 * product(support, 28, 1) + 6 * others(support)
    assert flops(name, network, 1, image_episodes(2, ways, shots, query)) == 2 * by_hand


def without_values(episodes):
    """The same on torch's `meta` device, whose tensors have a shape and nothing in them."""
    (sx, sy), (qx, qy), classes = episodes
    return Task(Batch(sx.to("meta"), sy.to("meta")), Batch(qx.to("meta"), qy.to("meta")), classes.to("meta"))


SMALL = {
    "regression": (Learner(MLP(2, 1, 4, layers=2), "regression"), points(3, 4)),
    "classification": (
        Learner(Conv4((1, 16, 16), 3, 2, max_pool=False, normalise=True), "classification", 30),
        image_episodes(3, 3, shots=1, query=2, size=16),
    ),
}


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("name", ALGORITHMS.names())
def test_no_value_has_a_part_in_the_count(name, kind):
    """So one task's count is every task's: it is the same where there are no values to be looked at."""
    learner, episodes = SMALL[kind]
    try:
        count = flops(name, learner, 1, episodes)
    except Unsupported:
        pytest.skip(f"{name} is not for {kind}")
    assert 0 < count == flops(name, learner, 1, without_values(episodes))


def test_the_count_leaves_meta_parameters_as_they_are():
    algorithm = ALGORITHMS.get("maml")(PERCEPTRON, 0.1, 1)
    meta = algorithm.init(torch.Generator().manual_seed(0))
    before = {name: p.clone() for name, p in meta.items()}
    step_flops(algorithm, regression(), meta)
    assert all(torch.equal(p, before[name]) and not p.requires_grad for name, p in meta.items())


# --- peaks -----------------------------------------------------------------------------------------------------------

TINY = Sizes(matrices=(8, 16), images=((1, 4), (2, 4)), array_bytes=2**12)
SHORT = Budget(seconds=0.002, block_seconds=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_rates_are_finite_and_positive(dtype):
    peaks = measure_peaks(1, dtype, CPU, TINY, SHORT)
    for rate in (peaks.matmul, peaks.convolution, peaks.bandwidth):
        assert math.isfinite(rate) and rate > 0


def block_of_ten_milliseconds(monkeypatch, jitter=(0.0,)):
    now, turn = 1000.0, 0

    def tick():
        nonlocal now, turn
        now += 0.01 + jitter[turn // 2 % len(jitter)] * (turn % 2)
        turn += 1
        return now

    monkeypatch.setattr(clock.time, "perf_counter", lambda: now)
    monkeypatch.setattr(clock.time, "perf_counter_ns", lambda: round(tick() * 1e9))


def test_the_best_size_counts(monkeypatch):
    block_of_ten_milliseconds(monkeypatch)  # whatever is in it: the most work is the highest rate
    peaks = measure_peaks(1, torch.float32, CPU, TINY)
    assert peaks.matmul == pytest.approx(2 * 16**3 / 0.01, rel=1e-6)
    assert peaks.convolution == pytest.approx(2 * 2 * 4**2 * 64 * 64 * 9 / 0.01, rel=1e-6)
    assert peaks.bandwidth == pytest.approx(3 * 2**12 / 0.01, rel=1e-6)  # two arrays read, one written
    assert not peaks.noisy


def test_the_fastest_block_counts_and_the_noise_is_told(monkeypatch):
    block_of_ten_milliseconds(monkeypatch, jitter=(0.02, 0.0, 0.01, 0.05, 0.03))
    peaks = measure_peaks(1, torch.float32, CPU, Sizes((8,), ((1, 4),), 2**12))
    assert peaks.matmul == pytest.approx(2 * 8**3 / 0.01, rel=1e-6)
    assert peaks.noisy


def test_no_larger_size_is_tried_after_a_long_call(monkeypatch):
    block_of_ten_milliseconds(monkeypatch, jitter=(0.015,))
    peaks = measure_peaks(1, torch.float32, CPU, TINY)
    assert peaks.matmul == pytest.approx(2 * 8**3 / 0.025, rel=1e-6)


def test_threads_and_collector_are_left_as_they_were():
    before = torch.get_num_threads()
    measure_peaks(before + 1, torch.float32, CPU, TINY, SHORT)
    assert torch.get_num_threads() == before
    assert gc.isenabled() and gc.get_freeze_count() == 0


def test_bytes_are_those_of_inputs_and_outputs_but_for_views():
    a, b = torch.ones(3, 5), torch.ones(5, 2)
    with Traffic() as traffic:
        torch.mm(a, b)
    assert traffic.bytes == 4 * (15 + 10 + 6) and traffic.calls == 1
    with Traffic() as traffic:
        a.t().view(5, 3)[1:].detach()
        torch.empty(100)
    assert traffic.bytes == traffic.calls == 0
    with Traffic() as traffic:
        torch.add(torch.ones(1).expand(1000), torch.ones(1000))
    assert traffic.bytes == 4 * (1 + 1000) + 4 * (1 + 1000 + 1000)
