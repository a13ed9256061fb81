import itertools
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.correctness.gate import nudge, relative_error
from metabench.engines import loop, native
from metabench.engines.base import ENGINES, Stepwise
from metabench.engines.compiler import compiler
from metabench.engines.flat import Flat
from metabench.engines.native import library, operations
from metabench.engines.native.code import Program
from metabench.engines.native.loops import merged
from metabench.engines.native.value import Value, row_major
from metabench.engines.outer import Outer
from metabench.errors import Unsupported, UserError
from metabench.models.mlp import MLP
from metabench.tasks.base import TASKS, EpisodeShape
from metabench.tensors import Batch, Task, cast

pytestmark = pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")
REGRESSION = [
    name for name in ALGORITHMS.names() if "regression" in ALGORITHMS.get(name).kinds and name != "from-scratch"
]


@pytest.fixture(autouse=True)
def compiled_in_a_hurry(monkeypatch):
    """What comes out is the same."""
    monkeypatch.setattr(native, "FLAGS", ("-O1", *native.FLAGS[1:]))


def problem(algorithm, task="sinusoid", dtype=torch.float64, tasks=3, **fields):
    shape = EpisodeShape(1, 4, 5) if task == "sinusoid" else EpisodeShape(3, 2, 1)
    distribution = TASKS.get(task).build(shape, None)
    model = MLP(1, 1, 9, 2) if task == "sinusoid" else MLP(784, 3, 5, 1)
    learner = Learner(model, distribution.kind, distribution.training_classes)
    made = ALGORITHMS.get(algorithm)(learner, 0.02, 1, **fields)
    meta = {n: p.to(dtype) for n, p in nudge(made.init(torch.Generator()), torch.Generator().manual_seed(2)).items()}
    episodes = distribution.sample("train", tasks, torch.Generator().manual_seed(1))
    return made, meta, cast(episodes, next(iter(meta.values())))


def test_optimised_as_for_users(monkeypatch):
    monkeypatch.undo()
    assert "-O3" in native.FLAGS
    made, meta, episodes = problem("maml")
    assert (
        relative_error(ENGINES.get("native").build(made)(meta, episodes)[0], loop.build(made)(meta, episodes)[0])
        < 1e-12
    )


@pytest.mark.parametrize("algorithm", REGRESSION)
def test_every_regression_algorithm_has_the_direction_of_loop(algorithm):
    made, meta, episodes = problem(algorithm)
    before = {name: p.clone() for name, p in meta.items()}
    direction, metrics = ENGINES.get("native").build(made)(meta, episodes)
    truth, truth_metrics = loop.build(made)(meta, episodes)
    assert relative_error(direction, truth) < 1e-12
    assert float(metrics["loss"]) == pytest.approx(float(truth_metrics["loss"]), rel=1e-12)
    assert all(torch.equal(meta[name], before[name]) for name in meta)


@pytest.mark.parametrize("algorithm", ["maml", "prototypical"])
def test_classification_by_dense_layers(algorithm):
    made, meta, episodes = problem(algorithm, "glyphs")
    assert (
        relative_error(ENGINES.get("native").build(made)(meta, episodes)[0], loop.build(made)(meta, episodes)[0])
        < 1e-12
    )


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "momentum"])
def test_inner_optimisers(optimizer):
    made, meta, episodes = problem("maml", inner_optimizer=optimizer)
    assert (
        relative_error(ENGINES.get("native").build(made)(meta, episodes)[0], loop.build(made)(meta, episodes)[0])
        < 1e-11
    )


