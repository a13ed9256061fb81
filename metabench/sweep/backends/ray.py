"""A Ray cluster: an actor on each node, which holds all of the node's processors, or one of its GPUs, for itself."""

import logging
import os
import signal
import socket
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from metabench.errors import UserError, in_short
from metabench.extras import INSTALL
from metabench.machine.cores import available_cores
from metabench.record.measurement import Measurement
from metabench.sweep.backends.base import BACKENDS, Backend, BackendKind, Work
from metabench.sweep.backends.node import Node, task_of
from metabench.sweep.backends.pool import Lost, Pool, Reply, reply_of, threads_of
from metabench.sweep.jobs import Job

LOOK_S = 1.0
"""How often nodes are looked for."""
ANSWER_S = 5.0
"""How long an address may take to answer."""


@dataclass(frozen=True)
class Options:
    """What `--backend-option` may set."""

    address: str = ""
    """HOST:PORT, or ray://HOST:PORT; empty: the cluster that this machine is part of, or that of RAY_ADDRESS."""
    wait: int = 60
    """Seconds to wait for a node where there is none."""
    resource: str = ""
    """Take only nodes that have this resource of one's own (`ray start --resources`)."""


@dataclass(frozen=True)
class _Place:
    """What a slot asks of a node."""

    node: str
    number: int
    cpus: float
    gpus: int


class _Slot:
    def __init__(self, ray: Any, place: _Place, threads: int) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self.ray, self.place = ray, place
        here = NodeAffinitySchedulingStrategy(place.node, soft=False)
        remote = ray.remote(num_cpus=place.cpus, num_gpus=place.gpus, max_restarts=0, scheduling_strategy=here)
        self.actor = remote(Node).remote()
        self.answer = self.actor.introduce.remote(threads)

    def fits(self, job: Job) -> bool:
        return job.cell.device == "cpu" or self.place.gpus >= job.cell.world_size

    def lasts(self, seconds: float) -> bool:
        return True

    def begin(self, job: Job, work: Work) -> None:
        self.answer = self.actor.measure.remote(task_of(job, work))

    def poll(self) -> Reply | None:
        if self.answer is None:
            return None
        ready, _ = self.ray.wait([self.answer], timeout=0)
        if not ready:
            return None
        answer, self.answer = self.answer, None
        try:
            return reply_of(self.ray.get(answer))
        except self.ray.exceptions.RayError as error:
            return Lost(_in_words(error))


class _Cluster:
    def __init__(self, ray: Any, options: Options, work: Work) -> None:
        self.ray, self.options, self.threads = ray, options, threads_of(work)
        self.wait_s = float(options.wait)
        self.held: dict[_Slot, _Place] = {}
        self.refused: set[str] = set()
        devices = {job.cell.device for job in work.jobs}
        # Cells on processors disturb those on a GPU of the same node: then a node is not shared.
        self.gpus_each = max((j.cell.world_size for j in work.jobs), default=1) if devices == {"cuda"} else 0
        self.looked = float("-inf")

    def open(self, wanted: int) -> list[_Slot]:
        if wanted < 1 or time.monotonic() - self.looked < LOOK_S:
            return []
        self.looked = time.monotonic()
        alive = nodes(self.ray, self.options)
        taken = set(self.held.values())
        places = [place for node in alive for place in self._places(node) if place not in taken]
        found = [_Slot(self.ray, place, self.threads) for place in places[:wanted]]
        self.held |= {slot: slot.place for slot in found}
        return found

    def _places(self, node: dict[str, Any]) -> list[_Place]:
        name, cpus, gpus = node["NodeID"], node["Resources"]["CPU"], int(node["Resources"].get("GPU", 0))
        if name in self.refused:
            return []
        if not self.gpus_each:
            return [_Place(name, 0, cpus, gpus)]
        count = gpus // self.gpus_each
        return [_Place(name, i, max(1, cpus // count), self.gpus_each) for i in range(count)]

    @property
    def spent(self) -> bool:
        alive = nodes(self.ray, self.options)
        return bool(alive) and not any(self._places(node) for node in alive)

    def check_threads(self, work: Work) -> None:
        """Raise `UserError` where threads that a sweep leaves open are more than a slot's share of its node."""
        needed = max((job.cell.threads * job.cell.world_size for job in work.jobs), default=1)
        shares = [place.cpus for node in nodes(self.ray, self.options) for place in self._places(node)]
        if self.gpus_each and not work.settings.threads and shares and needed > min(shares):
            raise UserError(
                f"a configuration would have {needed} threads, and {min(shares):g} processors of a node go with its "
                "GPUs: give threads in [run] of the sweep"
            )

    def release(self, slot: Any) -> None:
        self.ray.kill(slot.actor)  # its cell ends with it
        self.held.pop(slot, None)

    def refuse(self, slot: Any) -> None:
        self.refused.add(slot.place.node)
        self.release(slot)


def nodes(ray: Any, options: Options) -> list[dict[str, Any]]:
    """The nodes that are alive and have a processor to give."""
    return [
        node
        for node in ray.nodes()
        if node["Alive"]
        and node["Resources"].get("CPU", 0) >= 1
        and (not options.resource or node["Resources"].get(options.resource, 0) > 0)
    ]


class Ray:
    """Connected to a cluster."""

    name = "ray"
    remote = True

    def __init__(self, ray: Any, options: Options) -> None:
        self.ray, self.options = ray, options

    @property
    def cores(self) -> int:
        counts = [int(node["Resources"]["CPU"]) for node in nodes(self.ray, self.options)]
        return min(counts, default=available_cores())

    def measure(self, work: Work) -> Generator[tuple[Job, Measurement]]:
        cluster = _Cluster(self.ray, self.options, work)
        cluster.check_threads(work)
        yield from Pool(cluster, work).run()


@contextmanager
def _open(options: Options) -> Iterator[Backend]:
    try:
        import ray
    except ImportError:
        raise UserError(f"backend 'ray' needs Ray: install it with {INSTALL['ray']}") from None
    if ray.is_initialized():
        yield Ray(ray, options)
        return
    named = options.address or os.environ.get("RAY_ADDRESS", "")
    heard = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _try_to_reach(named)
        ray.init(address=options.address or "auto", log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # each way in which a cluster cannot be reached is a class of its own
        where = f"at '{named}'" if named else "here: start one with `ray start --head`"
        raise UserError(f"no Ray cluster can be reached {where} ({in_short(error)})") from None
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)  # Ray puts in one of its own, and a run must hear that it is to stop
    try:
        yield Ray(ray, options)
    finally:
        ray.shutdown()


def _try_to_reach(address: str) -> None:
    """Raise OSError or ValueError unless HOST:PORT answers: Ray itself would try for many minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and "/" not in host:  # Ray finds out itself where all else is, such as `auto`
        socket.create_connection((host.strip("[]"), _port(port)), ANSWER_S).close()


def _port(text: str) -> int:
    """The number of a port. Raises ValueError for what is none."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 16):
        raise ValueError(f"'{text}' is no port")
    return int(text)


def _in_words(error: Exception) -> str:
    """The first line of what Ray says, without its addresses and ids."""
    kind = type(error).__name__
    known = {
        "ActorDiedError": "its worker died",
        "ActorUnavailableError": "its worker cannot be reached",
        "NodeDiedError": "its node died",
        "OutOfMemoryError": "Ray ended its worker for want of memory",
    }
    cause = getattr(error, "cause", None)
    return known.get(kind, f"{kind}: {in_short(cause)}" if isinstance(cause, Exception) else kind)


BACKENDS.register("ray")(BackendKind("a Ray cluster, a unit a node at a time", Options, _open))
