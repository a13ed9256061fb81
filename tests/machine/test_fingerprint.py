"""The fingerprint: right where it can be checked, silent where nothing is known, and fit to be published."""

import json
import re
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from msgspec import to_builtins

import metabench
from metabench.machine import fingerprint as machine
from metabench.machine.cores import OWN_CHOICE
from metabench.machine.fingerprint import fingerprint
from metabench.record.environment import Machine
from metabench.record.reading import typed


def strings(part: Any) -> list[str]:
    """All keys and values that are text, at any depth."""
    if isinstance(part, dict):
        return [text for item in part.items() for text in strings(list(item))]
    if isinstance(part, list):
        return [text for item in part for text in strings(item)]
    return [part] if isinstance(part, str) else []


def test_the_fingerprint_is_plain_data_about_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in OWN_CHOICE:
        monkeypatch.delenv(name, raising=False)
    found = to_builtins(fingerprint(3))
    assert json.loads(json.dumps(found)) == found
    assert found["threads"] == 3
    assert abs((datetime.now(UTC) - datetime.fromisoformat(found["time"])).total_seconds()) < 60
    assert found["processor"]["name"]
    assert found["processor"]["logical_cores"] == psutil.cpu_count()
    assert found["memory"]["total_bytes"] == psutil.virtual_memory().total
    assert found["python"]["version"] == ".".join(str(part) for part in sys.version_info[:3])
    assert found["packages"]["torch"] == metadata.version("torch")
    assert found["torch"]["version"] == torch.__version__
    assert found["torch"]["threads"] == torch.get_num_threads()
    assert found["environment"]["OMP_NUM_THREADS"] == "1"
    assert found["environment"]["GOMP_SPINCOUNT"] == "5000"  # as cells run
    assert found["metabench"]["version"] == metabench.__version__
    assert found["load"]["other_processes_cores"] is None or 0 <= found["load"]["other_processes_cores"] <= 1024


def test_no_path_and_no_name_of_person_or_machine_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.getpass, "getuser", lambda: "ada")
    monkeypatch.setattr(machine.socket, "gethostname", lambda: "engine-7")
    monkeypatch.setenv("PYTORCH_KERNEL_CACHE_PATH", "/home/ada/.cache")
    monkeypatch.setenv("KMP_FILE", r"C:\Users\ada")
    monkeypatch.setenv("PYTORCH_OWNER", "by ada")
    monkeypatch.setenv("GOMP_HOST", "engine-7:1")
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "max_split_size_mb:128")
    monkeypatch.setenv("HF_TOKEN", "secret")
    found = to_builtins(fingerprint(1))
    shown = {name: found["environment"].get(name) for name in ("PYTORCH_KERNEL_CACHE_PATH", "KMP_FILE")}
    assert shown == dict.fromkeys(shown, "(a path, hidden)")
    assert found["environment"]["PYTORCH_OWNER"] == found["environment"]["GOMP_HOST"] == "(hidden)"
    assert found["environment"]["PYTORCH_ALLOC_CONF"] == "max_split_size_mb:128"
    texts = strings(found)
    assert "HF_TOKEN" not in texts and "secret" not in texts
    assert not [text for text in texts if re.search(r"(^|[\s=:'\"])(/|~|\.\.?/|[A-Z]:\\)", text)]
    assert not [text for text in texts if str(Path.home()) in text or str(Path(__file__).parents[2]) in text]


def test_the_kernel_is_believed_before_cpuinfo_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    listing = "processor\t: 0\nmodel name\t: Some CPU @ 2.0GHz\nflags\t\t: fpu hypervisor vme\n"
    files = {"/proc/cpuinfo": listing}
    monkeypatch.setattr(machine, "quota_cores", lambda: 1.5)
    monkeypatch.setattr(machine, "read_plain", files.get)

    def not_asked(name: str) -> None:
        raise AssertionError(name)

    monkeypatch.setattr(machine, "import_module", not_asked)
    found = machine._processor()
    assert found["name"] == "Some CPU @ 2.0GHz"
    assert found["virtual_machine"] is True
    assert found["quota_cores"] == 1.5
    assert found["caches"] == {}

    files.clear()
    brand = SimpleNamespace(get_cpu_info=lambda: {"brand_raw": "Apple M9"})
    monkeypatch.setattr(machine, "import_module", lambda name: {"cpuinfo": brand}[name])
    found = machine._processor()
    assert found["name"] == "Apple M9"
    assert found["virtual_machine"] is None


