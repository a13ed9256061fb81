"""The C++ function of a traced graph, and of the loops in it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from metabench.autodiff import Repeat
from metabench.engines.flat import order_held
from metabench.engines.native.alike import parted
from metabench.engines.native.code import Program
from metabench.engines.native.factors import factored
from metabench.engines.native.forms import keywords_of, operation_of
from metabench.engines.native.images import KEPT
from metabench.engines.native.loops import WHOLE_NUMBERS
from metabench.engines.native.repeats import REPEAT
from metabench.engines.native.value import Value, row_major, strides_in
from metabench.engines.tracing import traced
from metabench.errors import Unsupported

DIRECTION = (
    "static void direction(const T* const* meta, const void* const* task, T* __restrict out, T* __restrict scratch)"
)
STEP = f"ALONE {DIRECTION.replace('direction', 'step')}"
LOOP = """namespace {{ struct {name} {{
    static constexpr int steps = {steps}, kept = {kept}, parts = {parts};
    static constexpr int64_t width = {width}, added = {added}, starts[] = {{{starts}}};
    {functions}
}}; }}"""
"""What repeats.cpp has to know of a loop. Without the namespace, all libraries of a process would share what the first
of them has by that name."""


def written(
    graph: GraphModule, inputs: list[Tensor], shared: int, held: int = 0, repeats: Sequence[Repeat] = ()
) -> tuple[str, int]:
    """The C++ of a task's direction, and how many numbers of scratch it takes; all tasks share the first inputs.

    Its outputs are added to `out`, one after the other. So many of the first inputs and outputs lie as meta-parameters
    are held. Raises `Unsupported` for an operation that has no C++ here.
    """
    values = []
    for i, tensor in enumerate(inputs):
        shape = tuple(tensor.shape)
        name = f"{WHOLE_NUMBERS if tensor.dtype == torch.int64 else 'in'}{i}"
        values.append(Value(name, shape, strides_held(shape) if i < held else row_major(shape)))
    return _function(DIRECTION, graph, values, shared, held, 0, repeats)


def _function(
    head: str,
    graph: GraphModule,
    inputs: Sequence[Value],
    shared: int,
    held: int,
    assigned: int,
    repeats: Sequence[Repeat] = (),
) -> tuple[str, int]:
    """A function in C++, and its scratch; `meta` are the first inputs, and `task` the others."""
    program, loads = Program(), []
    for i, value in enumerate(inputs):
        if value.base:
            kind = "int64_t" if value.base.startswith(WHOLE_NUMBERS) else "T"
            place = f"meta[{i}]" if i < shared else f"task[{i - shared}]"
            loads.append(f"const {kind}* const {value.base} = (const {kind}*){place};")
    loops = filled(graph, program, inputs, held, assigned, repeats)
    buffers, scratch = program.allocate()
    functions = program.functions()
    lines = [f"    {line}" for line in [*loads, *buffers, *program.lines]]
    return "\n".join([*loops, *functions, f"{head} {{", *lines, "}"]), scratch


def filled(
    graph: GraphModule,
    program: Program,
    inputs: Sequence[Value],
    held: int = 0,
    assigned: int = 0,
    repeats: Sequence[Repeat] = (),
) -> list[str]:
    """Write a graph's operations into a program, and give the C++ of the loops that it calls.

    Its outputs go to `out`, one after the other: so many of them are written, and the others are added. So many of them
    lie as meta-parameters are held. Raises `Unsupported` for an operation that is not carried.
    """
    placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
    values: dict[Node, Any] = dict(zip(placeholders, inputs, strict=True))
    loops = Loops(program, repeats)
    targets = _targets(graph, held)
    added = {node: targets[i] for node, i in _products_given(graph).items() if i >= assigned}
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            raise Unsupported(
                f"{program.engine} has no tensors that a network keeps for itself (buffers, constants): use loop"
            )
        if node.target is REPEAT:
            values[node] = loops.call(node, values)
        elif node.op == "call_function":
            if node in added:
                program.add_product(added[node], *_of(node.args, values))
            else:
                values[node] = _operated(program, node, values)
    for number, (node, target) in enumerate(zip(_outputs(graph.graph), targets, strict=True)):
        if node not in added:
            program.loop(target, [values[node]], sign="=" if number < assigned else "+=")
    return loops.texts


def _operated(program: Program, node: Node, values: Mapping[Node, Any]) -> Any:
    """What an operation gives."""
    operation = operation_of(node, program.engine)
    found = operation(program, *_of(node.args, values), **_of(keywords_of(node), values))
    return program.kept(found, len(node.users))


def _outputs(graph: Graph) -> list[Node]:
    (output,) = (node for node in graph.nodes if node.op == "output")
    return list(output.args[0])


def _targets(graph: GraphModule, held: int) -> list[Value]:
    """Where the outputs go: one after the other, so many of them as meta-parameters are held."""
    shapes = _shapes(_outputs(graph.graph))
    strides = [strides_held(shape) if i < held else row_major(shape) for i, shape in enumerate(shapes)]
    starts = accumulate(map(prod, shapes), initial=0)
    return [Value("out", *each) for each in zip(shapes, strides, starts, strict=False)]


def _products_given(graph: GraphModule) -> dict[Node, int]:
    """The outputs that are products of matrices which nothing else reads, and their numbers."""
    outputs = _outputs(graph.graph)
    alone = [node for node in outputs if outputs.count(node) == 1 and len(node.users) == 1]
    return {node: outputs.index(node) for node in alone if node.target is torch.ops.aten.mm.default}


class Loops:
    """The loops that a program calls, and the functions of their steps, each of which is written once."""

    def __init__(self, program: Program, repeats: Sequence[Repeat]) -> None:
        self.program, self.repeats = program, repeats
        self.texts: list[str] = []
        self.graphs: dict[Callable[..., Any], GraphModule] = {}
        """What steps compute, by the function that they were traced from."""
        self.steps: dict[tuple[Any, ...], tuple[str, int]] = {}
        """Names and scratch of functions, by what they compute and of which values."""
        self.ways: dict[tuple[Any, ...], Value] = {}
        """The states that the way there has kept for the way back, by what tells ways apart."""

    def call(self, node: Node, values: Mapping[Node, Any]) -> list[Value]:
        """What a loop gives."""
        state, given, last, wanted, number = _arguments(node)
        repeat, program = self.repeats[number], self.program
        shapes, added = _shapes(state), _shapes([given[i] for i in wanted])
        is_gone_back = repeat.pull_back is not None or self._is_gone_back(node)
        to_all, step = _of(given, values), self._graph(repeat.advance, state, given)
        if not is_gone_back:
            before, step = parted(step, len(state))
            to_all = [*to_all, *self._computed(before, to_all)]
        pointers, inside, read = _given(program, to_all)
        many, lines = len(state), [*shapes, *_shapes(last)]
        steps = {"advance": self._step(repeat.advance, step, inside, many, shapes)}
        if repeat.pull_back:
            back = self._graph(repeat.pull_back, state, given, last)
            steps["pull_back"] = self._step(repeat.pull_back, back, inside, many, lines, len(added))
        kept = min(repeat.kept, repeat.steps) if is_gone_back else 0
        name, width, behind = f"repeat{len(self.texts)}", sum(map(prod, shapes)), sum(map(prod, added))
        text = LOOP.format(
            name=name,
            steps=repeat.steps,
            kept=kept,
            parts=len(shapes),
            width=width,
            added=behind,
            starts=", ".join(map(str, accumulate(map(prod, shapes[:-1]), initial=0))),
            functions=" ".join(f"static constexpr auto {what} = {step};" for what, (step, _) in steps.items()),
        )
        self.texts.append(text)
        start, end = program.buffer([width]), program.buffer([width + behind])
        for line, numbers in ((start, _of(state, values)), (end, _of(last, values))):
            for place, value in zip(_parts(line, shapes), numbers, strict=False):
                program.loop(place, [value])
        work = program.buffer([width + max(scratch for _, scratch in steps.values())])
        verb, arguments = "there", [start.base, end.base, pointers, work.base]
        targets = [end, work]
        if kept:
            known = self.ways.pop(self._way(node), None)
            places = known or program.buffer([width * kept])
            targets.append(places)
            arguments.append(places.base)
            if repeat.pull_back:
                verb = "back"
                arguments.append("true" if known else "false")
            else:
                self.ways[self._way(node)] = places
        program.emit(f"{verb}<{name}>({', '.join(arguments)});", targets, start, *read)
        return _parts(end, [*shapes, *added])

    def _way(self, node: Node) -> tuple[Any, ...]:
        """What the ways there and back through the same steps have in common."""
        state, given, _, _, number = _arguments(node)
        repeat = self.repeats[number]
        return repeat.advance, repeat.steps, repeat.kept, *state, *given

    def _is_gone_back(self, there: Node) -> bool:
        """Whether the program goes back through the steps of a way there."""
        back = [
            node for node in there.graph.nodes if node.target is REPEAT and self.repeats[_arguments(node)[-1]].pull_back
        ]
        return any(self._way(node) == self._way(there) for node in back)

    def _graph(
        self,
        function: Callable[..., Sequence[Tensor]],
        state: Sequence[Node],
        given: Sequence[Node],
        last: Sequence[Node] = (),
    ) -> GraphModule:
        """What a step computes of a state and of what is given.

        Or one step back: of cotangents of a `last` state, too, which come after the state.
        """
        if function not in self.graphs:
            many, lines = len(state), len(state) + len(last)

            def in_order(inputs: list[Tensor]) -> list[Tensor]:
                return list(function(*inputs[:many], *inputs[lines:], *inputs[many:lines]))

            like = [node.meta["val"] for node in (*state, *last, *given)]
            graph = traced(in_order, [torch.zeros(each.shape, dtype=each.dtype) for each in like], KEPT)
            self.graphs[function] = factored(graph)
        return self.graphs[function]

    def _computed(self, before: Graph, given: Sequence[Value]) -> list[Value]:
        """What is alike in all steps, and is computed before them."""
        inputs = [node for node in before.nodes if node.op == "placeholder"]
        values: dict[Node, Any] = dict(zip(inputs, given, strict=True))
        for node in before.nodes:
            if node.op == "call_function":
                values[node] = _operated(self.program, node, values)
        return [values[node] for node in _outputs(before)]

    def _step(
        self,
        function: Callable[..., Sequence[Tensor]],
        graph: GraphModule,
        inside: Sequence[Value],
        many: int,
        lines: Sequence[tuple[int, ...]],
        added: int = 0,
    ) -> tuple[str, int]:
        """The name and the scratch of a step: its graph, written once for what is given.

        `meta` are the tensors of a state, so many, and of cotangents, all in lines of numbers. What is written is such
        a line; so many tensors behind it are added to.
        """
        key = (function, *inside)
        if key not in self.steps:
            values = [Value(f"in{i}", shape, strides_held(shape)) for i, shape in enumerate(lines)]
            text, scratch = _function(STEP, graph, [*values, *inside], len(lines), many + added, many)
            space = f"step{len(self.steps)}"
            self.texts.append(f"namespace {space} {{\n{text}\n}}")
            self.steps[key] = f"{space}::step", scratch
        return self.steps[key]


def _arguments(loop: Node) -> Any:
    """What a loop is given, as `repeats` declares it."""
    return loop.args


def _given(program: Program, values: Sequence[Value]) -> tuple[str, list[Value], list[Value]]:
    """What is given to all steps: the C++ of pointers to it, what a step calls it, and what is read."""
    read = [value if value.constant is not None else program.real(value) for value in values]
    names = [WHOLE_NUMBERS if value.base.startswith(WHOLE_NUMBERS) else "given" for value in read]
    inside = [
        replace(value, base=value.base and f"{name}{i}", offset=0)
        for i, (value, name) in enumerate(zip(read, names, strict=True))
    ]
    pointers = [f"{value.base} + {value.offset}" if value.base else "nullptr" for value in read]
    return f"{{{', '.join(pointers)}}}", inside, read


def _parts(line: Value, shapes: Sequence[tuple[int, ...]]) -> list[Value]:
    """The tensors of a line of numbers, each of which lies as meta-parameters are held."""
    starts = accumulate(map(prod, shapes), initial=0)
    return [Value(line.base, shape, strides_held(shape), at) for shape, at in zip(shapes, starts, strict=False)]


def _shapes(nodes: Sequence[Node]) -> list[tuple[int, ...]]:
    return [tuple(node.meta["val"].shape) for node in nodes]


def strides_held(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a meta-parameter as it is held."""
    return strides_in(shape, order_held(shape))


def _of(arguments: Any, values: Mapping[Node, Any]) -> Any:
    return torch.fx.node.map_arg(arguments, lambda node: values[node])
