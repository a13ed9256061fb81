from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from metabench import evaluation
from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.evaluation import OfTasks, evaluate, population_statistics
from metabench.models.base import MODELS
from metabench.models.conv4 import Conv4
from metabench.models.mlp import MLP
from metabench.tasks.base import TASKS, EpisodeShape
from metabench.tasks.stream import sampled
from metabench.tensors import Batch, Task, task_at
from nets import Noise
from problems import perturbed

SINUSOID = TASKS.get("sinusoid").build(EpisodeShape(1, 10, 10), None)


def algorithm(name="maml", steps=1):
    return ALGORITHMS.get(name)(Learner(MLP(1, 1, 40, 2), "regression"), 0.01, steps)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", ["maml", "reptile", "anil"])
def test_evaluation_scores_every_task_after_every_step(name):
    made = algorithm(name)
    meta = made.init(generator(2))
    scores = evaluate(made, meta, SINUSOID, "test", 70, 3, generator(5))
    last = evaluate(made, meta, SINUSOID, "test", 70, 3, generator(5), every_step=False)
    torch.testing.assert_close(last, scores[:, -1:])
    assert scores.shape == (70, 4)
    # the first 50 tasks are drawn in one chunk, and scored one by one
    episodes = SINUSOID.sample("test", 50, generator(5))
    task = task_at(episodes, 7)
    trajectory = list(algorithm(name, steps=3).trajectory(meta, task.support))
    expected = [
        float((made.learner.predict(point, task.query.x) - task.query.y).square().mean()) for point in trajectory
    ]
    assert scores[7].tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("numbers", "sizes"), [(1 << 26, [50, 20]), (300, [30, 30, 10]), (1, [1] * 70)])
def test_as_many_tasks_are_sampled_at_once_as_a_bound_in_numbers_allows(numbers, sizes, monkeypatch):
    """A task of sinusoids has ten points."""
    asked = []

    def counted(distribution, split, tasks, generator, like):
        asked.append(tasks)
        return sampled(distribution, split, tasks, generator, like)

    monkeypatch.setattr(evaluation, "sampled", counted)
    monkeypatch.setattr(evaluation, "CHUNK_NUMBERS", numbers)
    made = algorithm()
    distribution = TASKS.get("sinusoid").build(EpisodeShape(1, 5, 5), None)
    assert len(evaluate(made, made.init(generator()), distribution, "test", 70, 1, generator(5))) == 70
    assert asked == sizes


def test_accuracy_is_the_share_of_right_classes():
    learner = Learner(MLP(2, 3, 4, 1), "classification")
    params = learner.model.init(generator())
    x = torch.randn(8, 2)
    outputs = learner.predict(params, x)
    y = outputs.argmax(-1)
    y[:2] = (y[:2] + 1) % 3
    assert float(learner.score_of(outputs, y)) == 0.75


class Images:
    """Noise to regress on: scores are continuous, and tell any difference in a prediction."""

    kind = "regression"
    input_shape = (1, 28, 28)

    def __init__(self, kept=slice(None)):
        self.kept = kept

    def sample(self, split, tasks, generator):
        x, y = torch.rand(tasks, 8, 1, 28, 28, generator=generator), torch.rand(tasks, 8, 1, generator=generator)
        query = Batch(x[:, 5:][:, self.kept], y[:, 5:][:, self.kept])
        return Task(Batch(x[:, :5], y[:, :5]), query, torch.zeros(tasks, 1, dtype=torch.int64))


class Sentences:
    """Tasks of three classes whose inputs are whole numbers, as an embedding needs them."""

    kind = "classification"
    input_shape = (6,)

    def sample(self, split, tasks, generator):
        x = torch.randint(0, 16, (tasks, 9, 6), generator=generator)
        y = torch.arange(3).repeat(tasks, 3)
        return Task(Batch(x[:, :3], y[:, :3]), Batch(x[:, 3:], y[:, 3:]), y[:, :3])