def test_other_weights_and_other_numbers_of_tasks_need_no_compiling(monkeypatch):
    made, meta, episodes = problem("maml", tasks=5)
    step = ENGINES.get("native").build(made)
    step(meta, episodes)
    monkeypatch.setattr(native, "compiled", None)
    other = {name: 0.5 * p for name, p in meta.items()}
    fewer = problem("maml", tasks=2)[2]
    assert relative_error(step(other, fewer)[0], loop.build(made)(other, fewer)[0]) < 1e-12


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "outer",
    [Outer("adam", 0.1, "linear", 4, warmup=1, clip=0.5, epsilon=0.01), Outer("sgd", 0.2, "none", 4)],
    ids=lambda outer: outer.optimizer,
)
def test_iterations_are_those_of_a_step_and_torchs_optimiser(outer, threads):
    made, meta, episodes = problem("maml")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        mine, plain = ENGINES.get("native").start(made, meta, outer), Stepwise(loop.build(made), meta, outer)
        for _ in range(4):
            losses = [float(each.run(each.take(episodes))["loss"]) for each in (mine, plain)]
            assert losses[0] == pytest.approx(losses[1], rel=1e-10)
            for name in meta:
                torch.testing.assert_close(mine.meta[name], plain.meta[name], rtol=1e-9, atol=1e-12)
    finally:
        torch.set_num_threads(before)
    assert relative_error(mine.meta, meta) > 1e-2


FEWER_THREADS = """
import torch
from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.engines import native
from metabench.engines.base import ENGINES
from metabench.engines.outer import Outer
from metabench.errors import Unsupported
from metabench.models.mlp import MLP
from metabench.tasks.base import TASKS, EpisodeShape

native.FLAGS = ("-O1", *native.FLAGS[1:])
torch.set_num_threads(2)
maml = ALGORITHMS.get("maml")(Learner(MLP(1, 1, 4, 1), "regression"), 0.1, 1)
meta = maml.init(torch.Generator())
iterations = ENGINES.get("native").start(maml, meta, Outer("sgd", 0.1, "none", 4))
episodes = TASKS.get("sinusoid").build(EpisodeShape(1, 2, 2), None).sample("train", 4, torch.Generator())
try:
    iterations.run(iterations.take(episodes))
except Unsupported as error:
    print(error)
print(all(torch.equal(meta[name], p) for name, p in iterations.meta.items()))
"""


def test_fewer_threads_than_asked_for_are_refused_and_change_nothing():
    """The sums of threads that never ran were added, whatever lay there."""
    variables = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    found = subprocess.run([sys.executable, "-c", FEWER_THREADS], env=variables, capture_output=True, text=True)
    sentence, unchanged = found.stdout.splitlines()
    assert sentence.startswith("native was made for 2 threads, and OpenMP gives it 1: ")
    assert unchanged == "True"


def test_another_number_of_threads_is_compiled_for(monkeypatch):
    made, meta, episodes = problem("maml")
    iterations = ENGINES.get("native").start(made, meta, Outer("sgd", 0.1, "none", 4))
    for threads in (1, 2, 1):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        iterations.run(iterations.take(episodes))
    assert [function.threads for function in iterations.functions.values()] == [1, 2]


def test_float32_is_float32_and_not_a_number_stays_one():
    made, meta, episodes = problem("maml", dtype=torch.float32)
    step = ENGINES.get("native").build(made)
    direction, _ = step(meta, episodes)
    assert {d.dtype for d in direction.values()} == {torch.float32}
    assert 1e-9 < relative_error(direction, loop.build(made)(meta, episodes)[0]) < 1e-3
    broken = {name: p * float("nan") for name, p in meta.items()}
    assert step(broken, episodes)[1]["loss"].isnan()


@pytest.mark.parametrize("columns", [1, 3, 7, 8, 16, 40, 69, 131])
@pytest.mark.parametrize("rows", [1, 5, 13, 40])
def test_layouts_of_products(rows, columns):
    """Products of every layout are planned to read what they mean: the strides are checked, not the speed."""
    program, inner = Program(), 6
    for left in (row_major((rows, inner)), (1, rows)):
        for right in (row_major((inner, columns)), (1, inner)):
            product = program.product(Value("a", (rows, inner), left), Value("b", (inner, columns), right))
            assert product.shape == (rows, columns)
            call = next(line for line in reversed(program.lines) if line.startswith("product<"))
            m, n, k, _, _, _ = (int(size) for size in call[8 : call.index(">")].split(","))
            assert k == inner and {m, n} == {rows, columns}


