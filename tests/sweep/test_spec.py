import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from metabench.errors import UserError
from metabench.sweep import spec
from metabench.sweep.builtin import builtin_sweeps, find_sweep
from metabench.sweep.spec import assignments, load_sweep, parse_sweep
from metabench.sweep.threads import threads_in_words

MINIMAL = '[[grid]]\ntask = "sinusoid"\nalgorithm = "maml"\n'


def parse(text: str, cores: int = 2):
    return parse_sweep("test", tomllib.loads(text), text, cores)


def test_axes_multiply():
    cells = parse(
        '[[grid]]\ntask="sinusoid"\nalgorithm=["maml","anil"]\nengine=["loop","vmap"]\ninner_steps=[1,2,3]'
    ).cells
    assert len(cells) == 12
    assert len({cell.id for cell in cells}) == 12
    assert {cell.inner_steps for cell in cells} == {1, 2, 3}


def test_what_is_left_open_comes_from_the_preset_then_from_the_fallback():
    (cell,) = parse(MINIMAL).cells
    assert (cell.model, cell.meta_batch, cell.inner_lr) == ("mlp-40x2", 25, 0.01)  # quick/sinusoid
    assert (cell.ways, cell.shots, cell.eval_query, cell.precision, cell.threads) == (1, 10, 100, "float32", 1)
    (cell,) = parse(MINIMAL + 'preset = "published"\n').cells
    assert cell.iterations == 70_000


@pytest.mark.parametrize(
    ("axes", "threads"),
    [
        ('task = "sinusoid"\nmodel = "mlp-40x2"', {1}),
        ('task = "sinusoid"\nmodel = "mlp-80x2"', {4}),
        ('task = "sinusoid"\nmodel = ["mlp-40x2", "mlp-160x2"]', {4}),
        ('task = "sinusoid"\nmodel = "mlp-640x2"', {4}),
        ('task = "sinusoid"\ndevice = "cuda"', {4}),
        ('task = "glyphs"\nmodel = ["conv4-16", "resnet18"]', {4}),
        ('task = "glyphs"\nworld_size = 2', {2}),
        ('task = "glyphs"\nworld_size = 8\nmeta_batch = 8', {1}),
        ('task = "sinusoid"\nthreads = [1, 3]', {1, 3}),
        ('task = "glyphs"\nthreads = 9', {9}),
    ],
)
def test_small_networks_have_one_thread_and_others_one_for_each_core_unless_it_is_said(axes, threads):
    grid = f'[[grid]]\nalgorithm = "maml"\n{axes}\n'
    assert {cell.threads for cell in parse(grid, cores=4).cells} == threads


def test_threads_of_the_run_are_for_small_networks_too():
    grid = '[[grid]]\nalgorithm = "maml"\ntask = ["sinusoid", "glyphs"]\n'
    assert {cell.threads for cell in parse("[run]\nthreads = 3\n" + grid).cells} == {3}


def test_what_was_filled_in_for_threads_is_said_by_model():
    grids = '[[grid]]\nalgorithm = "maml"\ntask = "glyphs"\nmodel = ["conv4-64", "conv4-16"]\n' + MINIMAL
    assert threads_in_words(parse(grids).cells) == "1 for mlp-40x2; 2 for conv4-64, conv4-16"


def test_a_byte_order_mark_before_a_sweep_is_skipped(tmp_path):
    (tmp_path / "s.toml").write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    sweep = load_sweep(tmp_path / "s.toml", {"inner_steps": [2]}, 1)
    assert sweep.text.startswith("[[grid]]") and sweep.cells[0].inner_steps == 2


def test_the_grid_goes_before_defaults_and_both_before_the_preset():
    (cell,) = parse("[defaults]\nmeta_batch = 7\ninner_lr = 0.5\n" + MINIMAL + "meta_batch = 3\n").cells
    assert (cell.meta_batch, cell.inner_lr) == (3, 0.5)


def test_images_are_trained_with_the_presets_of_omniglot():
    glyphs, omniglot = parse(
        '[[grid]]\ntask=["glyphs","omniglot"]\nalgorithm="maml"\npreset="published"\nshots=5'
    ).cells
    assert glyphs.query == omniglot.query == 5
    assert glyphs.inner_lr == 2.0
    assert glyphs.eval_query == 5