class Embedding:
    """A model of whole numbers: the mean of their embeddings, and a linear head."""

    head_names = frozenset({"head.weight"})
    modulated = ()
    batch_statistics = False
    outputs = 3

    def init(self, generator):
        weight = torch.randn(16, 4, generator=generator)
        return {"embedding.weight": weight, "head.weight": torch.randn(3, 4, generator=generator)}

    def features(self, params, x):
        return F.embedding(x, params["embedding.weight"]).mean(1)

    def head(self, params, features):
        return F.linear(features, params["head.weight"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mode", ["transductive", "one-query"])
def test_inputs_of_whole_numbers_are_scored(mode, dtype):
    made = ALGORITHMS.get("maml")(Learner(Embedding(), "classification", 3), 0.1, 1)
    meta = {name: p.to(dtype) for name, p in made.init(generator()).items()}
    scores = evaluate(made, meta, Sentences(), "test", 20, 1, generator(5), mode)
    task = task_at(Sentences().sample("test", 20, generator(5)), 7)
    assert task.query.x.dtype == torch.int64
    adapted = made.adapt(meta, task.support)
    right = (made.predict(adapted, task.query.x).argmax(-1) == task.query.y).double().mean()
    assert float(scores[7, -1]) == float(right)  # to the last digit: one of six is no third of float32
    assert 0 < scores.mean() < 1


def image_learner(name="maml", steps=2):
    made = ALGORITHMS.get(name)(Learner(MODELS.get("conv4-16")((1, 28, 28), 1), "regression"), 0.1, steps)
    return made, made.init(generator(3))


def scores_by(mode, distribution, population=None, tasks=4, name="maml"):
    made, meta = image_learner(name)
    return evaluate(made, meta, distribution, "test", tasks, 2, generator(5), mode, population)


@pytest.mark.parametrize("name", ["maml", "anil"])
@pytest.mark.parametrize("mode", ["transductive", "one-query"])
def test_what_a_query_is_normalised_by(mode, name):
    made, meta = image_learner(name)
    episodes = Images().sample("test", 4, generator(5))
    expected = []
    for task in (task_at(episodes, i) for i in range(4)):
        errors = []
        for adapted in made.trajectory(meta, task.support):
            if mode == "transductive":
                outputs = made.learner.predict(adapted, task.query.x)
            else:
                together = [torch.cat([task.support.x, task.query.x[j : j + 1]]) for j in range(3)]
                outputs = torch.stack([made.learner.predict(adapted, x)[5] for x in together])
            errors.append(float((outputs - task.query.y).square().mean()))
        expected.append(errors)
    torch.testing.assert_close(
        scores_by(mode, Images(), name=name), torch.tensor(expected).double(), rtol=1e-5, atol=1e-7
    )


def test_only_transductive_predictions_depend_on_the_other_queries():
    made, meta = image_learner()
    population = population_statistics(made, meta, Images(), 3, generator())
    for mode, independent in (("transductive", False), ("one-query", True), ("running", True)):
        given = population if mode == "running" else None
        alone = torch.stack([scores_by(mode, Images(slice(i, i + 1)), given) for i in range(3)]).mean(0)
        together = scores_by(mode, Images(), given)
        assert torch.allclose(alone, together, rtol=1e-4) == independent


def test_running_statistics_are_the_mean_over_training_tasks_of_those_of_their_queries():
    made, meta = image_learner()
    population = population_statistics(made, meta, Images(), 3, generator(8))
    episodes = Images().sample("train", 3, generator(8))

    def forward(params, x, normalise):
        for i in range(1, 5):
            x = F.conv2d(x, params[f"conv{i}.weight"], stride=2, padding=1)
            x = F.relu(normalise(f"norm{i}", x, params[f"norm{i}.weight"], params[f"norm{i}.bias"]))
        return x.mean((2, 3)) @ params["head.weight"].T + params["head.bias"]

    # torch's own running average of rate 1/n is the mean over n batches
    running = {f"norm{i}": (torch.zeros(16), torch.ones(16)) for i in range(1, 5)}
    for n, task in enumerate((task_at(episodes, i) for i in range(3)), start=1):
        adapted = made.adapt(meta, task.support)
        forward(
            adapted,
            task.query.x,
            lambda name, x, weight, bias, n=n: F.batch_norm(x, *running[name], weight, bias, True, 1 / n),
        )
    for name, (mean, variance) in running.items():
        torch.testing.assert_close(population[f"{name}.mean"], mean, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(population[f"{name}.variance"], variance, rtol=1e-4, atol=1e-7)

    task = task_at(Images().sample("test", 1, generator(5)), 0)
    adapted = list(made.trajectory(meta, task.support))[-1]
    outputs = forward(
        adapted, task.query.x, lambda name, x, weight, bias: F.batch_norm(x, *running[name], weight, bias)
    )
    expected = float((outputs - task.query.y).square().mean())
    score = scores_by("running", Images(), population, tasks=1)[0, -1]
    assert float(score) == pytest.approx(expected, rel=1e-4)
    assert float(scores_by("transductive", Images(), tasks=1)[0, -1]) != pytest.approx(expected, rel=1e-2)


def test_evaluation_is_of_the_whole_algorithm_whatever_technique_trained_it():
    made, meta = image_learner()
    plain = evaluate(made, meta, Images(), "test", 2, 2, generator(5))
    for options in ({"first_order": True}, {"checkpoint": True}):
        other = ALGORITHMS.get("maml")(made.learner, 0.1, 2, **options)
        torch.testing.assert_close(evaluate(other, meta, Images(), "test", 2, 2, generator(5)), plain)


def test_under_autocast_an_accuracy_keeps_its_digits():
    """In bfloat16 two thirds would be 0.668."""
    learner = Learner(MODELS.get("conv4-16")((1, 28, 28), 3), "classification")
    made = ALGORITHMS.get("maml")(learner, 0.1, 1)

    class Three(Images):
        def sample(self, split, tasks, generator):
            support, query, classes = super().sample(split, tasks, generator)
            y = torch.arange(3).expand(tasks, 3)
            return Task(Batch(support.x[:, :3], y), Batch(query.x, y), classes)

    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        scores = evaluate(made, made.init(generator()), Three(), "test", 30, 1, generator(5))
    torch.testing.assert_close(scores * 3, (scores * 3).round(), rtol=1e-6, atol=1e-6)
    assert ((scores * 3).round() == 2).any()


class Graded(Learner):
    """Scores by the cross-entropy of whatever is put out: it tells any difference, where an accuracy tells few."""

    def score_of(self, outputs, y):
        return F.cross_entropy(outputs, y) if self.kind == "classification" else F.mse_loss(outputs, y)


class Doubled(Noise):
    """Other noise in the query set."""

    def sample(self, split, tasks, generator):
        task = super().sample(split, tasks, generator)
        return task._replace(query=Batch(torch.rand(task.query.x.shape, generator=generator), task.query.y))


NOISE = Doubled((1, 10, 10), 3, 2)
PROBLEMS = {
    "classification": (Graded(MODELS.get("conv2-8")((1, 10, 10), 3), "classification", 2), NOISE),
    "regression": (Graded(MLP(1, 1, 8, 2), "regression"), SINUSOID),
}


@pytest.fixture
def kinds_of_tasks(monkeypatch):
    """What goes through tasks, as it is made."""
    made = []

    class Watched(OfTasks):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(evaluation, "OfTasks", Watched)
    return made


def both_ways(made, meta, distribution, mode, monkeypatch, tasks=9):
    """Scores found of many tasks at once, and of one after the other."""
    found = []
    for fewest in (1, 1 << 60):
        monkeypatch.setattr(evaluation, "FEWEST", fewest)
        population = {}
        if mode == "running":
            population = population_statistics(made, meta, distribution, 5, generator(8))
        found.append(evaluate(made, meta, distribution, "test", tasks, 2, generator(5), mode, population))
    return found


MODES = {"classification": ["transductive", "one-query", "running"], "regression": ["transductive"]}
EVERY = [
    (name, kind, mode)
    for name, algorithm in ALGORITHMS
    for kind in algorithm.kinds
    for mode in MODES[kind]
    if (name, mode) != ("relation", "running")  # whose relation module has no running statistics
]


@pytest.mark.parametrize(("name", "kind", "mode"), EVERY)
def test_many_tasks_at_once_have_the_scores_that_each_has_alone(name, kind, mode, kinds_of_tasks, monkeypatch):
    monkeypatch.setattr(evaluation, "AT_ONCE_NUMBERS", {"cpu": 9000})  # some tasks, and never all of them
    learner, distribution = PROBLEMS[kind]
    made = ALGORITHMS.get(name)(learner, 0.1, 0 if ALGORITHMS.get(name).order == "none" else 2)
    together, alone = both_ways(made, perturbed(made), distribution, mode, monkeypatch)
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-12)
    assert alone[:, -1].std() > 0
    half = len(kinds_of_tasks) // 2
    assert [each.together for each in kinds_of_tasks] == [True] * half + [False] * half


@pytest.mark.parametrize(
    "name", [name for name, _, mode in EVERY if mode == "running" and ALGORITHMS.get(name).order == "none"]
)
def test_support_set_and_queries_that_are_compared_are_both_normalised_by_the_population(name):
    """The expected scores are of a network in evaluation mode, which normalises all that it sees by the population."""
    learner, distribution = PROBLEMS["classification"]
    made = ALGORITHMS.get(name)(learner, 0.0, 0)
    meta = perturbed(made)
    population = population_statistics(made, meta, distribution, 5, generator(8))

    class InEvaluationMode(Conv4):
        def features(self, params, x):
            return super().features(params | population, x)

    network = InEvaluationMode((1, 10, 10), 3, 8, max_pool=False, normalise=True, blocks=2)
    by_network = replace(made, learner=Graded(network, "classification"))
    expected = evaluate(by_network, meta, distribution, "test", 4, 0, generator(5))
    found = evaluate(made, meta, distribution, "test", 4, 0, generator(5), "running", population)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


class Refused(MLP):
    """A network that looks at its numbers, which torch cannot vmap."""

    def features(self, params, x):
        return super().features(params, x) if float(x.sum()) < 1e9 else x


class Mistaken(MLP):
    """A network that computes something else where its inputs are those of several tasks at once."""

    def features(self, params, x):
        return super().features(params, x + 1.0 if torch._C._functorch.is_batchedtensor(x) else x)


@pytest.mark.parametrize("model", [Refused, Mistaken])
def test_tasks_are_taken_one_by_one_where_many_at_once_cannot_be_or_differ(model, kinds_of_tasks):
    made = ALGORITHMS.get("maml")(Learner(model(1, 1, 40, 2), "regression"), 0.01, 1)
    meta = made.init(generator(2))
    scores = evaluate(made, meta, SINUSOID, "test", 6, 1, generator(5))
    plain = evaluate(algorithm(), meta, SINUSOID, "test", 6, 1, generator(5))
    torch.testing.assert_close(scores, plain)
    assert [each.together for each in kinds_of_tasks] == [False, True]


def test_what_is_wrong_with_one_task_is_raised():
    class Wrong(MLP):
        def features(self, params, x):
            raise RuntimeError("wrong anyhow")

    made = ALGORITHMS.get("maml")(Learner(Wrong(1, 1, 40, 2), "regression"), 0.01, 1)
    with pytest.raises(RuntimeError, match="wrong anyhow"):
        evaluate(made, made.init(generator()), SINUSOID, "test", 6, 1, generator(5))


@pytest.mark.parametrize(("numbers", "sizes"), [(1 << 21, [1, 20]), (400 * 8, [1, 8, 8, 4]), (400 * 7, [1] * 21)])
def test_no_tensor_of_many_tasks_is_larger_than_a_bound(numbers, sizes, monkeypatch):
    """The largest tensor of a task is that of 10 points and 40 units."""
    seen = []

    class Seen(MLP):
        def head(self, params, features):
            lone = not torch._C._functorch.is_batchedtensor(features)
            seen.append(1 if lone else torch._C._functorch.get_unwrapped(features).shape[0])
            return super().head(params, features)

    monkeypatch.setattr(evaluation, "AT_ONCE_NUMBERS", {"cpu": numbers})
    made = ALGORITHMS.get("maml")(Learner(Seen(1, 1, 40, 1), "regression"), 0.01, 0)
    evaluate(made, made.init(generator()), SINUSOID, "test", 20, 0, generator(5))
    assert seen == sizes


def test_under_autocast_tasks_are_taken_one_by_one(kinds_of_tasks):
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        evaluate(algorithm(), algorithm().init(generator()), SINUSOID, "test", 3, 1, generator(5))
    assert not kinds_of_tasks[0].together
