"""What a machine is called in a row and a table, by the description of it that a run keeps."""

from collections.abc import Mapping
from typing import Any

from metabench.record.schema import LONGEST_NAME


def machine_name(environment: Mapping[str, Any]) -> str:
    """Processor, cores, memory and GPUs: equal for runs of one machine, whatever is installed on it."""
    machine = environment.get("machine") or {}
    processor, memory = machine.get("processor") or {}, machine.get("memory") or {}
    if not processor.get("name"):
        return str(environment.get("summary", "an unknown machine"))
    parts = [str(processor["name"]), f"{processor.get('usable_cores')} cores"]
    if total := memory.get("total_bytes"):
        parts.append(f"{total / 2**30:.0f} GiB")
    return ", ".join([*parts, *(str(gpu.get("name")) for gpu in machine.get("gpus") or [])])


def machine_label(environment: Mapping[str, Any]) -> str:
    """Equal for rows that may stand in one ratio: machine, torch, Python."""
    machine = environment.get("machine") or {}
    torch, python = (machine.get("packages") or {}).get("torch"), (machine.get("python") or {}).get("version")
    versions = [f"{name} {version}" for name, version in (("torch", torch), ("Python", python)) if version]
    return ", ".join([machine_name(environment), *versions])[:LONGEST_NAME]
