"""The model: the time of a meta-iteration whose tasks are shared by devices, in seconds, bytes and operations.

    step = compute of the device with most tasks + all-reduce of the directions + wait for the slowest

Arithmetic, memory traffic and the launching of operators overlap, so compute takes as long as the longest of the three
(the roofline of Williams, Waterman and Patterson 2009, with a third roof). The all-reduce begins after compute.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class Limit(StrEnum):
    """What a step spends most of its time on."""

    ARITHMETIC = "arithmetic"
    TRAFFIC = "memory traffic"
    CALLS = "operator calls"
    COMMUNICATION = "communication"


@dataclass(frozen=True)
class Link:
    """What joins devices."""

    latency_s: float
    """Seconds for a step of a ring."""
    bandwidth: float
    """Bytes per second that a device sends, while it receives as many."""


@dataclass(frozen=True)
class Rates:
    """One choice of everything that is assumed of a machine."""

    devices_per_node: int
    arithmetic: float
    """Operations per second that are reached."""
    traffic: float
    """Bytes per second between a device and its memory that are reached."""
    call_s: float
    """Seconds for an operator, from the host's program to the launch of its kernel."""
    collective_s: float
    """Seconds for any all-reduce, beside the steps of its rings."""
    inside: Link
    """Link between the devices of a node."""
    between: Link
    """Link between nodes, for each device of a node."""
    wait: float
    """Further time of the slowest device, as a share of compute."""


@dataclass(frozen=True)
class Work:
    """What a meta-iteration is."""

    flops: float
    """Operations of a task."""
    bytes: float
    """Bytes that the operators of a task read and write."""
    calls_fixed: float
    """Operators called in each iteration, however many tasks a device has."""
    calls_each: float
    """Further operators for each task: none, where an engine takes all tasks at once."""
    direction_bytes: float
    """What the devices average."""

    def calls(self, tasks: int) -> float:
        """Operators that a device with so many tasks calls."""
        return self.calls_fixed + self.calls_each * tasks


@dataclass(frozen=True)
class Parts:
    """Where the time of a step goes, in seconds."""

    arithmetic: float
    traffic: float
    calls: float
    communication: float = 0.0
    """All-reduce and wait."""

    @property
    def compute(self) -> float:
        """Seconds of computing on the device with most tasks."""
        return max(self.arithmetic, self.traffic, self.calls)

    @property
    def step(self) -> float:
        """Compute and communication."""
        return self.compute + self.communication

    @property
    def limit(self) -> Limit:
        """The roof that binds, or communication where it takes longer than all compute."""
        if self.communication > self.compute:
            return Limit.COMMUNICATION
        roofs = {Limit.CALLS: self.calls, Limit.TRAFFIC: self.traffic, Limit.ARITHMETIC: self.arithmetic}
        return max(roofs, key=lambda limit: roofs[limit])


def ring(members: int, size: float, link: Link) -> float:
    """Seconds of a ring all-reduce of `size` bytes by p members: 2(p - 1) steps, each of a p-th of the bytes.

    This is the bandwidth-optimal ring of Patarasuk and Yuan (2009): reduce-scatter, then all-gather. 0 for one member.
    """
    return 2 * (members - 1) * (link.latency_s + size / members / link.bandwidth)


def all_reduce(devices: int, size: float, rates: Rates) -> float:
    """Seconds to sum `size` bytes over devices; 0 for one.

    Over several nodes it has three parts: reduce-scatter within each node, a ring between nodes for the share of each
    device at the same time, all-gather within each node. The first and the last together take as long as a ring.
    """
    if devices == 1:
        return 0.0
    inside = min(devices, rates.devices_per_node)
    nodes = math.ceil(devices / rates.devices_per_node)
    return rates.collective_s + ring(inside, size, rates.inside) + ring(nodes, size / inside, rates.between)


def parts(work: Work, tasks: int, devices: int, rates: Rates) -> Parts:
    """A step of `tasks` tasks on `devices` devices, of which no more take part than there are tasks."""
    busy = min(devices, tasks)
    own = math.ceil(tasks / busy)
    alone = Parts(work.flops * own / rates.arithmetic, work.bytes * own / rates.traffic, work.calls(own) * rates.call_s)
    if busy == 1:
        return alone
    return replace(alone, communication=all_reduce(busy, work.direction_bytes, rates) + rates.wait * alone.compute)


@dataclass(frozen=True)
class Span:
    """Range from the lowest to the highest value that the assumptions allow."""

    low: float
    high: float


def span(values: Sequence[float]) -> Span:
    """The ends of some values."""
    return Span(min(values), max(values))


@dataclass(frozen=True)
class Forecast:
    """What is predicted for a number of devices, over all choices of what is assumed."""

    devices: int
    tasks: int
    own_tasks: int
    """Tasks of the device that has most."""
    idle: int
    """Devices without a task."""
    compute: Span
    communication: Span
    step: Span
    speed_up: Span
    """Ratio of tasks per second to those of one device with `base_tasks`, both by the same choice."""
    efficiency: Span
    limits: tuple[Limit, ...]
    """What binds by one choice or another."""


def forecast(work: Work, tasks: int, devices: int, base_tasks: int, choices: Sequence[Rates]) -> Forecast:
    """The forecast for `tasks` tasks on `devices` devices, compared with `base_tasks` on one."""
    found = [parts(work, tasks, devices, rates) for rates in choices]
    ones = [parts(work, base_tasks, 1, rates) for rates in choices]
    faster = [tasks / base_tasks * one.step / many.step for one, many in zip(ones, found, strict=True)]
    busy, limits = min(devices, tasks), {each.limit for each in found}
    return Forecast(
        devices,
        tasks,
        math.ceil(tasks / busy),
        devices - busy,
        span([each.compute for each in found]),
        span([each.communication for each in found]),
        span([each.step for each in found]),
        span(faster),
        span([value / devices for value in faster]),
        tuple(limit for limit in Limit if limit in limits),
    )
