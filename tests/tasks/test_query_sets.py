import pytest
import torch

from metabench.tasks.query_sets import QuerySets
from metabench.tensors import Batch, Task

WAYS, SHOTS, QUERIES = 3, 2, 6


class Numbered:
    """Examples that say what they are: their task, class and number, from 0 in the support set and 100 in the other."""

    kind = "classification"
    input_shape = (3,)
    outputs = WAYS
    training_classes = WAYS

    def sample(self, split, tasks, generator, share=slice(None)):
        noise = torch.rand(tasks, generator=generator)[share]

        def batch(count, first):
            number, way = torch.meshgrid(torch.arange(count), torch.arange(WAYS), indexing="ij")
            y = way.reshape(-1).expand(len(noise), -1)
            numbers = (first + number.reshape(-1)).expand(len(noise), -1)
            return Batch(torch.stack([noise[:, None].expand_as(y), y.float(), numbers.float()], -1), y)

        classes = torch.arange(WAYS).expand(len(noise), -1)
        return Task(batch(SHOTS, 0), batch(QUERIES, 100), classes)


def drawn(single, tasks=400, seed=0, share=slice(None)):
    generator = torch.Generator().manual_seed(seed)
    return QuerySets(Numbered(), QUERIES, single).sample("test", tasks, generator, share), generator


@pytest.mark.parametrize("single", [False, True])
def test_queries_are_different_examples_of_the_classes_that_were_drawn(single):
    task, _ = drawn(single)
    x, y = task.query
    assert y.shape == (400, QUERIES)
    assert torch.equal(x[..., 1], y.float())
    assert torch.equal(x[..., 0], task.support.x[:, :1, 0].expand(-1, QUERIES))  # of their own task
    for of_task in x:
        numbers = of_task[:, 1:].tolist()
        assert len({tuple(each) for each in numbers}) == QUERIES
        for way in range(WAYS):  # the first examples of a class, in their order
            assert [n for w, n in numbers if w == way] == [100 + i for i in range(sum(w == way for w, _ in numbers))]


def test_the_class_of_each_query_is_drawn_by_itself():
    y = drawn(single=False, tasks=3000)[0].query.y
    joint = torch.zeros(WAYS, WAYS)
    joint.index_put_((y[:, 0], y[:, 4]), torch.ones(3000), accumulate=True)
    torch.testing.assert_close(joint / 3000, torch.full((WAYS, WAYS), 1 / 9), rtol=0, atol=0.025)


def test_single_draws_one_class_for_all_queries_of_a_task():
    y = drawn(single=True, tasks=3000)[0].query.y
    assert torch.equal(y, y[:, :1].expand_as(y))
    torch.testing.assert_close(y[:, 0].bincount() / 3000, torch.full((WAYS,), 1 / 3), rtol=0, atol=0.035)


@pytest.mark.parametrize("single", [False, True])
def test_support_sets_and_the_generator_are_as_without_a_choice(single):
    plain = torch.Generator().manual_seed(0)
    expected = Numbered().sample("test", 400, plain)
    task, generator = drawn(single)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(task.support, expected.support, strict=True))
    assert torch.equal(generator.get_state(), plain.get_state())


def test_tasks_are_a_function_of_the_generator_and_a_share_is_part_of_the_whole():
    whole, again, other = drawn(False)[0], drawn(False)[0], drawn(False, seed=1)[0]
    assert torch.equal(whole.query.x, again.query.x)
    assert not torch.equal(whole.query.y, other.query.y)
    part = drawn(False, share=slice(100, 200))[0]
    assert torch.equal(part.query.x, whole.query.x[100:200])
