"""Every figure in the tables follows from the CSV files, nothing is missing, and failures show as what they are."""

import functools
import math
import random
import re
import statistics
from dataclasses import replace

import pandas as pd
import pytest

from metabench.record.measurement import STATUSES
from metabench.report.document import as_markdown, as_text, document
from metabench.report.figures.style import label
from metabench.report.frames import samples_frame, to_frame
from metabench.report.render.tables import markdown
from metabench.report.results import read_run

UNITS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
FIGURE = re.compile(r"^(-?[\d.]+)(?: (s|ms|µs|B|KiB|MiB|GiB))?(?: \[(-?[\d.]+), (-?[\d.]+)\])?")
FAILED = set(STATUSES) - {"ok"}
COST = {"measure": ["time", "memory"]}


def tables_of(folder, kind=""):
    """All tables of a run whose title starts with `kind`."""
    sections = sections_of(folder, (folder / "measurements.jsonl").read_bytes())
    return [table for section in sections for table in section.tables if table.title.startswith(kind)]


@functools.cache
def sections_of(folder, content):
    return document(read_run(folder)).sections


def records(table):
    """The rows of a table as dictionaries."""
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def only(found):
    found = list(found)
    assert len(found) == 1, found
    return found[0]


def assert_shows(text, value):
    """The text is `value`, as far as its digits go, and its interval holds it."""
    number, unit, low, high = FIGURE.match(text).groups()
    scale = UNITS.get(unit, 1.0)
    decimals = len(number.partition(".")[2])
    zeros = len(number) - len(number.rstrip("0")) if decimals == 0 else 0
    assert float(number) == pytest.approx(value / scale, abs=0.5001 * 10.0 ** (zeros - decimals)), text
    if low is not None:
        assert float(low) <= float(number) <= float(high), text


class Csv:
    """What a reader of results.csv and samples.csv would compute."""

    def __init__(self, folder):
        run = read_run(folder)
        self.results, samples = to_frame(run), samples_frame(run)
        ok = self.results[self.results["status"] == "ok"]
        steps = samples[samples["kind"] == "step"].merge(ok, on=["id", "round"], suffixes=("", "_of_cell"))
        self.steps, self.ok = steps, ok

    @functools.cache  # noqa: B019 - lives as long as its test
    def medians(self, **cell):
        """The median of the raw samples of a cell, by round."""
        chosen = self.steps[(self.steps[list(cell)] == pd.Series(cell)).all(axis=1)]
        return chosen.groupby("round")["seconds"].median()

    def time(self, **cell):
        return math.exp(self.medians(**cell).map(math.log).mean())

    def ratio(self, above, below):
        return math.exp((self.medians(**above) / self.medians(**below)).dropna().map(math.log).mean())

    def peak(self, **cell):
        chosen = self.ok[(self.ok[list(cell)] == pd.Series(cell)).all(axis=1)]
        return chosen["tracked_bytes"].max()


def cell_of(table, record):
    """The axes of a row, from its columns or else from the title of its table."""
    words = {"inner steps": "inner_steps", "meta-batch": "meta_batch"}
    cell = {axis: record.get(word) or re.search(rf"{word} (\d+)", table.title)[1] for word, axis in words.items()}
    cell = {axis: int(value) for axis, value in cell.items()}
    parts = table.title.partition(": ")[2].split(", ")
    engine = [part.removeprefix("engine ") for part in parts if part.startswith("engine ")]
    cell |= {"task": parts[0], "model": parts[2], "algorithm": record["algorithm"]}
    engine = [record["engine"]] if "engine" in record else engine
    return cell | ({"engine": engine[0]} if engine else {})


def test_every_figure_of_the_cost_tables_follows_from_the_csv_files(synthetic):
    csv, seen, ratios = Csv(synthetic), set(), 0
    for table in tables_of(synthetic, "Cost"):
        for record in records(table):
            cell = cell_of(table, record)
            seen.add(tuple(cell[axis] for axis in sorted(cell)))
            if record.get("step time", "–") == "–":
                assert record["status"].split(":")[0].split(" ")[0] in FAILED
                continue
            assert_shows(record["step time"], csv.time(**cell))
            if record["peak memory"] != "–":
                assert_shows(record["peak memory"], csv.peak(**cell))
            reference = cell | {"algorithm": "maml"}
            if record["relative time (maml = 1)"].endswith("†"):
                reference |= {"inner_steps": 1, "meta_batch": 25}
            if record["relative time (maml = 1)"] != "–":
                ratios += 1
                assert_shows(record["relative time (maml = 1)"], csv.ratio(cell, reference))
                if record["relative memory (maml = 1)"] != "–":
                    assert_shows(record["relative memory (maml = 1)"], csv.peak(**cell) / csv.peak(**reference))
    assert ratios > 15
    axes = sorted(("algorithm", "engine", "task", "model", "inner_steps", "meta_batch"))
    assert seen == set(csv.results[axes].itertuples(index=False, name=None))


