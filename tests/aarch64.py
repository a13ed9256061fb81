"""AArch64 in software: code of `native` compiled for it by clang, and run by an emulator on this process's memory."""

import ctypes
import math
import struct
import subprocess
import sys
from pathlib import Path

import unicorn
from unicorn import UC_HOOK_CODE, UC_HOOK_MEM_UNMAPPED, UC_PROT_ALL
from unicorn import arm64_const as registers

TARGET = ("-target", "aarch64-linux-musl", "-mcpu=baseline")
OMP = "static inline int omp_get_thread_num() { return 0; }\nstatic inline int omp_get_num_threads() { return 1; }\n"
"""All of OpenMP that one thread needs: this compiler comes without it."""
NUMBERS = {"exp": math.exp, "log": math.log, "log1p": math.log1p, "tanh": math.tanh, "pow": math.pow}
"""What generated code calls of the library of mathematics; `expf` and the like are the same, rounded."""
BLOCKS = ("memset", "memcpy", "memmove")
CALLED = [*(name + kind for name in NUMBERS for kind in ("", "f")), *BLOCKS]
AT, END = 0x100000, 0x101000
"""From where on functions that are called lie in the emulator, an instruction each; and where a run ends."""
RETURN = struct.pack("<I", 0xD65F03C0)
STACK, DEEP = 0x10000000, 1 << 20
PAGE, CHUNK = 1 << 12, 1 << 20
LOADED = 1
"""The kind of an executable's segment that is to be loaded."""


def zig(*command: str) -> None:
    """Run Zig's clang or linker."""
    result = subprocess.run([sys.executable, "-m", "ziglang", *command], capture_output=True, text=True)
    assert not result.returncode, result.stderr


def translated(source: str, flags: tuple[str, ...], folder: Path, kind: str) -> Path:
    """What the compiler makes of a source: with `-S` assembly, with `-c` an object file."""
    (folder / "omp.h").write_text(OMP, encoding="utf-8")
    (folder / "iterate.cpp").write_text(source, encoding="utf-8")
    made = folder / f"iterate{kind}"
    used = [flag for flag in flags if flag not in ("-shared", "-fopenmp")]
    zig("c++", *TARGET, *used, "-w", f"-I{folder}", kind, str(folder / "iterate.cpp"), "-o", str(made))
    return made


def library(source: str, flags: tuple[str, ...], folder: Path) -> "Library":
    """A source with a function `iterate`, as what `metabench.engines.native.library.compiled` returns."""
    image = folder / "iterate"
    places = [f"--defsym={name}={AT + 4 * i:#x}" for i, name in enumerate(CALLED)]
    zig("ld.lld", "--static", "--entry=iterate", *places, str(translated(source, flags, folder, "-c")), f"-o{image}")
    return Library(image.read_bytes())


class Library:
    """An executable in an emulator. Memory of this process has the same addresses there."""

    def __init__(self, image: bytes) -> None:
        self.machine = machine = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        self.entry, header = struct.unpack_from("<QQ", image, 24)
        size, count = struct.unpack_from("<HH", image, 54)
        for i in range(count):
            kind, _, start, place, _, held, wide = struct.unpack_from("<IIQQQQQ", image, header + i * size)
            if kind == LOADED:
                below = place // PAGE * PAGE
                machine.mem_map(below, -(-(place + wide - below) // PAGE) * PAGE)
                machine.mem_write(place, image[start : start + held])
        machine.mem_map(AT, END - AT)
        machine.mem_write(AT, RETURN * len(CALLED))
        machine.mem_map(STACK, DEEP)
        machine.hook_add(UC_HOOK_CODE, self._call, begin=AT, end=AT + 4 * len(CALLED))
        machine.hook_add(UC_HOOK_MEM_UNMAPPED, lambda _, access, address, *rest: self._share(address))
        self.iterate = Iterate(machine, self.entry)

    def _call(self, machine: unicorn.Uc, address: int, size: int, data: object) -> None:
        """Do what the function at an address does; the instruction there returns from it."""
        name = CALLED[(address - AT) // 4]
        if name in BLOCKS:
            to, given, count = (machine.reg_read(registers.UC_ARM64_REG_X0 + i) for i in range(3))
            self._reach(to, count)
            if name == "memset":
                machine.mem_write(to, bytes([given & 255]) * count)
            else:
                self._reach(given, count)
                machine.mem_write(to, bytes(machine.mem_read(given, count)))
            return
        form, function = ("<d", NUMBERS[name]) if name in NUMBERS else ("<f", NUMBERS[name[:-1]])
        read = [machine.reg_read(registers.UC_ARM64_REG_Q0 + i).to_bytes(16, "little") for i in range(2)]
        numbers = [struct.unpack_from(form, register)[0] for register in read]
        result = function(*numbers[: 2 if function is math.pow else 1])
        machine.reg_write(registers.UC_ARM64_REG_Q0, int.from_bytes(struct.pack(form, result), "little"))

    def _reach(self, address: int, count: int) -> None:
        """Share so many bytes, if they are not in the emulator."""
        end = address + count
        while address < end:
            last = next((high for low, high, _ in self.machine.mem_regions() if low <= address <= high), None)
            if last is None:
                assert self._share(address), f"nothing lies at {address:#x}"
            else:
                address = last + 1

    def _share(self, address: int) -> bool:
        """Whether this process has something at an address, which the emulator then has as well."""
        for line in Path("/proc/self/maps").read_text(encoding="ascii", errors="replace").splitlines():
            place, rights = line.split()[:2]
            low, high = (int(number, 16) for number in place.split("-"))
            if low <= address < high and rights.startswith("rw"):
                low, high = max(low, address // CHUNK * CHUNK), min(high, (address // CHUNK + 1) * CHUNK)
                self.machine.mem_map_ptr(low, high - low, UC_PROT_ALL, ctypes.c_void_p(low))
                return True
        return False


class Iterate:
    """The function of an executable, to be called as that of a shared library."""

    argtypes: list[type]
    restype: type

    def __init__(self, machine: unicorn.Uc, entry: int) -> None:
        self.machine, self.entry = machine, entry

    def __call__(self, *given: object) -> int:
        whole, real = registers.UC_ARM64_REG_X0, registers.UC_ARM64_REG_D0
        for value, kind in zip(given, self.argtypes, strict=True):
            if kind is ctypes.c_double:
                self.machine.reg_write(real, int.from_bytes(struct.pack("<d", value), "little"))
                real += 1
            else:
                place = value or 0 if value is None or isinstance(value, int) else ctypes.addressof(value)
                self.machine.reg_write(whole, place)
                whole += 1
        self.machine.reg_write(registers.UC_ARM64_REG_SP, STACK + DEEP)
        self.machine.reg_write(registers.UC_ARM64_REG_LR, END - 4)
        self.machine.emu_start(self.entry, END - 4)
        return self.machine.reg_read(registers.UC_ARM64_REG_W0)
