"""The formulas, against numbers worked out by hand."""

import pytest

from metabench.forecast.model import Limit, Link, Rates, Work, all_reduce, forecast, parts, ring

INSIDE, BETWEEN = Link(1e-6, 1e9), Link(1e-5, 1e8)


def rates(**changes):
    """100 GFLOP/s, 1 TB/s, 1 µs a call, four devices in a node."""
    figures = {"arithmetic": 1e11, "traffic": 1e12, "call_s": 1e-6, "collective_s": 0.0, "wait": 0.0} | changes
    return Rates(devices_per_node=4, inside=INSIDE, between=BETWEEN, **figures)


WORK = Work(flops=1e9, bytes=1e7, calls_fixed=40, calls_each=300, direction_bytes=8000)


def test_a_ring_has_two_steps_for_each_other_member():
    # 2 · 3 steps of 2000 bytes at 1 GB/s: 6 · (1 µs + 2 µs)
    assert ring(4, 8000, INSIDE) == pytest.approx(18e-6)
    assert ring(1, 8000, INSIDE) == 0


def test_an_all_reduce_over_nodes_goes_through_the_nodes_and_between_them():
    assert all_reduce(1, 8000, rates(collective_s=1e-3)) == 0
    assert all_reduce(4, 8000, rates(collective_s=5e-6)) == pytest.approx(23e-6)
    # two nodes: each device's 2000 bytes in two steps of 1000 bytes at 100 MB/s, 10 µs each
    assert all_reduce(8, 8000, rates()) == pytest.approx(18e-6 + 2 * (10e-6 + 10e-6))


def test_the_device_with_most_tasks_is_waited_for():
    found = parts(WORK, 10, 4, rates())
    assert found.arithmetic == pytest.approx(3 * 0.01) and found.traffic == pytest.approx(3e-5)
    assert found.calls == pytest.approx(940e-6) and found.compute == found.arithmetic
    assert found.step == pytest.approx(0.03 + 18e-6) and found.limit is Limit.ARITHMETIC
    assert parts(WORK, 10, 4, rates(wait=0.1)).communication == pytest.approx(0.003 + 18e-6)
    assert parts(WORK, 10, 1, rates(wait=0.1)).communication == 0


def test_what_takes_longest_limits():
    assert parts(WORK, 4, 4, rates(call_s=1e-3)).limit is Limit.CALLS
    assert parts(WORK, 4, 4, rates(traffic=1e8)).limit is Limit.TRAFFIC
    assert parts(WORK, 4, 4, rates(collective_s=1.0)).limit is Limit.COMMUNICATION


def test_devices_without_a_task_are_idle():
    found = forecast(WORK, 4, 64, 4, [rates()])
    assert (found.idle, found.own_tasks) == (60, 1)
    # four devices do the work of one in a quarter of the time, and their all-reduce
    assert found.speed_up.low == found.speed_up.high == pytest.approx(0.04 / (0.01 + 18e-6))
    assert found.efficiency.low == pytest.approx(found.speed_up.low / 64)


def test_weak_scaling_counts_tasks_a_second():
    found = forecast(WORK, 8 * 4, 8, 4, [rates()])
    assert (found.own_tasks, found.idle) == (4, 0)
    assert found.speed_up.low == pytest.approx(8 * 0.04 / (0.04 + 58e-6))


def test_ranges_hold_every_choice():
    choices = [rates(arithmetic=speed, call_s=call) for speed in (1e10, 1e13) for call in (1e-6, 1e-4)]
    found = forecast(WORK, 16, 8, 16, choices)
    steps = [parts(WORK, 16, 8, choice).step for choice in choices]
    assert (found.step.low, found.step.high) == (min(steps), max(steps))
    assert found.limits == (Limit.ARITHMETIC, Limit.CALLS)
    for span in (found.compute, found.communication, found.step, found.speed_up, found.efficiency):
        assert span.low <= span.high
    one = forecast(WORK, 16, 1, 16, choices)
    assert one.speed_up.low == one.speed_up.high == one.efficiency.high == 1