def test_engines_are_rows_and_each_is_divided_by_maml_on_its_own_engine(run_of, row):
    names = [(engine, name) for engine in ("loop", "vmap", "compile") for name in ("maml", "fomaml")][:-1]
    folder = run_of([row(engine=engine, algorithm=name, **COST) for engine, name in names])
    csv, table = Csv(folder), only(tables_of(folder, "Cost"))
    assert "engine" not in table.title and table.columns[:2] == ("algorithm", "engine")
    assert [(r["engine"], r["algorithm"]) for r in records(table)] == [
        *(("loop", "maml"), ("compile", "maml"), ("vmap", "maml")),
        *(("loop", "fomaml"), ("vmap", "fomaml")),
    ]
    for record in records(table):
        own = {"engine": record["engine"], "algorithm": record["algorithm"]}
        assert_shows(ratio_of(record, "time"), csv.ratio(own, own | {"algorithm": "maml"}))
    assert "Ratios are to maml on the same engine." in table.notes


def test_a_table_of_one_algorithm_has_no_ratios_of_which_all_would_be_one(run_of, row):
    rows = [row(engine=engine, meta_batch=size, **COST) for engine in ("loop", "vmap") for size in (4, 25)]
    table = only(tables_of(run_of(rows), "Cost"))
    assert table.columns == ("algorithm", "engine", "meta-batch", "status", "step time", "peak memory")
    assert len(table.rows) == 4 and not any("maml on" in note for note in table.notes)


def ratio_of(record, what):
    """The ratio of a line to MAML, of its `time` or `memory`."""
    return only(text for column, text in record.items() if what in column and "maml" in column)


def test_ratios_are_the_true_ones_although_the_machine_drifts(synthetic):
    lines = {r["algorithm"]: r for r in records(only(tables_of(synthetic, "Cost and quality")))}
    for name, true in (("fomaml", 0.6), ("anil", 0.4), ("reptile", 0.3)):
        value, low, high = map(float, re.findall(r"[\d.]+", lines[name]["relative time (maml = 1)"]))
        assert low <= true <= high
        assert value == pytest.approx(true, rel=0.01)
    assert lines["maml"]["relative time (maml = 1)"] == lines["maml"]["relative memory (maml = 1)"] == "1"


def test_algorithms_that_are_not_matched_stand_in_one_table_and_are_marked(synthetic):
    table = only(tables_of(synthetic, "Cost and quality"))
    assert [r["algorithm"] for r in records(table)] == ["maml", "fomaml", "anil", "reptile"]
    marked = {r["algorithm"] for r in records(table) if "†" in r["relative time (maml = 1)"]}
    assert marked == {r["algorithm"] for r in records(table) if "†" in r["relative memory (maml = 1)"]} == {"reptile"}
    assert "† not matched: compared with maml at inner steps 1, meta-batch 25, query 10." in table.notes
    assert "Hyper-parameters differ between rows: outer, outer lr (see results.csv)." in table.notes


def test_what_is_matched_at_one_size_is_held_against_no_other_size(run_of, row):
    """MAML itself is there at one step alone."""
    sized = [row(inner_steps=1), *(row(algorithm="fomaml", inner_steps=n) for n in (1, 100))]
    table = only(tables_of(run_of(sized), "Cost and quality"))
    ratios = {(r["algorithm"], r["inner steps"]): r["relative time (maml = 1)"] for r in records(table)}
    assert ratios["fomaml", "1"].startswith("0.60") and ratios["fomaml", "100"] == "–"
    assert not any("†" in note for note in table.notes)