def test_sinusoids_have_one_way_whatever_the_sweep_says():
    assert {cell.ways for cell in parse(MINIMAL + "ways = [5, 20]\n").cells} == {1}


def test_training_tasks_are_as_the_held_out_ones_unless_said():
    (cell,) = parse('[[grid]]\ntask="glyphs"\nalgorithm="maml"\nways=20\nshots=5\ntrain_ways=0\ntrain_shots=0').cells
    assert (cell.train_ways, cell.train_shots) == (20, 5)
    (cell,) = parse('[[grid]]\ntask="glyphs"\nalgorithm="maml"\ntrain_ways=60\ntrain_shots=10').cells
    assert (cell.ways, cell.shots, cell.train_ways, cell.train_shots) == (5, 1, 60, 10)
    assert {cell.train_ways for cell in parse(MINIMAL + "train_ways = [0, 5]\n").cells} == {1}


def test_techniques_are_left_out_unless_asked_for():
    (cell,) = parse(MINIMAL).cells
    assert (cell.first_order, cell.checkpoint, cell.inner_optimizer) == (0.0, False, "sgd")
    assert (cell.outer_clip, cell.outer_warmup, cell.batch_norm) == (0.0, 0, "transductive")
    cells = parse(MINIMAL + 'first_order = [true, 0.5, 0]\ncheckpoint = [true, false]\ninner_optimizer="adam"').cells
    assert {(cell.first_order, cell.checkpoint) for cell in cells} == {
        (share, recompute) for share in (1.0, 0.5, 0.0) for recompute in (True, False)
    }
    assert all(type(cell.first_order) is float for cell in cells)
    # true and 1 are the same cell
    assert parse(MINIMAL + "first_order = true").cells == parse(MINIMAL + "first_order = 1").cells


def test_excludes_take_away_and_includes_add():
    sweep = parse(
        '[[grid]]\ntask="sinusoid"\nalgorithm=["maml","reptile"]\ninner_steps=[1,5]\n'
        'exclude=[{algorithm="reptile", inner_steps=[1]}]\ninclude=[{algorithm="maml", inner_steps=50}]'
    )
    assert {(c.algorithm, c.inner_steps) for c in sweep.cells} == {
        ("maml", 1),
        ("maml", 5),
        ("reptile", 5),
        ("maml", 50),
    }


def test_a_cell_of_two_grids_is_measured_once_for_both():
    (cell,) = parse(MINIMAL + 'measure=["time"]\n' + MINIMAL + 'measure=["quality"]\n').cells
    assert cell.measure == ("time", "quality")


def test_overrides_replace_an_axis_everywhere_and_are_kept_in_the_text(tmp_path: Path):
    file = tmp_path / "s.toml"
    file.write_text(MINIMAL + "inner_steps = [1, 2]\n" + MINIMAL + "meta_batch = 5\ninclude = [{inner_steps = 9}]\n")
    sweep = load_sweep(file, {"inner_steps": [4], "engine": ["vmap"]}, 2)
    assert {(cell.inner_steps, cell.engine) for cell in sweep.cells} == {(4, "vmap")}
    again = tmp_path / "as-run.toml"
    again.write_text(sweep.text)
    assert load_sweep(again, {}, 2).cells == sweep.cells
    with pytest.raises(UserError, match=r"has the table \[override\]"):
        load_sweep(again, {"engine": ["loop"]}, 2)


def test_overrides_with_booleans_can_be_run_again(tmp_path: Path):
    file = tmp_path / "s.toml"
    file.write_text(MINIMAL)
    given = ("checkpoint=true,false", "first_order=true,0.5", "inner_optimizer=adam", "outer_clip=1e-05")
    sweep = load_sweep(file, assignments(given, "--set"), 2)
    assert {(cell.checkpoint, cell.first_order, cell.inner_optimizer, cell.outer_clip) for cell in sweep.cells} == {
        (recompute, share, "adam", 1e-5) for recompute in (True, False) for share in (1.0, 0.5)
    }
    again = tmp_path / "as-run.toml"
    again.write_text(sweep.text)
    assert "checkpoint = [true, false]" in sweep.text
    assert load_sweep(again, {}, 2).cells == sweep.cells


