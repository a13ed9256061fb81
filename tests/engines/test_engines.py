import pytest
import torch

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.correctness.gate import relative_error
from metabench.engines.base import ENGINES
from metabench.models.base import MODELS
from metabench.tasks.base import TASKS, EpisodeShape
from metabench.tensors import Batch, Task, cast, task_at

ALGORITHM_NAMES = ["maml", "fomaml", "reptile", "anil"]
MODELS_OF = {
    "sinusoid": ["mlp-40x2"],
    "images": ["conv4-16", "conv4-16-maxpool", "conv4-16-nonorm", "conv4-16-maxpool-nonorm", "mlp-40x2"],
}


def episodes_of(kind: str, tasks: int) -> Task:
    generator = torch.Generator().manual_seed(0)
    if kind == "sinusoid":
        episodes = TASKS.get("sinusoid").build(EpisodeShape(1, 5, 7), None).sample("train", tasks, generator)
    else:
        x = torch.rand(tasks, 15, 1, 28, 28, generator=generator)
        y = torch.arange(5).repeat(tasks, 3)
        episodes = Task(Batch(x[:, :5], y[:, :5]), Batch(x[:, 5:], y[:, 5:]), torch.arange(5).repeat(tasks, 1))
    return cast(episodes, torch.zeros((), dtype=torch.float64))


def set_up(algorithm: str, kind: str, model: str, steps: int):
    built = MODELS.get(model)((1,), 1) if kind == "sinusoid" else MODELS.get(model)((1, 28, 28), 5)
    learner = Learner(built, "regression" if kind == "sinusoid" else "classification")
    made = ALGORITHMS.get(algorithm)(learner, 0.01 if kind == "sinusoid" else 0.4, steps)
    meta = {name: p.double() for name, p in made.init(torch.Generator().manual_seed(1)).items()}
    return made, meta


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize(("kind", "model"), [(kind, model) for kind, models in MODELS_OF.items() for model in models])
@pytest.mark.parametrize("algorithm", ALGORITHM_NAMES)
def test_vmap_agrees_with_loop(algorithm, kind, model, steps):
    made, meta = set_up(algorithm, kind, model, steps)
    episodes = episodes_of(kind, 3)
    truth, truth_metrics = ENGINES.get("loop").build(made)(meta, episodes)
    direction, metrics = ENGINES.get("vmap").build(made)(meta, episodes)
    assert relative_error(direction, truth) < 1e-12
    assert float(metrics["loss"]) == pytest.approx(float(truth_metrics["loss"]), rel=1e-12)


@pytest.mark.parametrize("engine", ["loop", "vmap"])
@pytest.mark.parametrize("algorithm", ALGORITHM_NAMES)
def test_direction_is_the_mean_over_tasks(engine, algorithm):
    made, meta = set_up(algorithm, "sinusoid", "mlp-40x2", 2)
    episodes = episodes_of("sinusoid", 4)
    direction, metrics = ENGINES.get(engine).build(made)(meta, episodes)
    singles = [made.task_direction(meta, task_at(episodes, i)) for i in range(4)]
    mean = {name: torch.stack([single[name] for single, _ in singles]).mean(0) for name in meta}
    assert relative_error(direction, mean) < 1e-12
    assert float(metrics["loss"]) == pytest.approx(sum(float(m["loss"]) for _, m in singles) / 4)


@pytest.mark.parametrize("engine", ["loop", "vmap"])
@pytest.mark.parametrize("algorithm", ALGORITHM_NAMES)
def test_order_of_tasks_does_not_matter_and_nothing_is_written_to(engine, algorithm):
    made, meta = set_up(algorithm, "sinusoid", "mlp-40x2", 2)
    before = {name: p.clone() for name, p in meta.items()}
    episodes = episodes_of("sinusoid", 4)
    order = torch.tensor([2, 0, 3, 1])
    shuffled = Task(*(Batch(part.x[order], part.y[order]) for part in episodes[:2]), episodes.classes[order])
    step = ENGINES.get(engine).build(made)
    assert relative_error(step(meta, shuffled)[0], step(meta, episodes)[0]) < 1e-12
    assert all(torch.equal(meta[name], before[name]) and not meta[name].requires_grad for name in meta)


@pytest.mark.parametrize("engine", ["loop", "vmap"])
@pytest.mark.parametrize("algorithm", ALGORITHM_NAMES)
def test_same_input_same_direction(engine, algorithm):
    made, meta = set_up(algorithm, "images", "conv4-16", 2)
    episodes = episodes_of("images", 2)
    step = ENGINES.get(engine).build(made)
    assert relative_error(step(meta, episodes)[0], step(meta, episodes)[0]) < 1e-12


@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_a_direction_keeps_no_graph(engine):
    made, meta = set_up("maml", "sinusoid", "mlp-40x2", 2)
    direction, metrics = ENGINES.get(engine).build(made)(meta, episodes_of("sinusoid", 2))
    assert not any(tensor.requires_grad for tensor in [*direction.values(), *metrics.values()])