def test_quality_is_the_mean_over_the_seeds_that_ended_well(synthetic):
    csv = Csv(synthetic)
    table = only(tables_of(synthetic, "Cost and quality"))
    for record in records(table):
        scores = csv.ok[(csv.ok["algorithm"] == record["algorithm"]) & csv.ok["quality_value"].notna()]
        assert_shows(record["MSE"], statistics.geometric_mean(scores["quality_value"]))
        assert record["training"] == f"{statistics.median(scores['quality_train_s']):.1f} s"
    lines = {r["algorithm"]: r for r in records(table)}
    # logarithms of three seeds 0.40, 0.41, 0.42: t(2) = 4.3027, √((4.3027 · 0.0244 / √3)² + (0.03 / 0.41)²) = 0.0950
    assert (lines["maml"]["MSE"], lines["maml"]["seeds"]) == ("0.41 [0.37, 0.45]", "3")
    assert lines["fomaml"]["seeds"] == "2 of 3"
    assert lines["fomaml"]["status"].startswith("diverged (1 of 9 rows): the training loss is nan")
    assert {(r["iterations"], r["test steps"]) for r in lines.values()} == {("1000", "2")}
    assert "batch norm" not in table.columns  # no network here normalises
    assert "Tested on 600 tasks, with 100 query examples." in table.notes


def test_quality_by_adaptation_step(synthetic):
    table = only(tables_of(synthetic, "Quality by adaptation step"))
    lines = {r["algorithm"]: r for r in records(table)}
    assert table.columns == ("algorithm", "inner steps", "meta-batch", "0", "1", "2")
    for i, factor in enumerate((8.0, 2.0, 1.0)):
        assert_shows(lines["anil"][str(i)], 0.51 * factor)


def test_every_figure_of_the_growth_tables_follows_from_the_csv_files(synthetic):
    csv = Csv(synthetic)
    factors = 0
    for word, axis, values in (
        ("inner steps", "inner_steps", (1, 2, 5, 10)),
        ("model size", "model", ("mlp-40x2", "mlp-256x2", "mlp-4096x4")),
        ("meta-batch size", "meta_batch", (5, 25, 100)),
    ):
        base = {"task": "sinusoid", "model": "mlp-40x2", "inner_steps": 1, "meta_batch": 25}
        for what, figure in (("Time", csv.time), ("Memory", csv.peak)):
            table = only(tables_of(synthetic, f"{what} with {word}"))
            assert table.columns[2:5] == ("growth", "law", "theory")
            heads = [head for head in table.columns[5:] if head != "leaves its law at"]
            assert [head.split(" (")[0] for head in heads] == [str(value) for value in values]
            for record in records(table):
                cell = {**base, "algorithm": record["algorithm"], "engine": record["engine"]}
                ends = []
                for head, value in zip(heads, values, strict=True):
                    if record[head] in FAILED:
                        assert csv.medians(**cell | {axis: value}).empty
                    else:
                        assert_shows(record[head], figure(**cell | {axis: value}))
                        ends.append(value)
                small, large = cell | {axis: ends[0]}, cell | {axis: ends[-1]}
                ratio = csv.ratio(large, small) if what == "Time" else figure(**large) / figure(**small)
                peaks = {figure(**cell | {axis: value}) for value in ends} if what == "Memory" else ()
                if len(peaks) == 1:
                    assert record["growth"].startswith("constant")
                else:
                    assert_shows(record["growth"], ratio)
                assert (f"({ends[0]} to {ends[-1]})" in record["growth"]) == (ends[-1] != values[-1])
                factors += 1
    assert factors == 2 * (4 + 2 + 2)


def test_growth_has_one_table_for_each_axis_and_measure_and_tells_settings_apart(run_of, row):
    def line(**cell):
        return [row(number, inner_steps=n, **cell, measure=["time", "memory"]) for number in range(3) for n in (1, 5)]

    images = {"task": "glyphs", "model": "conv4-64", "ways": 5, "shots": 1, "query": 1}
    folder = run_of([*line(), *line(meta_batch=5), *line(**images)])
    time, memory = tables_of(folder, "Time with"), tables_of(folder, "Memory with inner")
    assert len(time) == 2 and len(memory) == 1  # the meta-batch grows, too
    table = only(one for one in time if "inner steps" in one.title)
    assert table.title == "Time with inner steps: cpu, float32, threads 2"
    csv = Csv(folder)
    assert [(r["task"], r["meta-batch"]) for r in records(table)] == [
        ("sinusoid", "5"),
        ("sinusoid", "25"),
        ("glyphs", "25"),
    ]
    for record in records(table):
        cell = {"task": record["task"], "meta_batch": int(record["meta-batch"])}
        for steps in (1, 5):
            assert_shows(record[str(steps)], csv.time(**cell, inner_steps=steps))
        assert_shows(record["growth"], csv.ratio(cell | {"inner_steps": 5}, cell | {"inner_steps": 1}))
    assert table.notes[0] == (
        "Settings: sinusoid, 10 points, mlp-40x2, query 10; glyphs, 5-way 1-shot, conv4-64, query 1."
    )


