"""`native` on processors with other vector registers than the one at hand."""

import platform
import re
import shutil
import subprocess
from importlib.util import find_spec

import pytest
import torch

from convolutional import Net, problem
from metabench.correctness.gate import relative_error
from metabench.engines import loop, native
from metabench.engines.base import ENGINES
from metabench.engines.compiler import compiler
from metabench.engines.native import library
from metabench.tensors import cast

pytestmark = pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")
X86 = platform.machine() == "x86_64"
EMULATED = platform.system() == "Linux" and bool(find_spec("ziglang") and find_spec("unicorn"))
if EMULATED:
    import aarch64
AARCH64 = pytest.param("aarch64", marks=pytest.mark.skipif(not EMULATED, reason="no emulator: pip install '.[dev]'"))
TARGETS = (*(("x86-64", "haswell", "skylake-avx512") if X86 else ("native",)), AARCH64)
"""Processors with registers of 16, 32, 64 and 16 bytes, of which the last two have twice as many."""
KERNELS = {
    "matrix product": "product<64, 64, 64, 64, 1, 64>(a, b, c)",
    "narrow matrix product": "product<10, 40, 40, 40, 1, 40>(a, b, c)",
    "product of rows": "product_of_rows<20, 64, 64, 64, 64>(a, b, c)",
    "outputs": "run_of_pixels<64, 64, 128, 64>(a, b, c, 14)",
    "weights": "outer_sum<64, 64, 128, 1792, 64, 448>(a, b, c, 7, 7)",
    "weights of one channel": "convolution<WEIGHT, 5, 28, 28, 1, 14, 14, 64, 3, 3, 2, 1, 1, 841>(a, b, c, c + 12544)",
}
TO_MEMORY = re.compile(r"\bv?mov\w+\s+%[xyz]mm\d+, -?\d*\(%r[sb]p\)|\bst(?:r|p|ur)\s+q\d+.*\[(?:sp|x29)")
"""A vector register is written to the function's own memory: x86-64 and AArch64."""
FEW = {"aarch64": 10}
"""Such writes that a function may have, 120 where it is not said: GCC has most of them outside of its loops. Sums that
do not fit cost 240 to 3 000, with clang on AArch64 20 to 110."""


@pytest.mark.parametrize("number", ["float", "double"])
@pytest.mark.parametrize("target", TARGETS)
def test_sums_of_products_stay_in_registers(target, number, tmp_path):
    functions = (
        f"void kernel{i}(const T* a, const T* b, T* c) {{ {call}; }}\n" for i, call in enumerate(KERNELS.values())
    )
    kernels = "".join(file.read_text("utf-8") for file in native.KERNELS)
    source = f"typedef {number} T;\n{kernels}{''.join(functions)}"
    flags = [*(flag for flag in native.FLAGS if flag != "-shared"), *library.ASSOCIATIVE]
    writes = _writes_to_memory(_assembly(source, flags, target, tmp_path))
    assert len(writes) > len(KERNELS)
    assert max(writes.values()) <= FEW.get(target, 120)


WIDE = (
    "product<3, 21168, 5, 5, 1, 21168>(a, b, c)",
    "product<10, 9001, 2, 2, 1, 9001>(a, b, c)",
    "run_of_pixels<9001, 3, 3, 9001>(a, b, c, 5)",
    "outer_sum<3, 9001, 3, 21, 9001, 63007>(a, b, c, 7, 7)",
)


@pytest.mark.parametrize("number", ["float", "double"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_wide_layer_asks_no_compiler_for_a_thousand_templates_in_a_row(target, number, tmp_path):
    functions = (f"void kernel{i}(const T* a, const T* b, T* c) {{ {call}; }}\n" for i, call in enumerate(WIDE))
    kernels = "".join(file.read_text("utf-8") for file in native.KERNELS)
    flags = ["-O0", *(flag for flag in native.FLAGS[1:] if flag != "-shared")]
    assert "kernel3" in _assembly(f"typedef {number} T;\n{kernels}{''.join(functions)}", flags, target, tmp_path)


def _assembly(source, flags, target, folder):
    if target == "aarch64":
        return aarch64.translated(source, flags, folder, "-S").read_text("utf-8")
    command = [*compiler("native"), *flags, f"-march={target}", "-S", "-xc++", "-", "-o-"]
    result = subprocess.run(command, input=source, capture_output=True, text=True)
    if "march" in result.stderr:
        pytest.skip(f"the compiler does not know {target}")
    assert not result.returncode, result.stderr
    assert "undefined behavior" not in result.stderr, result.stderr
    return result.stdout


def _writes_to_memory(assembly):
    """How often each function writes a vector register to its own memory."""
    counts = {"": 0}
    name = ""
    for line in assembly.splitlines():
        if label := re.match(r"([A-Za-z_]\w*):", line):
            name = label[1]
        counts[name] = counts.get(name, 0) + bool(TO_MEMORY.search(line))
    return counts


RUNNABLE = [
    pytest.param("x86-64", marks=pytest.mark.skipif(not X86, reason="another kind of processor")),
    pytest.param(
        "haswell",
        marks=pytest.mark.skipif(
            not X86 or not torch.backends.cpu.get_cpu_capability().startswith("AVX"),
            reason="a processor without AVX2",
        ),
    ),
    AARCH64,
]


@pytest.fixture
def compiling_for(request, monkeypatch, tmp_path):
    monkeypatch.setattr(native, "FLAGS", ("-O1", *native.FLAGS[1:]))
    library.compiled.cache_clear()
    if request.param == "aarch64":
        monkeypatch.setattr(native, "compiled", lambda source, flags: aarch64.library(source, flags, tmp_path))
    else:
        monkeypatch.setenv(library.TARGET, request.param)
    yield
    library.compiled.cache_clear()


@pytest.mark.parametrize("compiling_for", RUNNABLE, indirect=True)
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float64, 1e-12), (torch.float32, 1e-4)], ids=str)
@pytest.mark.parametrize(
    ("net", "size"),
    [
        (Net(16, channels=16), (8, 7)),  # in tiles
        (Net(32, channels=16, stride=2), (9, 8)),
        (Net(64, channels=64, stride=2, kernel=2), (3, 4)),  # few pixels under many weights
    ],
    ids=str,
)
def test_other_processors_have_the_direction_of_loop(compiling_for, net, size, dtype, rounding):
    made, meta, episodes = problem(net, (net.channels, *size))
    truth, _ = loop.build(made)(meta, episodes)
    meta = {name: p.to(dtype) for name, p in meta.items()}
    direction, _ = ENGINES.get("native").build(made)(meta, cast(episodes, next(iter(meta.values()))))
    assert relative_error(direction, truth) < rounding