def test_caches_are_named_as_people_name_them(monkeypatch: pytest.MonkeyPatch) -> None:
    caches = [("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "1024K"), ("3", "Unified", "32M")]
    files = {
        f"/sys/devices/system/cpu/cpu0/cache/index{i}/{name}": value
        for i, cache in enumerate(caches)
        for name, value in zip(("level", "type", "size"), cache, strict=True)
    }
    monkeypatch.setattr(machine, "read_plain", files.get)
    assert machine._caches() == {"L1d": 48 << 10, "L1i": 32 << 10, "L2": 1 << 20, "L3": 32 << 20}


@pytest.mark.parametrize(
    ("text", "chosen"), [("always [madvise] never", "madvise"), ("always madvise [never]", "never"), (None, None)]
)
def test_what_linux_chose_for_large_pages(
    monkeypatch: pytest.MonkeyPatch, text: str | None, chosen: str | None
) -> None:
    monkeypatch.setattr(machine, "read_plain", lambda path: text)
    assert machine._large_pages() == chosen


def described(name: str, cores: int, threads: int, *gpus: str, capability: str = "DEFAULT") -> Machine:
    found = {
        "processor": {"name": name, "physical_cores": cores, "logical_cores": 2 * cores},
        "memory": {"total_bytes": 25276510208},
        "gpus": [{"name": gpu} for gpu in gpus],
        "packages": {"torch": "2.15.0"},
        "python": {"version": "3.11.7"},
        "torch": {"cpu_capability": capability},
        "threads": threads,
    }
    return typed(found, Machine)


def test_the_short_name_is_one_line() -> None:
    rest = "24 GiB, torch 2.15.0, Python 3.11.7"
    assert machine.short_name(described("AMD EPYC", 2, 2)) == f"AMD EPYC, 2 cores, {rest}, 2 threads"
    intel = described("Intel(R) Xeon(R) CPU E5-2690 v4 @ 2.60GHz", 1, 1)
    assert machine.short_name(intel) == f"Intel Xeon E5-2690 v4, 1 core, {rest}, 1 thread"
    gpus = described("AMD EPYC", 8, 8, "NVIDIA H200", "NVIDIA L4", "NVIDIA H200")
    assert machine.short_name(gpus).startswith("AMD EPYC, 8 cores, 24 GiB, 2 × NVIDIA H200, NVIDIA L4, torch")
    unknown = described("", 0, 1)
    assert machine.short_name(unknown) == f"unknown processor, {rest}, 1 thread"
    vectors = described("AMD EPYC", 2, 2, capability="AVX512")
    assert machine.short_name(vectors) == f"AMD EPYC (AVX512), 2 cores, {rest}, 2 threads"


def test_the_short_name_of_this_machine() -> None:
    assert re.fullmatch(
        r".+, \d+ cores?, \d+ GiB, .*torch \S+, Python \S+, 2 threads", machine.short_name(fingerprint(2))
    )


# --- GPUs ------------------------------------------------------------------------------------------------------------


class FakeNvml:
    """Stands in for pynvml, with one GPU that tells all and one that tells little."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def __init__(self) -> None:
        self.open = 0

    def __getattr__(self, name: str) -> Any:
        answers = {
            "nvmlSystemGetDriverVersion": lambda: b"580.1",
            "nvmlSystemGetCudaDriverVersion": lambda: 13020,
            "nvmlDeviceGetCount": lambda: 2,
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetName": lambda handle: ["NVIDIA H200", b"NVIDIA L4"][handle],
            "nvmlDeviceGetMemoryInfo": lambda handle: [SimpleNamespace(total=141 << 30)][handle],
            "nvmlDeviceGetClockInfo": lambda handle, clock: [{1: 345, 2: 3201}][handle][clock],
            "nvmlDeviceGetMaxClockInfo": lambda handle, clock: [{1: 1980, 2: 3201}][handle][clock],
            "nvmlDeviceGetEnforcedPowerLimit": lambda handle: [700_000][handle],
            "nvmlDeviceGetTemperature": lambda handle, sensor: [31][handle],
        }
        return answers[name]

    def nvmlInit(self) -> None:  # noqa: N802
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1


def test_nvml_tells_of_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)  # type: ignore[arg-type]
    gpus, cuda = machine._gpus()
    nothing = dict.fromkeys(("memory_bytes", "sm_mhz", "sm_mhz_max", "memory_mhz", "power_limit_w", "temperature_c"))
    assert gpus == [
        {
            "name": "NVIDIA H200",
            "memory_bytes": 141 << 30,
            "sm_mhz": 345,
            "sm_mhz_max": 1980,
            "memory_mhz": 3201,
            "power_limit_w": 700,
            "temperature_c": 31,
        },
        {"name": "NVIDIA L4"} | nothing,
    ]
    assert (cuda["driver"], cuda["supported"], cuda["torch"]) == ("580.1", "13.2", torch.version.cuda)
    assert nvml.open == 0


@pytest.mark.parametrize("visible", [False, True])
def test_without_nvml_torch_is_asked(monkeypatch: pytest.MonkeyPatch, visible: bool) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: visible)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    properties = SimpleNamespace(name="AMD MI300X", total_memory=192 << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    gpus, cuda = machine._gpus()
    assert gpus == ([{"name": "AMD MI300X", "memory_bytes": 192 << 30}] if visible else [])
    assert cuda["driver"] is None