def test_growth_shows_what_happened_instead_of_a_figure(synthetic):
    steps = {(r["algorithm"], r["engine"]): r for r in records(only(tables_of(synthetic, "Time with inner steps")))}
    assert steps["maml", "loop"]["10"] == "timeout"
    assert steps["fomaml", "vmap"]["1"].endswith(" ‡")
    assert list(steps) == [("maml", "loop"), ("maml", "vmap"), ("fomaml", "loop"), ("fomaml", "vmap")]
    models = {r["algorithm"]: r for r in records(only(tables_of(synthetic, "Time with model size")))}
    assert (models["maml"]["mlp-4096x4"], models["fomaml"]["mlp-4096x4"]) == ("oom", "skipped")
    assert "mlp-40x2 (1,761)" in models["maml"]


def test_growth_has_only_lines_that_were_to_be_measured_at_two_sizes(run_of, row):
    def made(measure, meta_batch, **changes):
        return row(0, measure=measure, engine="vmap", meta_batch=meta_batch, **changes)

    failed = {"status": "oom", "reason": "no memory", "time": None, "memory": None}
    rows = [made(["memory"], 2), made(["time", "memory"], 4), made(["memory"], 32) | failed]
    folder = run_of(rows, name="memory alone")
    assert [table.title.partition(":")[0] for table in tables_of(folder) if " with " in table.title] == [
        "Memory with meta-batch size"
    ]
    rows += [made(["time"], meta_batch, algorithm="fomaml") for meta_batch in (2, 4)]
    times = only(tables_of(run_of(rows, name="one in time"), "Time with meta-batch size"))
    assert [record["algorithm"] for record in records(times)] == ["fomaml"]


def at_column(table, record, column):
    """The axes of one figure of an engines' table: its column says the sizes."""
    sizes = {word: re.search(rf"{word} (\d+)", f"{column}, {table.title}")[1] for word in ("inner steps", "meta-batch")}
    return cell_of(table, record | sizes) | {"model": "mlp-40x2", "engine": record["engine"]}


def test_engines_against_loop(synthetic):
    csv, figures = Csv(synthetic), 0
    images, points = sorted(tables_of(synthetic, "Engines against loop"), key=lambda table: table.title)
    for record in records(points):
        assert record["error"] == ("2.0e-10" if record["engine"] == "loop" else "3.0e-15")
        for column in points.columns[2:-1]:
            if not record[column]:
                continue
            figures += 1
            cell = at_column(points, record, column)
            loop = cell | {"engine": "loop"}
            if record["algorithm"] == "maml" and cell["inner_steps"] == 10:
                assert record[column] == ("timeout" if record["engine"] == "loop" else "no time of loop")
            elif record["engine"] == "loop":
                assert record[column].startswith("1 = ") and record[column].value == 1
                assert_shows(record[column].removeprefix("1 = "), csv.time(**loop))
            else:
                assert_shows(record[column], csv.ratio(loop, cell))
    assert figures == 16
    wrong = {record["engine"]: record for record in records(images)}["vmap"]
    assert (wrong["speed-up"], wrong["error"]) == ("incorrect", "2.0e-03")
    assert not tables_of(synthetic, "The fastest engine against each peer")


def test_peers_stand_with_their_version_beside_the_fastest_engine_of_ours(run_of, row):
    """Seconds of one iteration: loop 8, compile 2 after 30 of compiling, a peer 6, another one not installed."""

    def timed(engine, seconds, **changes):
        made = row(engine=engine, measure=["time"])
        samples = [seconds] * 20
        made["time"] |= {
            "step": made["time"]["step"] | {"samples": samples} | dict.fromkeys(("median", "low", "high"), seconds),
            **changes,
        }
        return made

    absent = row(0, "unsupported", "higher is not installed", engine="higher", measure=["time"])
    cold, warm = ({"compile_s": s, "compile_cache": cache} for s, cache in ((30.0, "cold"), (1.0, "warm")))
    rows = [timed("loop", 8.0), timed("compile", 2.0, **cold), timed("compile", 2.0, **warm) | {"round": 1}]
    rows += [timed("jax-fast", 6.0) | {"library": "jax 0.1"}, absent | {"library": "higher"}]
    folder = run_of(rows)
    by_engine = {r["engine"]: r for r in records(only(tables_of(folder, "Engines against loop")))}
    assert {name: (r["library"], r["compiling"]) for name, r in by_engine.items()} == {
        "loop": ("", ""),
        "compile": ("", "30.0 s"),
        "jax-fast": ("jax 0.1", ""),
        "higher": ("higher", ""),
    }
    assert by_engine["compile"]["speed-up"].startswith("4") and by_engine["higher"]["speed-up"] == "unsupported"
    peers = {r["peer"]: r["speed-up"] for r in records(only(tables_of(folder, "The fastest engine against each peer")))}
    assert peers.keys() == {"jax-fast (jax 0.1)", "higher"}
    assert peers["jax-fast (jax 0.1)"].startswith("3") and peers["jax-fast (jax 0.1)"].endswith("(compile)")
    assert peers["higher"] == "–"