@pytest.mark.parametrize("text", ["2024", "true", "1e5", "nan", "inf", "1_0"])
def test_an_axis_of_texts_is_given_a_text_that_looks_like_something_else(text, tmp_path: Path):
    assert assignments([f"path={text}", "split=1,x"], "--set") == {"path": [text], "split": ["1", "x"]}
    file = tmp_path / "s.toml"
    file.write_text('[[grid]]\ntask = "images"\nalgorithm = "maml"\n')
    sweep = load_sweep(file, assignments([f"path={text}"], "--set"), 2)
    assert {cell.path for cell in sweep.cells} == {text}
    file.write_text(sweep.text)
    kept = load_sweep(file, {}, 2, only=assignments([f"path={text}", "algorithm=maml"], "--only"))
    assert kept.cells == sweep.cells


def test_the_part_of_a_sweep_that_has_some_values_is_kept_in_the_text(tmp_path: Path):
    file = tmp_path / "s.toml"
    file.write_text(
        '[[grid]]\ntask="sinusoid"\nalgorithm=["maml","reptile"]\ninner_steps=[1,5]\n'
        '[[grid]]\ntask="sinusoid"\nalgorithm="maml"\ninner_steps=5\nmeta_batch=7\n'
        '[[grid]]\ntask="sinusoid"\nalgorithm="fomaml"\ninner_steps=9\n'
    )
    sweep = load_sweep(file, {"shots": [3]}, 2, only={"algorithm": ["maml", "fomaml"], "inner_steps": [5, 9]})
    # by --set each of the grids would have both algorithms and both steps
    assert [(cell.algorithm, cell.inner_steps, cell.shots) for cell in sweep.cells] == [
        ("maml", 5, 3),
        ("maml", 5, 3),
        ("fomaml", 9, 3),
    ]
    again = tmp_path / "as-run.toml"
    again.write_text(sweep.text)
    assert load_sweep(again, {}, 2).cells == sweep.cells
    with pytest.raises(UserError, match=r"has the table \[only\]"):
        load_sweep(again, {}, 2, only={"inner_steps": [5]})


@pytest.mark.parametrize(
    ("only", "said"),
    [
        ({"algorithm": ["maml", "reptle"]}, "did you mean 'reptile'"),
        ({"algorithm": ["anil"]}, "no configuration with algorithm anil to keep: it has maml, reptile"),
        ({"inner_steps": [7]}, "no configuration with inner_steps 7 to keep: it has 1, 5, 10"),
        ({"algorithm": ["reptile"], "inner_steps": [5]}, "with algorithm reptile and inner_steps 5 at once"),
        ({"inner_step": [5]}, "did you mean 'inner_steps'"),
    ],
)
def test_a_part_that_a_sweep_has_not_is_refused(tmp_path: Path, only: dict[str, list[Any]], said: str):
    file = tmp_path / "s.toml"
    file.write_text(
        '[[grid]]\ntask="sinusoid"\nalgorithm=["maml","reptile"]\ninner_steps=[10,1,5]\n'
        'exclude=[{algorithm="reptile", inner_steps=5}]'
    )
    with pytest.raises(UserError, match=re.escape(said)):
        load_sweep(file, {}, 2, only=only)


