import math

import pytest
import torch

from metabench.errors import Unsupported
from metabench.tasks.base import TASKS, EpisodeShape
from metabench.tensors import task_at, tensors_of

TASKS_DRAWN = 4000


def sample(seed=0, tasks=TASKS_DRAWN, shots=5, query=10, split="train"):
    distribution = TASKS.get("sinusoid").build(EpisodeShape(1, shots, query), None)
    return distribution.sample(split, tasks, torch.Generator().manual_seed(seed))


def fitted(x, y):
    """Amplitude and phase in [0, 2π) of each task's sinusoid, and its residual, by least squares on sin x and cos x."""
    basis = torch.cat((torch.sin(x), torch.cos(x)), dim=-1).double()
    solution = torch.linalg.lstsq(basis, y.double()).solution
    a, b = solution[:, 0, 0], -solution[:, 1, 0]  # A sin(x - φ) = A cos φ sin x - A sin φ cos x
    residual = (basis @ solution - y).abs().amax()
    return torch.hypot(a, b), torch.atan2(b, a) % (2 * math.pi), residual


def test_a_seed_gives_the_tasks_that_published_figures_were_measured_on():
    """By batch: x and y of the last point of the last task, the sums of x and of y, and the sum of the squares of y."""
    distribution = TASKS.get("sinusoid").build(EpisodeShape(1, 5, 10), None)
    generator = torch.Generator().manual_seed(16)
    found = []
    for tasks in (25, 2):
        for x, y in distribution.sample("train", tasks, generator)[:2]:
            last = (x[-1, -1].item(), y[-1, -1].item())
            x, y = x.double(), y.double()
            found.append((*last, x.sum().item(), y.sum().item(), y.square().sum().item()))
    expected = [
        (2.7177, 4.57257, 16.0646, 71.5108, 513.291),
        (1.85508, 4.47318, -8.20907, 46.4661, 1051.17),
        (-2.64515, 1.88789, -12.8898, 0.855786, 34.8244),
        (1.40173, -0.991216, -1.79669, 0.236977, 58.0203),
    ]
    for values, batch in zip(found, expected, strict=True):
        assert values == pytest.approx(batch, rel=1e-4)
    assert int(torch.randint(2**31, (1,), generator=generator)) == 561517513


def test_in_float64_y_is_computed_in_float64():
    distribution = TASKS.get("sinusoid").build(EpisodeShape(1, 5, 10), None)
    drawn = distribution.draw("train", 3, torch.Generator().manual_seed(0))
    (x, y), _, _ = distribution.make(drawn, torch.zeros((), dtype=torch.float64))
    amplitude, phase = drawn.double()[:, :1, None], drawn.double()[:, 1:2, None]
    assert y.dtype == torch.float64
    torch.testing.assert_close(y, amplitude * torch.sin(x - phase), rtol=1e-14, atol=1e-14)


def test_curves_are_the_functions_of_the_tasks_that_sample_gives():
    distribution = TASKS.get("sinusoid").build(EpisodeShape(1, 5, 10), None)
    tasks, x, y = distribution.curves("test", 3, 50, torch.Generator().manual_seed(1))
    same = distribution.sample("test", 3, torch.Generator().manual_seed(1))
    assert all(map(torch.equal, tensors_of(tasks), tensors_of(same)))
    _, _, residual = fitted(torch.cat((tasks.query.x, x.expand(3, -1, -1)), 1), torch.cat((tasks.query.y, y), 1))
    assert residual < 1e-5


def test_one_sinusoid_runs_through_support_and_query():
    (sx, sy), (qx, qy), _ = sample()
    assert sx.shape == sy.shape == (TASKS_DRAWN, 5, 1)
    assert qx.shape == qy.shape == (TASKS_DRAWN, 10, 1)
    assert sx.dtype == sy.dtype == torch.float32
    _, _, residual = fitted(torch.cat((sx, qx), 1), torch.cat((sy, qy), 1))
    assert residual < 1e-5


def test_amplitude_phase_and_inputs_are_uniform_on_the_published_ranges():
    _, (x, y), _ = sample()
    amplitude, phase, _ = fitted(x, y)
    for values, low, high in ((amplitude, 0.1, 5.0), (phase, 0.0, math.pi), (x.flatten(), -5.0, 5.0)):
        assert low - 1e-4 < values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() < high + 1e-4
        deciles = torch.arange(1, 10, dtype=torch.float64) / 10
        found = torch.quantile(((values - low) / (high - low)).double()[:TASKS_DRAWN], deciles)
        assert (found - deciles).abs().max() < 0.03  # 4000 draws: a decile's standard error is at most 0.008


def test_support_and_query_points_are_independent():
    (sx, _), (qx, _), _ = sample(shots=8, query=8)
    correlation = torch.corrcoef(torch.cat((sx, qx), 1).squeeze(-1).T)[:8, 8:]
    assert correlation.abs().max() < 5 / math.sqrt(TASKS_DRAWN)


def test_a_function_of_the_generator_alone():
    first, again, other = sample(seed=3, tasks=4), sample(seed=3, tasks=4), sample(seed=4, tasks=4)
    for one, two, three in zip(first.query, again.query, other.query, strict=True):
        assert torch.equal(one, two)
        assert not torch.equal(one, three)


def test_a_share_is_what_the_whole_has_there():
    distribution = TASKS.get("sinusoid").build(EpisodeShape(1, 5, 10), None)
    whole, part = (torch.Generator().manual_seed(7) for _ in range(2))
    for share in (slice(0, 3), slice(3, 8), slice(7, 8)):
        all_tasks, own = distribution.sample("train", 8, whole), distribution.sample("train", 8, part, share)
        torch.testing.assert_close(tensors_of(own), tensors_of(task_at(all_tasks, share)))
    assert torch.equal(whole.get_state(), part.get_state())


def test_it_is_no_classification():
    with pytest.raises(Unsupported, match="ways must be 1"):
        TASKS.get("sinusoid").build(EpisodeShape(5, 1, 1), None)


def test_provenance_states_the_law():
    provenance = TASKS.get("sinusoid").build(EpisodeShape(1, 5, 5), None).provenance
    assert provenance.name == "sinusoid"
    assert len(provenance.content_hash) == 64
    assert "A=(0.1, 5.0)" in provenance.details["definition"]