def test_rates_are_loops_operations_by_each_engines_time(run_of, row):
    """4 GFLOP in 2 s on loop and in 1 s on vmap; the machine could do 20 GFLOP/s."""

    def timed(engine, seconds):
        made = row(engine=engine, measure=["time", "work"])
        made["time"] |= {"step": made["time"]["step"] | {"samples": [seconds] * 20}}
        made["time"]["step"] |= dict.fromkeys(("median", "low", "high"), seconds)
        return made

    for noisy, mark in ((False, ""), (True, " *")):
        peaks = {"matmul": 1e10, "convolution": 2e10, "bandwidth": 1e9, "noisy": noisy}
        folder = run_of([timed("loop", 2.0) | {"work": {"flops": 4e9, "peaks": peaks}}, timed("vmap", 1.0)])
        table = only(tables_of(folder, "Achieved rate"))
        rates = {r["engine"]: r["rate"] for r in records(table)}
        assert rates == {"loop": f"2 GFLOP/s, 10 %{mark}", "vmap": f"4 GFLOP/s, 20 %{mark}"}
        assert any("noisy" in note for note in table.notes) == noisy


def test_all_rows_that_are_not_ok_stand_in_the_last_table_with_their_whole_reason(synthetic):
    table = only(tables_of(synthetic, "Failures"))
    assert table.title == "Failures: 19 of 117 measurements"
    words = {status: status for status in STATUSES} | {"out of memory": "oom"}
    shown = {
        (r["id"], int(number), words[r["status"]], r["reason"])
        for r in records(table)
        for number in r["repetitions"].split(", ")
    }
    bad = to_frame(read_run(synthetic)).query("status != 'ok'")
    assert shown == set(bad[["id", "round", "status", "reason"]].itertuples(index=False, name=None))
    assert {status for _, _, status, _ in shown} == FAILED


def test_an_incorrect_cell_gives_no_figure_even_if_it_has_one(run_of, row):
    folder = run_of([row(**COST) | {"status": "incorrect"}, row(algorithm="fomaml", **COST)])
    maml, fomaml = records(only(tables_of(folder, "Cost")))
    assert (maml["step time"], maml["peak memory"]) == ("–", "–")
    assert "relative time (maml = 1)" not in fomaml  # nothing to divide by, so no column
    assert fomaml["step time"] != "–"
    # once incorrect, a cell's other rounds are not to be believed either; after a time-out they are
    again = [row(1), row(1, algorithm="fomaml")]
    maml, _ = records(only(tables_of(run_of([row(0, "incorrect", "off", measure=["time"]), *again]), "Cost")))
    assert (maml["step time"], maml["status"]) == ("–", "incorrect (1 of 2 rows): off")
    maml, fomaml = records(only(tables_of(run_of([row(0, "timeout", "late", measure=["time"]), *again]), "Cost")))
    slow, fast = (made["time"]["step"]["median"] for made in again)
    assert_shows(maml["step time"], slow)
    assert_shows(fomaml["relative time (maml = 1)"], fast / slow)


HOSTILE = {
    "<script>alert(1)</script>": r"\<script>alert(1)\</script>",
    "[here](javascript:x) ![](https://e.vil/t)": r"[here\](javascript:x) ![\](https\://e.vil/t)",
    "[x]: www.e.vil": r"[x\]: www\.e.vil",
    "a | b\n# heading": r"a \| b # heading",
    "&lt;b&gt; &#60; at&t": r"\&lt;b\&gt; \&#60; at\&t",
    "`code` *bold* _so_ ~~gone~~ $x$": r"\`code\` \*bold\* \_so\_ \~\~gone\~\~ \$x\$",
    "\x1b[31mred\x1b[0m\u202e": r"\\x1b[31mred\\x1b[0m\\u202e",
    "1.2 [1.1, 1.3] & more: 5": "1.2 [1.1, 1.3] & more: 5",
}