def test_the_syntax_of_set_and_only():
    given = ["checkpoint=false,true", "first_order=true", "inner_steps=1,5", "inner_lr=0.5", "model=mlp-40x2"]
    assert assignments(given, "--set") == {
        "checkpoint": [False, True],
        "first_order": [True],
        "inner_steps": [1, 5],
        "inner_lr": [0.5],
        "model": ["mlp-40x2"],
    }
    with pytest.raises(UserError, match="--only takes axis=value"):
        assignments(["inner_steps"], "--only")
    with pytest.raises(UserError, match="did you mean 'inner_steps'"):
        assignments(["inner_step=1"], "--set")
    with pytest.raises(UserError, match=r"'noise_pairs' is no axis: a sweep file has it under \[run\]"):
        assignments(["noise_pairs=0"], "--set")
    with pytest.raises(UserError, match="'measure' is no axis: a sweep file has it in a"):
        assignments(["measure=time"], "--set")
    with pytest.raises(UserError, match="--set has the axis 'seed' twice"):
        assignments(["seed=0", "seed=1"], "--set")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (MINIMAL.replace("maml", "mamll"), "unknown algorithm 'mamll': did you mean 'maml'?"),
        (MINIMAL + 'engine = "lop"', "unknown engine 'lop': did you mean 'loop'?"),
        (MINIMAL.replace("sinusoid", "sinus"), "unknown task 'sinus': did you mean 'sinusoid'?"),
        (MINIMAL + 'model = "conv4-65"', "unknown model 'conv4-65': did you mean 'conv4-64"),
        (MINIMAL + "inner_stpes = 1", "unknown axis 'inner_stpes': did you mean 'inner_steps'?"),
        (MINIMAL + "rounds = 3", "'rounds' is no axis: a sweep file has it under [run]"),
        (MINIMAL + "seeds = [0, 1]", "unknown axis 'seeds': did you mean 'seed'?"),
        (MINIMAL + "inner_steps = -1", "axis 'inner_steps' takes whole numbers of 0 or more, not -1"),
        (MINIMAL + "meta_batch = [1, 0]", "axis 'meta_batch' takes whole numbers of 1 or more, not 0"),
        (MINIMAL + "meta_batch = true", "axis 'meta_batch' takes whole numbers of 1 or more, not True"),
        (MINIMAL + "meta_batch = []", "axis 'meta_batch' is an empty list"),
        (MINIMAL + 'inner_lr = "big"', "axis 'inner_lr' takes positive numbers, not 'big'"),
        (MINIMAL + 'device = "gpu"', "unknown device 'gpu'"),
        (MINIMAL + 'inner_optimizer = "adm"', "unknown inner_optimizer 'adm': did you mean 'adam'?"),
        (MINIMAL + 'inner_optimizer = ["sgd", "rms"]', "unknown inner_optimizer 'rms'"),
        (MINIMAL + 'precision = "bfloat"', "unknown precision 'bfloat': did you mean 'bfloat16'?"),
        (MINIMAL + 'outer_decay = "cosin"', "unknown outer_decay 'cosin': did you mean 'cosine'?"),
        (MINIMAL + 'batch_norm = "one_query"', "unknown batch_norm 'one_query': did you mean 'one-query'?"),
        (MINIMAL + "checkpoint = 1", "axis 'checkpoint' takes true or false, not 1"),
        (MINIMAL + 'checkpoint = "yes"', "axis 'checkpoint' takes true or false, not 'yes'"),
        (MINIMAL + "checkpont = true", "unknown axis 'checkpont': did you mean 'checkpoint'?"),
        (MINIMAL + "first_order = 1.5", "axis 'first_order' takes a share of the iterations from 0 to 1, or true, not"),
        (MINIMAL + "first_order = nan", "axis 'first_order' takes a share of the iterations from 0 to 1, or true, not"),
        (MINIMAL + 'first_order = "half"', "axis 'first_order' takes a share of the iterations from 0 to 1, or true"),
        (MINIMAL + "outer_clip = -1", "axis 'outer_clip' takes the largest norm, or 0 for none, not -1"),
        (MINIMAL + "outer_clip = true", "axis 'outer_clip' takes the largest norm, or 0 for none, not True"),
        (MINIMAL + "outer_warmup = 0.5", "axis 'outer_warmup' takes whole numbers of 0 or more, not 0.5"),
        (MINIMAL + "train_ways = -1", "axis 'train_ways' takes whole numbers of 0 or more, not -1"),
        (MINIMAL + "train_shots = false", "axis 'train_shots' takes whole numbers of 0 or more, not False"),
        (MINIMAL + 'preset = "quik"', "unknown preset 'quik': did you mean 'quick'?"),
        (MINIMAL + 'measure = ["tim"]', "unknown measure 'tim': did you mean 'time'?"),
        (MINIMAL + "exclude = 3", "'exclude' must be a list of tables"),
        (MINIMAL + 'exclude = [{algoritm = "maml"}]', "unknown axis 'algoritm': did you mean 'algorithm'?"),
        (MINIMAL + 'exclude = [{algorithm = "maml"}]', "the sweep has no configurations"),
        (MINIMAL + 'exclude = [{algorithm = "fomalm"}]', "unknown algorithm 'fomalm': did you mean 'fomaml'?"),
        (MINIMAL + 'exclude = [{seed = "0"}]', "axis 'seed' takes whole numbers of 0 or more, not '0'"),
        (MINIMAL + 'exclude = [{measure = ["time"]}]', "'measure' is no axis"),
        (MINIMAL + 'include = [{algorithm = "anil", measure = ["time"]}]', "'measure' is no axis"),
        ('[only]\nmeasure = ["time"]\n' + MINIMAL, "'measure' is no axis"),
        ('[override]\nmeasure = ["time"]\n' + MINIMAL, "'measure' is no axis"),
        (MINIMAL + "measure = []", "'measure' is an empty list: name one or more of time, "),
        ("[runs]\n" + MINIMAL, "unknown table in the sweep file 'runs': did you mean 'run'?"),
        ("[run]\nround = 1\n" + MINIMAL, "unknown setting in [run] 'round': did you mean 'rounds'?"),
        ('[run]\nrounds = "two"\n' + MINIMAL, "setting 'rounds' in [run] must be a whole number"),
        ("[run]\nrounds = 0\n" + MINIMAL, "setting 'rounds' in [run] must be at least 1"),
        ("[run]\ntime_limit_s = -5\n" + MINIMAL, "setting 'time_limit_s' in [run] must be a number of 0 or more"),
        ('[run]\nstand_in = "glyph"\n' + MINIMAL, "unknown task 'glyph': did you mean 'glyphs'?"),
        ('[[grid]]\ntask = "sinusoid"', "every grid needs the axes 'algorithm' and 'task'"),
        (MINIMAL + "inner_lr = inf", "axis 'inner_lr' takes positive numbers, not inf"),
        (MINIMAL + "outer_clip = inf", "axis 'outer_clip' takes the largest norm, or 0 for none, not inf"),
        (MINIMAL + "preset = [[1]]", "unknown preset '[1]'"),
        (MINIMAL + "measure = 3", "unknown measure '3'"),
        (MINIMAL + "measure = {a = 1}", "unknown measure '{'a': 1}'"),
        (
            MINIMAL + f"seed = {2**63}",
            "axis 'seed' takes whole numbers up to 9,007,199,254,740,992, not 9223372036854775808",
        ),
        ("[run]\ntime_limit_s = nan\n" + MINIMAL, "setting 'time_limit_s' in [run] must be a number of 0 or more"),
        ("[run]\ntime_limit_s = inf\n" + MINIMAL, "setting 'time_limit_s' in [run] must be a number of 0 or more"),
        (
            "[run]\nthreads = 4097\n" + MINIMAL,
            "setting 'threads' in [run] must be at most 4,096: no machine has as many",
        ),
        (MINIMAL + "threads = 4097", "axis 'threads' takes whole numbers from 1 to 4096, not 4097"),
        ('[run]\nmemory_limit = "2"\n' + MINIMAL, "'2' is not a size of memory: give a number and its unit"),
        ("title = 3\n" + MINIMAL, "'title' in the sweep file must be text"),
        ("title = 'x'", "the sweep file has no [[grid]]"),
        ("[grid]\ntask = 'sinusoid'", "write [[grid]] where the sweep file has [grid]"),
        ("grid = 3", "the sweep file has no [[grid]]"),
        ("run = 3\n" + MINIMAL, "'run' in the sweep file must be a table"),
        ("defaults = 3\n" + MINIMAL, "'defaults' in the sweep file must be a table"),
    ],
)
def test_every_mistake_is_named(text, sentence):
    with pytest.raises(UserError) as caught:
        parse(text)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("axes", "count"),
    [
        (f"seed = {list(range(1000))}\ninner_steps = {list(range(1000))}\nmeta_batch = {[*range(1, 1001)]}", 10**9),
        (f"include = [{{seed = {list(range(1000))}, inner_steps = {list(range(1000))}}}]", 10**6 + 1),
        ("[run]\nrounds = 1_000_000_000_000", 10**12),
    ],
)
def test_a_sweep_without_end_is_refused_before_its_cells_are_made(axes, count, monkeypatch):
    monkeypatch.setattr(spec, "fill", None)
    with pytest.raises(UserError) as caught:
        parse(MINIMAL + axes)
    assert str(caught.value).startswith(
        f"the sweep spans {count:,} configurations and repetitions, more than the 20,000 that a run"
    )


