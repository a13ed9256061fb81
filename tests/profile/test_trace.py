"""A trace by hand: phases, calls in calls, memory and kernels, all of known times in µs."""

import json

import pytest

from metabench.measure.launches import covered
from metabench.profile.trace import (
    RANGE,
    OperatorKind,
    Span,
    by_name,
    folded,
    folded_text,
    gaps,
    levels,
    over_iterations,
    parse,
)
from metabench.profile.traced import pieces


def event(name, ts, dur, cat="cpu_op", tid=1):
    return {"ph": "X", "cat": cat, "name": name, "ts": 1000.0 + ts, "dur": dur, "tid": tid}


def memory(ts, size, address=1, device=0):
    args = {"Addr": address, "Bytes": size, "Total Allocated": 0, "Device Type": device}
    return {"ph": "i", "cat": "cpu_instant_event", "name": "[memory]", "ts": 1000.0 + ts, "args": args}


EVENTS = [
    {"ph": "M", "name": "process_name"},
    event("aten::early", -50, 10),
    memory(-5, 64, address=9),
    event(RANGE + "query", 0, 100),
    event(RANGE + "outer backward", 100, 100),
    event("aten::linear", 10, 40),
    event("aten::t", 12, 3),
    event("aten::addmm", 20, 25),
    event("aten::relu", 60, 10),
    event("autograd::engine::evaluate_function: MulBackward0", 110, 50, tid=2),
    event("aten::mul", 120, 30, tid=2),
    event("aten::mul", 170, 5, tid=2),
    memory(21, 1000),
    memory(61, 500, address=2),
    memory(125, 2000, address=3),
    memory(130, -1000),
    memory(131, -64, address=9),
    memory(300, 7, address=4),
    event("gemm", 30, 20, cat="kernel", tid=7),
    event("gemm", 45, 15, cat="kernel", tid=8),
    event("add", 90, 10, cat="kernel", tid=7),
]


@pytest.fixture
def trace():
    return parse(json.dumps({"traceEvents": EVENTS}))


def us(seconds):
    return round(1e6 * seconds, 6)


def test_calls_are_nested_and_belong_to_the_phase_of_their_start(trace):
    assert [(span.name, us(span.seconds)) for span in trace.phases] == [("query", 100), ("outer backward", 100)]
    assert us(trace.seconds) == 200
    assert {o.stack: us(o.own) for o in trace.operators[:4]} == {
        ("query", "aten::linear"): 12,
        ("query", "aten::linear", "aten::t"): 3,
        ("query", "aten::linear", "aten::addmm"): 25,
        ("query", "aten::relu"): 10,
    }
    assert [o.span.name for o in trace.operators if o.computes] == [
        *("aten::t", "aten::addmm", "aten::relu", "aten::mul", "aten::mul")
    ]
    found = by_name(trace.operators)
    assert (found["aten::mul"].calls, us(found["aten::mul"].own)) == (2, 35)
    assert (found["aten::addmm"].calls, us(found["aten::addmm"].own)) == (1, 25)
    assert us(covered(o.span for o in trace.operators)) == 40 + 10 + 50 + 5


def test_one_preemption_is_not_in_the_medians_over_iterations():
    """Ten iterations in which `expand` takes 10 µs, and one in which another program took the processor from it."""
    found = [
        {"aten::mm": OperatorKind("aten::mm", 4, 1e-3), "aten::expand": OperatorKind("aten::expand", 17, 10e-6)}
        for _ in range(10)
    ]
    found[3] = found[3] | {"aten::expand": OperatorKind("aten::expand", 17, 8.13e-3)}
    first, second = over_iterations([*found, {"aten::mm": OperatorKind("aten::mm", 4, 1e-3)}])
    assert (first.name, first.calls, first.own.value) == ("aten::mm", 4, 1e-3)
    assert (second.name, second.calls) == ("aten::expand", 17)
    assert us(second.own.value) == us(second.own.high) == us(second.own.low) == 10


def test_the_interval_over_iterations_is_that_of_the_median():
    found = [{"a": OperatorKind("a", 1, float(number))} for number in range(1, 11)]
    (one,) = over_iterations(found)
    assert (one.own.value, one.own.low, one.own.high) == (5.5, 2, 9)  # 98 %: the first step to cover 95 % of n = 10


def test_stacks_add_up_to_the_iteration(trace):
    stacks = folded(trace)
    assert us(sum(stacks.values())) == 200
    assert us(stacks[("query",)]) == 50 and us(stacks[("outer backward",)]) == 45
    assert "query;aten::linear;aten::addmm 25\n" in folded_text(stacks)
    assert folded_text({("a;b", "c"): 1e-6}) == "a,b;c 1\n"


def test_a_flame_graph_lays_children_on_their_parents(trace):
    found = pieces(trace)
    assert [(p.name, us(p.start), us(p.seconds)) for p in found if p.depth == 0] == [
        ("query loss (forward)", 0, 100),
        ("outer backward", 100, 100),
    ]
    linear = next(p for p in found if p.name == "aten::linear")
    above = [p for p in found if p.phase == "query loss (forward)" and p.depth == 2]
    assert [p.name for p in above] == ["aten::addmm", "aten::t"]  # the wider first
    assert us(above[0].start) == us(linear.start) and us(above[1].start) == us(above[0].start + above[0].seconds)


def test_memory_is_that_of_the_iterations_own_tensors_by_phase(trace):
    found = [(us(level.moment), level.bytes, level.phase) for level in levels(trace)]
    assert found == [
        (0, 0, "query"),
        (21, 1000, "query"),
        (61, 1500, "query"),
        (100, 1500, "outer backward"),
        (125, 3500, "outer backward"),
        (130, 2500, "outer backward"),
        (131, 2500, "outer backward"),
    ]


def test_gaps_are_where_no_kernel_runs(trace):
    assert [us(gap) for gap in gaps(trace.kernels)] == [30]
    assert us(covered(trace.kernels)) == 40
    assert gaps([]) == []
    assert covered([Span("a", 0.0, 2.0), Span("b", 1.0, 0.5)]) == 2.0


def test_a_trace_without_phases_is_refused():
    with pytest.raises(ValueError, match="no phases"):
        parse(json.dumps({"traceEvents": [event("aten::mul", 0, 1)]}))