@pytest.mark.parametrize(("text", "in_markdown"), HOSTILE.items())
def test_what_others_wrote_is_shown_as_written_and_does_nothing(run_of, row, text, in_markdown):
    rows = [row(0, "crashed", text, model=text, preset=text), row() | {"warnings": [text], "library": text}]
    environment = {"summary": text, "warnings": [text], "sweep": {"name": text, "title": text}}
    shown = document(read_run(run_of(rows, environment)))
    page, terminal = as_markdown(shown), as_text(shown)
    assert (text in label(text)) == text.isprintable()
    assert page.count(in_markdown) >= 6
    assert text in HOSTILE and (text == in_markdown or text not in page)
    assert terminal.replace("\n", "").isprintable()
    assert not page.replace("\n", "").count("\x1b")


def test_the_order_of_measuring_does_not_matter(synthetic):
    run = read_run(synthetic)
    rows = list(run.measurements)
    random.Random(5).shuffle(rows)
    assert document(replace(run, measurements=tuple(rows))).sections == document(run).sections


def test_presets_of_one_algorithm_are_told_apart(run_of, row):
    settings = (("maml", "paper", 60000), ("maml", "quick", 100), ("fomaml", "quick", 100))
    rows = [row(algorithm=name, preset=preset, iterations=n) for name, preset, n in settings]
    table = only(tables_of(run_of(rows), "Cost and quality"))
    assert [(r["algorithm"], r["preset"], r["iterations"]) for r in records(table)] == [
        ("maml", "quick", "100"),
        ("maml", "paper", "60000"),
        ("fomaml", "quick", "100"),
    ]


def test_a_time_is_shared_by_cells_whose_iterations_cost_the_same(run_of, row):
    timed = row(iterations=500, measure=["time"])
    rows = [timed, row(iterations=9000, measure=["quality"], inner_lr=0.1)]
    line = only(records(only(tables_of(run_of(rows), "Cost"))))
    assert_shows(line["step time"], timed["time"]["step"]["median"])
    assert (line["iterations"], line["MSE"]) == ("9000", "0.40 [0.37, 0.43]")


def test_accuracy_is_in_percent_and_the_title_names_the_data(run_of, row):
    made = row(task="omniglot", ways=5, shots=1, query=1, model="conv4-64")
    made["data"]["name"] = "glyphs"
    made["quality"] |= {"metric": "accuracy", "value": 0.9712, "low": 0.9678, "high": 0.9746, "by_step": []}
    table = only(tables_of(run_of([made]), "Cost and quality"))
    assert table.title.startswith("Cost and quality: glyphs (task omniglot), 5-way 1-shot, conv4-64, engine vmap")
    assert only(records(table))["accuracy"] == "97.1 % [96.8, 97.4]"
    assert only(records(table))["seeds"] == "1 seed"
    assert any("one training seed" in note for note in table.notes)


def test_memory_on_cuda_and_methods_that_cannot_be_compared(run_of, row):
    rows = [row(device="cuda", **COST), row(device="cuda", algorithm="fomaml", **COST)]
    for made in rows:
        made["memory"] |= {"tracked_bytes": None, "cuda_allocated_bytes": 3 * 1024**2}
    maml, fomaml = records(only(tables_of(run_of(rows), "Cost")))
    assert (maml["peak memory"], fomaml["relative memory (maml = 1)"]) == ("3.00 MiB", "1.00")
    rows[1]["memory"]["tracked_bytes"] = 1024
    table = only(tables_of(run_of(rows), "Cost"))
    found = [(r["peak memory"], r["relative memory (maml = 1)"]) for r in records(table)]
    assert found == [("3.00 MiB", "1"), ("1.00 KiB", "–")]
    assert "CUDA peak allocated; peak of live tensor bytes" in " ".join(table.notes)


def test_an_axis_that_is_not_known_here_is_never_mixed_up(run_of, row):
    rows = [row(compression="none", **COST), row(compression="heavy", **COST)]
    table = only(tables_of(run_of(rows), "Cost"))
    assert sorted(r["compression"] for r in records(table)) == ["heavy", "none"]


def test_engines_are_not_compared_where_instructions_alone_were_counted(run_of, row):
    rows = [row(engine=engine, measure=["instructions"]) | {"time": None} for engine in ("loop", "vmap")]
    assert not tables_of(run_of(rows), "Engines against loop")