def test_loops_merge_what_lies_in_line():
    a, b = Value("a", (4, 1, 3), (3, 3, 1)), Value("b", (4, 1, 3), (3, 0, 1))
    assert merged([a, b]) == ((12,), [Value("a", (12,), (1,)), Value("b", (12,), (1,))])
    rows, row = Value("a", (4, 3), (3, 1)), Value("b", (4, 3), (0, 1))
    assert merged([rows, row]) == ((4, 3), [rows, row])


def test_buffers_are_used_again_only_when_they_are_done_with():
    program, value = Program(), Value("in0", (64,), (1,))
    chain = [value]
    for _ in range(6):
        chain.append(operations.OPERATIONS["neg"](program, chain[-1]))
    operations.OPERATIONS["add"](program, chain[1], chain[-1])  # the second one lives to the end
    declarations, numbers = program.allocate()
    assert len(declarations) == 7
    assert numbers == 3 * 64


def test_what_it_cannot_carry_is_said():
    with pytest.raises(Unsupported, match="checkpoint has no say"):
        ENGINES.get("native").build(problem("maml", checkpoint=True)[0])


def test_without_a_compiler_there_is_a_sentence(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(Unsupported, match="needs a C\\+\\+ compiler"):
        ENGINES.get("native").build(problem("maml")[0])


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """The folders of two programs, and the only ones that are searched."""
    found = [tmp_path / "plain" / "g++", tmp_path / "with space" / "g++-99"]
    for program in found:
        program.parent.mkdir()
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join(str(program.parent) for program in found))
    return [str(program) for program in found]


@pytest.mark.parametrize(
    ("asked", "program", "options"),
    [
        (None, 0, ()),
        ("", 0, ()),
        (" ", 0, ()),
        ("g++-99", 1, ()),
        ("g++-99 -m64", 1, ("-m64",)),
        ("g++ g++-99 '-D A'", 0, ("g++-99", "-D A")),
        ("{}", 1, ()),
        ("'{}' -m64", 1, ("-m64",)),
    ],
)
def test_cxx_is_a_command(asked, program, options, programs, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    if asked is not None:
        monkeypatch.setenv("CXX", asked.format(programs[1]))
    assert compiler("native") == (programs[program], *options)


@pytest.mark.parametrize("asked", ["g+++", "/nowhere/g++ -m64", "'g++", "''"])
def test_a_cxx_that_is_not_found_is_named_and_nothing_takes_its_place(asked, programs, monkeypatch):
    monkeypatch.setenv("CXX", asked)
    with pytest.raises(Unsupported, match="^native needs a C\\+\\+ compiler, and CXX names ") as refused:
        compiler("native")
    assert f"CXX names '{asked}', which is not found" in str(refused.value)


def test_what_was_compiled_once_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))
    source = 'extern "C" int answer() { return 42; }'
    library.compiled.cache_clear()
    assert library.kept_libraries() == 0
    assert library.compiled(source, native.FLAGS).answer() == 42
    assert library.kept_libraries() == 1
    library.compiled.cache_clear()  # as in another process

    def refuse(command, **options):
        raise AssertionError(command)

    monkeypatch.setattr(library.subprocess, "run", refuse)
    assert library.compiled(source, native.FLAGS).answer() == 42
    for other in (lambda: library.compiled(source + " ", native.FLAGS), lambda: library.compiled(source, ("-O1",))):
        with pytest.raises(AssertionError):
            other()
    library.compiled.cache_clear()
    monkeypatch.setattr(library, "_target", lambda compiler, march: "another processor")
    with pytest.raises(AssertionError):
        library.compiled(source, native.FLAGS)
    assert [file.suffix for file in (tmp_path / "native").iterdir()] == [".so"]