def test_malformed_toml(tmp_path: Path):
    file = tmp_path / "bad.toml"
    file.write_text("[[grid]\n")
    with pytest.raises(UserError, match=r"'bad.toml' is not valid TOML: .* line 1"):
        load_sweep(file, {}, 2)


def test_nesting_numbers_and_sizes_without_end(tmp_path: Path):
    file = tmp_path / "bad.toml"
    for text, sentence in (
        ("x = " + "[" * 100_000, "'bad.toml' is not valid TOML: it is nested too deep"),
        ("x = " + "9" * 5000, "'bad.toml' is not valid TOML: Exceeds the limit"),
        ("#" * (1 << 19), "is too large: 524,288 bytes, where at most 262,144 are read"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=sentence):
            load_sweep(file, {}, 2)


def test_what_could_not_be_read_again_is_refused_before_it_is_measured():
    text = MINIMAL + "".join(f"# {'a' * 1000}\n" for _ in range(300))
    with pytest.raises(UserError, match=r"takes 300,\d{3} bytes as a file, more than the 262,144 that are read"):
        parse(text)
    with pytest.raises(UserError, match="an unpaired surrogate, which no file can hold"):
        parse_sweep("own", tomllib.loads(MINIMAL) | {"title": "\ud800"}, MINIMAL + 'title = "\ud800"', 2)


def test_a_file_of_any_name_can_be_run(tmp_path: Path):
    file = tmp_path / "s\udcff.toml"
    try:
        file.write_text(MINIMAL)
    except (OSError, UnicodeError):
        pytest.skip("a file system of whole characters")
    assert load_sweep(file, {}, 2).name == "s\\udcff"


def test_a_binary_file_is_no_sweep(tmp_path: Path):
    file = tmp_path / "bad.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot read '.*bad.toml': it is not text in UTF-8"):
        load_sweep(file, {}, 2)