DISTURBED = {"reason": "others were busy", "factor": 3.0}


def test_a_disturbed_time_and_what_stands_on_it_is_never_a_plain_figure(run_of, row):
    rows = [row(engine=engine, algorithm=name, **COST) for engine in ("loop", "vmap") for name in ("maml", "fomaml")]
    next(made for made in rows if made["cell"]["algorithm"] == "maml")["time"]["disturbed"] = DISTURBED  # on loop
    folder = run_of(rows)
    cost = only(tables_of(folder, "Cost"))
    maml, calm, fomaml, also_calm = records(cost)
    assert [line["engine"] for line in (maml, calm, fomaml, also_calm)] == ["loop", "vmap"] * 2
    assert maml["step time"].endswith(" (disturbed)") and not fomaml["step time"].endswith("(disturbed)")
    assert fomaml["relative time (maml = 1)"].endswith(" (disturbed)") and maml["relative time (maml = 1)"] == "1"
    assert any(note.startswith("(disturbed): ") for note in cost.notes)
    against = {(line["algorithm"], line["engine"]): line["speed-up"] for line in records(only(
        tables_of(folder, "Engines against loop")
    ))}  # fmt: skip
    assert {key: text.endswith("(disturbed)") for key, text in against.items()} == {
        ("maml", "loop"): True,
        ("maml", "vmap"): True,
        ("fomaml", "loop"): False,
        ("fomaml", "vmap"): False,
    }
    (warning,) = [said for said in document(read_run(folder)).warnings if "disturbed" in said]
    assert warning.startswith("1 time disturbed") and "take threads = 1" in warning
    assert not any("disturbed" in text for line in (calm, also_calm) for text in line.values())


def test_the_header_says_what_must_be_known(synthetic):
    text = as_markdown(document(read_run(synthetic)))
    head = text.partition("## ")[0]
    assert "- **sweep**: synthetic (Every case once)" in head
    assert "- **machine**: Test CPU, 2 cores, torch 2.13" in head
    assert "glyphs (sha256 abababababab)" in head
    assert (
        "39 in 3 repetitions; measurements by status: 98 ok, 3 crashed, 1 diverged, 3 incorrect, 3 oom, 3 skipped"
        in head
    )
    assert "- **warning**: omniglot is not at hand, so glyphs stand in for it" in head
    assert "- **run-to-run noise**: not measured; no interval includes it" in head
    assert "130 ms [" in text
    assert " (noisy) |" in text


@pytest.mark.parametrize(
    ("gate", "told"),
    [
        ({"rounding_error": 0.01}, False),  # as earlier rows have it: thirty times two such shares are allowed
        ({"rounding_error": 0.02}, True),
        ({"rounding_error": 0.02, "timed_allowed": 0.7}, False),
        ({"rounding_error": 0.02, "timed_allowed": 1.3}, True),
        ({}, False),
    ],
)
def test_rows_in_which_rounding_explains_any_direction_are_counted(run_of, row, gate, told):
    warnings = document(read_run(run_of([row(0) | {"gate": gate}, row(1) | {"gate": gate}]))).warnings[1:]
    assert [said[:38] for said in warnings] == ["In 2 rows rounding alone may change th"] * told


@pytest.mark.parametrize(("precision", "told"), [("float32", True), ("tf32", False), ("bfloat16", False)])
def test_earlier_rows_of_low_precision_were_allowed_fewer_errors_of_loop(run_of, row, precision, told):
    found = row(precision=precision) | {"gate": {"rounding_error": 0.05}}
    warnings = document(read_run(run_of([found]))).warnings[1:]
    assert [said[:13] for said in warnings] == ["In 1 row roun"] * told


def test_warnings_of_rows_and_repeated_rows_are_counted(run_of, row):
    made = row() | {"warnings": ["the machine was busy"]}
    warnings = document(read_run(run_of([made, made, row(1)]))).warnings[1:]
    assert warnings == (
        "the machine was busy (2 rows of 3)",
        "1 row of a configuration and repetition that is there already: all times are used.",
        "1 score of a training seed that has an earlier one in the same setting: left out of all means over seeds.",
    )


def test_a_run_in_which_all_went_well(run_of, row):
    shown = document(read_run(run_of([row()])))
    assert only(tables_of(run_of([row()]), "Failures")).title == "Failures: none of 1 measurement"
    assert [section.title for section in shown.sections] == ["Cost and quality", "Failures"]