def test_a_library_that_was_exchanged_is_compiled_anew(monkeypatch, tmp_path):
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))
    right, wrong = (f'extern "C" int answer() {{ return {number}; }}' for number in (42, 41))
    library.compiled.cache_clear()
    assert library.compiled(wrong, native.FLAGS).answer() == 41
    (other,) = (tmp_path / "native").iterdir()
    stale = other.read_bytes()
    assert library.compiled(right, native.FLAGS).answer() == 42
    (kept,) = set((tmp_path / "native").iterdir()) - {other}
    kept.unlink()  # the loaded one keeps its memory
    kept.write_bytes(stale)
    library.compiled.cache_clear()
    assert library.compiled(right, native.FLAGS).answer() == 42


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_iterations_take_back_what_is_their_own(optimizer):
    """Without a call: this needs no compiler."""
    made, meta, _ = series(Net())
    meta["square"] = torch.arange(2.0 * 3 * 4 * 5, dtype=torch.float64).view(2, 3, 4, 5)
    iterations = Flat("native", made, meta, Outer(optimizer, 0.1, "none", 4))
    for moment in iterations.moments:
        moment.copy_(torch.rand_like(moment))
    state = iterations.outer_state
    before = [[p.clone() for p in part.values()] for part in state[:3]]
    iterations.meta = iterations.meta
    iterations.restore(state)
    after = [list(part.values()) for part in iterations.outer_state[:3]]
    assert all(map(torch.equal, *map(list, map(itertools.chain.from_iterable, (before, after)))))
    assert all(torch.equal(iterations.meta[name], p) for name, p in meta.items())


def test_an_operation_without_a_kernel_is_named(monkeypatch):
    made, meta, episodes = problem("maml")
    monkeypatch.delitem(operations.OPERATIONS, "relu")
    native.body_for.cache_clear()
    with pytest.raises(Unsupported, match="no C\\+\\+ for the operation relu"):
        ENGINES.get("native").build(made)(meta, episodes)


@dataclass(frozen=True)
class Net:
    """A small network on series, with an operation of choice in it."""

    change: Callable = lambda h: h
    extra: bool = False
    outputs: int = 3
    batch_statistics = False
    head_names = frozenset({"head.weight"})

    def init(self, generator):
        unused = {"unused": torch.ones(2, 2)} if self.extra else {}
        return unused | {"a": torch.randn(4, 2, 3, generator=generator), "head.weight": torch.ones(3, 4)}

    def features(self, params, x):
        return torch.tanh(self.change(F.linear(x.flatten(1), params["a"].flatten(1))))

    def head(self, params, features):
        return F.linear(features, params["head.weight"])


class Convolving(Net):
    def features(self, params, x):
        return F.conv1d(x, params["a"]).mean(-1)


def series(net, dtype=torch.float64, **fields):
    made = ALGORITHMS.get("maml")(Learner(net, "classification"), 0.1, 1, **fields)
    meta = {name: p.to(dtype) for name, p in made.init(torch.Generator().manual_seed(1)).items()}
    x = torch.randn(2, 3, 2, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    batch = Batch(x.to(dtype), torch.arange(3).expand(2, 3).contiguous())
    return made, meta, Task(batch, batch, torch.zeros(2, 3, dtype=torch.int64))


def test_a_convolution_of_series_is_refused_by_name():
    made, meta, episodes = series(Convolving())
    with pytest.raises(Unsupported, match="convolutions of images alone, and here are 3 dimensions"):
        ENGINES.get("native").build(made)(meta, episodes)


def test_a_parameter_without_use_has_a_direction_of_zero():
    made, meta, episodes = series(Net(extra=True))
    direction, _ = ENGINES.get("native").build(made)(meta, episodes)
    assert not direction["unused"].any()
    assert relative_error(direction, loop.build(made)(meta, episodes)[0]) < 1e-12


@pytest.fixture
def failing(tmp_path, monkeypatch):
    """Compiles by a compiler that does nothing but say something."""

    def compile_by(says, kind=Unsupported, ends="exit 1"):
        program = tmp_path / "g++"
        program.write_text(f'#!/bin/sh\ncat >&2 <<"END"\n{says}\nEND\n{ends}\n')
        program.chmod(0o755)
        monkeypatch.setenv("CXX", str(program))
        monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))
        library.compiled.cache_clear()
        with pytest.raises(kind) as raised:
            library.compiled("int one;", native.FLAGS)
        assert not list((tmp_path / "native").iterdir())
        return str(raised.value)

    return compile_by


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ("clang: error: unsupported option '-fopenmp'", r"unsupported option '-fopenmp'; it lacks OpenMP: install GCC"),
        ("iterate.cpp:7:10: fatal error: 'omp.h' file not found", r"'omp.h' file not found; it lacks OpenMP: install"),
        (
            "ld: cannot find -lgomp: No such file\ncollect2: error: ld returned 1 exit status",
            "ld returned 1 exit status; it lacks OpenMP: install GCC",
        ),
        ("iterate.cpp:9:1: error: no register is left", r"does not take native's code: no register is left$"),
        ("killed", r"does not take native's code: killed$"),
        ("Assembler messages:\nno such instruction\n\n", r"does not take native's code: no such instruction$"),
        ("", r"does not take native's code: it says nothing, and ends with 1$"),
    ],
)
def test_a_compiler_that_fails_is_quoted(error, sentence, failing):
    assert re.search(sentence, failing(error))


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        ("g++: fatal error: Killed signal terminated program cc1plus\ncompilation terminated.", "exit 1"),
        ("virtual memory exhausted: Cannot allocate memory", "exit 1"),
        ("cc1plus: out of memory allocating 65536 bytes after a total of 1 bytes", "exit 1"),
        ("clang: error: unable to execute command: Killed", "exit 1"),
        ("", "kill -9 $$"),
    ],
)
def test_a_compiler_without_memory_is_no_fault_of_the_code(error, ends, failing):
    assert "the C++ compiler ran out of memory" in failing(error, MemoryError, ends)