@pytest.mark.parametrize("file", builtin_sweeps(), ids=lambda file: file.stem)
def test_built_in_sweeps_are_valid(file):
    sweep = load_sweep(file, {}, 2)
    assert sweep.cells and sweep.title != sweep.name
    assert find_sweep(file.stem) == file


def test_the_first_sweep_is_one_matched_comparison():
    sweep = load_sweep(find_sweep("first"), {}, 2)
    assert [cell.algorithm for cell in sweep.cells] == ["maml", "fomaml", "anil", "reptile"]
    assert len({cell.setting for cell in sweep.cells}) == 1
    assert {cell.measure for cell in sweep.cells} == {("time", "memory", "quality")}
    assert sweep.settings.rounds >= 3


def test_a_folder_does_not_hide_the_sweep_that_it_is_a_run_of(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("first", "other"):
        (tmp_path / name).mkdir()
    assert find_sweep("first") in builtin_sweeps()
    with pytest.raises(UserError, match="there is no sweep file 'other'"):
        find_sweep("other")


def test_an_unknown_sweep_gets_the_nearest():
    with pytest.raises(UserError, match="unknown sweep 'smok': did you mean 'smoke'"):
        find_sweep("smok")
    with pytest.raises(UserError, match="there is no sweep file 'nowhere/x.toml'"):
        find_sweep("nowhere/x.toml")


def test_the_title_says_what_was_changed():
    """The file's own was chosen for the whole sweep."""
    document = {"title": "All", "grid": [{"task": "sinusoid", "algorithm": ["maml", "anil"], "inner_steps": [1, 5]}]}
    assert parse_sweep("name", document, "", 1).title == "All"
    changed = document | {"override": {"inner_steps": [2]}, "only": {"algorithm": "maml"}}
    assert parse_sweep("name", changed, "", 1).title == "All (inner_steps 2; algorithm maml)"