def test_a_run_without_rows(run_of):
    text = as_text(document(read_run(run_of([]))))
    assert "measurements by status: none" in text
    assert "Failures: none of 0 measurements" in text


def test_markdown_shows_a_reason_as_written(synthetic):
    reason = "RuntimeError: expected <class 'int'> | got __float__ *and* `None`, ~twice~"
    table = only(tables_of(synthetic, "Failures"))
    text = markdown(table)
    line = only(line for line in text.splitlines() if "RuntimeError" in line)
    assert re.sub(r"\\(.)", r"\1", line).count(reason) == 1
    assert not re.search(r"(?<!\\)[<*_`~]", line)
    for row in (line for line in text.splitlines() if line.startswith("|")):
        assert len(re.findall(r"(?<!\\)\|", row)) == len(table.columns) + 1
    many = (*table.rows[0][:4], "one line\nand | another\\", "id")
    broken = markdown(type(table)("t", "s", table.columns, (many,)))
    assert r"one line and \| another\\ |" in broken


def test_the_terminal_shows_the_same_tables(synthetic):
    shown = document(read_run(synthetic))
    text = as_text(shown)
    for section in shown.sections:
        for table in section.tables:
            assert table.title in text
            assert all(figure in text for row in table.rows for figure in row if len(figure) < 40)
    assert max(len(line) for line in text.splitlines()) < 280


def judged(row, algorithm, seed, scores, **axes):
    """The row of a training with the score of each of its test tasks."""
    made = row(algorithm=algorithm, seed=seed, eval_tasks=len(scores), **axes)
    mean = statistics.fmean(scores)
    low, high = mean * math.exp(-0.1), mean * math.exp(0.1)
    made["quality"] |= {"value": mean, "low": low, "high": high, "tasks": len(scores), "by_step": []}
    made["quality"]["task_scores"] = {"unit": 1.0, "numbers": list(scores)}
    return made


def test_quality_is_compared_on_the_same_test_tasks(run_of, row):
    """The tasks differ tenfold in difficulty, and both algorithms alike: a sixth of the error less shows."""
    tasks = [10 ** (number / 20) for number in range(21)]
    rows = [judged(row, "maml", seed, [(1 + 0.01 * seed) * score for score in tasks]) for seed in range(3)]
    rows += [judged(row, "anil", seed, [1.2 * (1 + 0.01 * seed) * score for score in tasks]) for seed in range(3)]
    table = only(tables_of(run_of(rows), "Cost and quality"))
    lines = {r["algorithm"]: r["MSE ÷ maml"] for r in records(table)}
    assert lines == {"maml": "1", "anil": "1.200 [1.200, 1.200]"}
    assert any(note.startswith("MSE ÷ maml: a quotient") and "task by task" in note for note in table.notes)


def test_accuracies_are_compared_by_their_difference(run_of, row):
    rows = [
        judged(row, name, 0, scores, ways=5, shots=1, query=1)
        for name, scores in (
            ("maml", [4, 5, 3, 4]),
            ("anil", [3, 5, 2, 3]),
        )
    ]
    for made in rows:
        made["quality"] |= {"metric": "accuracy", "value": made["quality"]["value"] / 5, "low": 0.0, "high": 1.0}
        made["quality"]["task_scores"]["unit"] = 0.2
    lines = {r["algorithm"]: r["accuracy - maml"] for r in records(only(tables_of(run_of(rows), "Cost and quality")))}
    # differences of 1, 0, 1 and 1 of 5: 0.15 ± 1.96 · 0.1 / √4
    assert lines == {"maml": "0", "anil": "-15 pp [-25, -5]"}


@pytest.mark.parametrize("changes", [{"eval_query": 50}, {"batch_norm": "running"}])
def test_quality_is_not_compared_with_what_was_tested_otherwise(run_of, row, changes):
    rows = [judged(row, "maml", 0, [1.0, 2.0]), judged(row, "anil", 0, [1.0, 2.5], **changes)]
    assert "MSE ÷ maml" not in only(tables_of(run_of(rows), "Cost and quality")).columns


def test_without_the_scores_of_tasks_quality_is_not_compared(synthetic, run_of, row):
    assert "MSE ÷ maml" not in only(tables_of(synthetic, "Cost and quality")).columns
    rows = [judged(row, "maml", 0, [1.0, 2.0]), judged(row, "anil", 0, [1.0, 2.5])]
    rows[1]["data"]["content_hash"] = "cd" * 32  # the data behind the tasks is another
    assert "MSE ÷ maml" not in only(tables_of(run_of(rows), "Cost and quality")).columns
