"""The environment of a run, typed: the machine, its software, and what the run was warned of."""

from typing import Annotated, Any

import msgspec

from metabench.record.axes import LONGEST_NAME
from metabench.record.cell import Name, Whole
from metabench.record.timing import Record, Text

Commit = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{40,64}$")]


class Processor(Record, frozen=True, omit_defaults=True):
    """The processor, as the system describes it."""

    name: Text | None = None
    architecture: Text | None = None
    physical_cores: Whole | None = None
    logical_cores: Whole | None = None
    usable_cores: Whole | None = None
    """Cores that the process may use."""
    quota_cores: float | None = None
    """Cores that a container's quota comes to."""
    mhz_now: float | None = None
    mhz_max: float | None = None
    caches: dict[str, int] = {}
    """Bytes of the first core's caches by name."""
    virtual_machine: bool | None = None


class MainMemory(Record, frozen=True, omit_defaults=True):
    """The main memory, in bytes."""

    total_bytes: Whole | None = None
    limit_bytes: Whole | None = None
    """What the container may hold, where it has a limit."""
    large_pages: Text | None = None
    """Whether Linux gives pages of 2 MiB: `always`, `madvise` (to what asks for them, as `native` does) or `never`."""


class Gpu(Record, frozen=True, omit_defaults=True):
    """A GPU at the beginning of the run."""

    name: Text | None = None
    memory_bytes: Whole | None = None
    sm_mhz: float | None = None
    sm_mhz_max: float | None = None
    memory_mhz: float | None = None
    power_limit_w: float | None = None
    temperature_c: float | None = None


class Code(Record, frozen=True, omit_defaults=True):
    """Which metabench it was."""

    version: Text | None = None
    commit: Commit | None = None
    dirty: bool | None = None
    """Whether its sources differed from the commit."""


class Machine(Record, frozen=True, omit_defaults=True):
    """A machine, its state when it was looked at, and the versions of all that counts."""

    time: Text | None = None
    threads: Whole | None = None
    processor: Processor | None = None
    memory: MainMemory | None = None
    system: dict[str, Any] | None = None
    gpus: list[Gpu] | None = None
    cuda: dict[str, Any] | None = None
    load: dict[str, Any] | None = None
    power: dict[str, Any] | None = None
    python: dict[str, Any] | None = None
    packages: dict[str, Any] | None = None
    torch: dict[str, Any] | None = None
    environment: dict[str, Any] | None = None
    """Variables that change how fast torch runs."""
    metabench: Code | None = None

    @property
    def vectors(self) -> str:
        """The vector instructions that torch has code for, such as "AVX2"; empty where there is nothing to tell."""
        capability = str((self.torch or {}).get("cpu_capability") or "")
        return "" if capability in ("DEFAULT", "NO AVX") else capability

    @property
    def processor_kind(self) -> str:
        """The processor's name, with what tells kinds of one name apart. Virtual machines often hide the model.

        "AMD EPYC (AVX2, L1d 32 KiB, L2 512 KiB, L3 8 MiB)"; empty where there is no name.
        """
        processor = self.processor or Processor()
        caches = [f"{name} {_size_text(size)}" for name, size in processor.caches.items() if name != "L1i"]
        parts = [*filter(None, [self.vectors]), *caches]
        return f"{processor.name} ({', '.join(parts)})" if processor.name and parts else processor.name or ""


def _size_text(size: int) -> str:
    """The size of a cache: whole KiB or MiB."""
    return f"{size >> 20} MiB" if size % (1 << 20) == 0 else f"{size >> 10} KiB"


class SweepName(Record, frozen=True, omit_defaults=True):
    """Which sweep a run is of."""

    name: Text = ""
    title: Text = ""


class Environment(Record, frozen=True, omit_defaults=True):
    """What `environment.json` holds."""

    summary: Text = ""
    """The machine in one line; empty where it is not known."""
    warnings: list[Text] = []
    stand_in: Text = ""
    """The task distribution that took the place of one that was not at hand."""
    pairing: Text | None = None
    """Name that is the same in two runs that were measured in pairs."""
    sweep: SweepName = SweepName()
    machine: Machine | None = None
    backend: Name = "local"
    machines: dict[str, Machine] | None = None
    """Machines by label, in a run on machines that were not known before."""
    revision: dict[str, Any] | None = None
    """Name and date of the revision that was measured, where it is not that of the program that ran."""
    runs: list[dict[str, Any]] | None = None
    """The environments of the runs that it was merged of."""

    @property
    def machine_name(self) -> str:
        """Processor, cores, memory and GPUs: equal for runs of one machine, whatever is installed on it."""
        machine = self.machine or Machine()
        processor, memory = machine.processor or Processor(), machine.memory or MainMemory()
        if not machine.processor_kind:
            return self.summary or "an unknown machine"
        parts = [machine.processor_kind, f"{processor.usable_cores} cores"]
        if memory.total_bytes:
            parts.append(f"{memory.total_bytes / 2**30:.0f} GiB")
        return ", ".join([*parts, *(str(gpu.name) for gpu in machine.gpus or [])])

    @property
    def machine_label(self) -> str:
        """A key that is equal for rows that may stand in one ratio: machine, torch, Python."""
        machine = self.machine or Machine()
        torch, python = (machine.packages or {}).get("torch"), (machine.python or {}).get("version")
        versions = [f"{name} {version}" for name, version in (("torch", torch), ("Python", python)) if version]
        return ", ".join([self.machine_name, *versions])[:LONGEST_NAME]

    def other_than(self, machine: Machine, summary: str) -> str:
        """The name of this environment's machine if `machine` is another one, else an empty text.

        `summary` is the line of `machine`, with its versions and threads.
        """
        if self.summary != summary:
            return self.summary or "not known"
        there = msgspec.structs.replace(self, machine=machine)
        return self.machine_name if self.machine and self.machine_name != there.machine_name else ""