def test_a_full_disk_is_said(failing, tmp_path):
    said = failing("iterate.cpp:1: fatal error: error writing to /tmp/x.s: No space left on device", UserError)
    assert said == f"cannot write to '{tmp_path / 'native'}': No space left on device"


def test_a_compiler_says_what_is_known_and_writes_where_it_is_cleared_away(failing):
    said = failing("", ends='echo "error: $LC_ALL $TMPDIR" >&2\nexit 1')
    assert re.search(r": C \S*/native/\.compile-\w+$", said)


def test_a_kept_library_is_loaded_from_where_nothing_can_be_written(monkeypatch, tmp_path):
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))
    source = 'extern "C" int answer() { return 42; }'
    library.compiled.cache_clear()
    library.compiled(source, native.FLAGS)
    library.compiled.cache_clear()

    def refuse():
        raise UserError("read-only")

    monkeypatch.setattr(library, "make_cache_dir", refuse)
    assert library.compiled(source, native.FLAGS).answer() == 42
    with pytest.raises(UserError, match="read-only"):
        library.compiled(source + " ", native.FLAGS)


def test_a_file_in_place_of_the_folder_of_libraries_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))
    (tmp_path / "native").write_text("")
    library.compiled.cache_clear()
    with pytest.raises(UserError, match="cannot write to '.*native': File exists"):
        library.compiled("int one;", native.FLAGS)
    assert library.kept_libraries() == 0


def test_what_a_killed_compiler_has_left_is_removed_after_a_day(monkeypatch, tmp_path):
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))
    old, new = (tmp_path / "native" / f".compile-{name}" for name in ("old", "new"))
    for place, age in ((old, 25), (new, 23)):
        place.mkdir(parents=True)
        (place / "iterate.cpp").write_text("")
        then = time.time() - age * 3600
        os.utime(place, (then, then))
    library.compiled.cache_clear()
    library.compiled("int one;", native.FLAGS)
    assert not old.exists() and new.exists()


def test_a_tensor_that_the_network_keeps_is_refused():
    kept = torch.randn(4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    made, meta, episodes = series(Net(lambda h: h * kept))
    with pytest.raises(Unsupported, match="a network keeps for itself"):
        ENGINES.get("native").build(made)(meta, episodes)


def test_tasks_of_another_type_are_refused():
    """Their memory would be read as numbers that they are not."""
    made, meta, episodes = series(Net())
    whole = Batch(episodes.support.x.int(), episodes.support.y)
    with pytest.raises(Unsupported, match="native reads int64 and torch.float64, not torch.int32"):
        ENGINES.get("native").build(made)(meta, Task(whole, whole, episodes.classes))
    with pytest.raises(Unsupported, match=r"not in torch\.bfloat16"):
        ENGINES.get("native").build(made)(*series(Net(), torch.bfloat16)[1:])
