"""Which runs are of one machine."""

from dataclasses import asdict, dataclass, field

import pytest

from metabench.record.environment import Environment, Machine
from metabench.record.reading import typed

MIB = 1 << 20


@dataclass
class Kind:
    """What tells a processor from another one."""

    name: str = "AMD EPYC"
    vectors: str = "AVX2"
    caches: dict[str, int] = field(
        default_factory=lambda: {"L1d": 32 << 10, "L1i": 64 << 10, "L2": MIB // 2, "L3": 8 * MIB}
    )


def environment(torch="2.15.0", summary="one line", **kind):
    given = asdict(Kind(**kind))
    found = {
        "processor": {"name": given["name"], "usable_cores": 2, "caches": given["caches"]},
        "memory": {"total_bytes": 24 << 30},
        "packages": {"torch": torch},
        "torch": {"cpu_capability": given["vectors"]},
    }
    return Environment(summary=summary, machine=typed(found, Machine))


def test_a_machine_is_named_with_what_its_processor_can_do():
    kind = "AMD EPYC (AVX2, L1d 32 KiB, L2 512 KiB, L3 8 MiB)"
    assert environment().machine_name == f"{kind}, 2 cores, 24 GiB"
    assert environment().machine_label == f"{kind}, 2 cores, 24 GiB, torch 2.15.0"
    assert environment(vectors="DEFAULT", caches={}).machine_name == "AMD EPYC, 2 cores, 24 GiB"
    assert Environment(summary="a cluster").machine_name == "a cluster"


@pytest.mark.parametrize(
    "other", [{"vectors": "AVX512"}, {"caches": {"L1d": 48 << 10}}, {"name": "Intel Xeon"}], ids=str
)
def test_processors_of_one_name_may_be_of_two_kinds(other):
    one, another = environment(), environment(**other)
    assert one.machine_name != another.machine_name
    assert one.other_than(one.machine, "one line") == ""
    assert one.other_than(another.machine, "one line") == one.machine_name


def test_what_goes_on_has_the_same_versions():
    assert environment().other_than(environment().machine, "another line") == "one line"
    assert Environment().other_than(environment().machine, "one line") == "not known"
    assert Environment(summary="one line").other_than(environment().machine, "one line") == ""
