"""A GPU through its driver, and NVIDIA's compiler for it: both come with torch."""

import ctypes
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from metabench.errors import Unsupported

OPTIONS = ("-std=c++17",)
MULTIPROCESSORS, MOST_SHARED = 16, 97
"""Numbers of attributes of a device (CUdevice_attribute)."""
SHARED_SIZE = 8
"""The number of an attribute of a function (CUfunction_attribute): how much shared memory it may be given."""


@lru_cache
def _compiler() -> ctypes.CDLL:
    """NVRTC: by its name, or as what a library of torch's depends on."""
    major = (torch.version.cuda or "").partition(".")[0]
    beside_torch = Path(torch.__file__).parent / "lib" / "libcaffe2_nvrtc.so"
    for name in (f"libnvrtc.so.{major}", str(beside_torch), "libnvrtc.so"):
        try:
            library = ctypes.CDLL(name)
            _ = library.nvrtcCreateProgram
        except (OSError, AttributeError):
            continue
        return library
    raise Unsupported("fused needs NVIDIA's compiler NVRTC, which torch for CUDA brings, and there is none")


@lru_cache
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


def _done(code: int, what: str) -> None:
    """Raise RuntimeError with the driver's words if it did not do what it was asked to."""
    if code:
        text = ctypes.c_char_p()
        _driver().cuGetErrorString(code, ctypes.byref(text))
        raise RuntimeError(f"CUDA error in {what}: {(text.value or b'unknown').decode()}")


@lru_cache(maxsize=16)
def machine_code(source: str, architecture: str) -> bytes:
    """The machine code of a source for an architecture such as `sm_90`.

    Raises `Unsupported` with the compiler's first complaint.
    """
    library, program = _compiler(), ctypes.c_void_p()
    options = [option.encode() for option in (f"--gpu-architecture={architecture}", *OPTIONS)]
    given = (ctypes.c_char_p * len(options))(*options)
    library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"iterate.cu", 0, None, None)
    try:
        if library.nvrtcCompileProgram(program, len(options), given):
            log = _bytes(library.nvrtcGetProgramLogSize, library.nvrtcGetProgramLog, program).decode()
            complaint = next((line for line in log.splitlines() if "error" in line), "no reason given")
            raise Unsupported(f"NVIDIA's compiler does not take fused's code: {complaint}")
        return _bytes(library.nvrtcGetCUBINSize, library.nvrtcGetCUBIN, program)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _bytes(size_of: Any, fill: Any, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    size_of(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    fill(program, buffer)
    return buffer.raw


def architecture_of(device: torch.device) -> str:
    """What NVIDIA's compiler calls the device."""
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


def most_shared(device: torch.device) -> int:
    """Bytes of shared memory that a block may have. Raises `Unsupported` for a device that is not CUDA's."""
    if device.type != "cuda":
        raise Unsupported(f"fused is for CUDA devices, not for '{device.type}': use native or compile")
    return _attribute(device, MOST_SHARED)


def _attribute(device: torch.device, number: int) -> int:
    value, own = ctypes.c_int(), ctypes.c_int()
    with torch.cuda.device(device):
        torch.cuda.current_stream()
        _done(_driver().cuCtxGetDevice(ctypes.byref(own)), "cuCtxGetDevice")
        _done(_driver().cuDeviceGetAttribute(ctypes.byref(value), number, own), "cuDeviceGetAttribute")
    return value.value


class Kernel:
    """A loaded function, whose blocks all run at once: they can wait for each other."""

    def __init__(self, source: str, shared: int, threads: int, device: torch.device) -> None:
        self.shared, self.threads, self.device = shared, threads, device
        self._module, self._function = ctypes.c_void_p(), ctypes.c_void_p()
        code, driver, blocks = machine_code(source, architecture_of(device)), _driver(), ctypes.c_int()
        with torch.cuda.device(device):
            _done(driver.cuModuleLoadData(ctypes.byref(self._module), code), "cuModuleLoadData")
            named = driver.cuModuleGetFunction(ctypes.byref(self._function), self._module, b"iterate")
            _done(named, "cuModuleGetFunction")
            _done(driver.cuFuncSetAttribute(self._function, SHARED_SIZE, shared), "cuFuncSetAttribute")
            fitting = driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(
                ctypes.byref(blocks), self._function, threads, ctypes.c_size_t(shared)
            )
            _done(fitting, "cuOccupancyMaxActiveBlocksPerMultiprocessor")
        self.most_blocks = blocks.value * _attribute(device, MULTIPROCESSORS)
        self._launch = driver.cuLaunchCooperativeKernel
        self._launch.argtypes = [ctypes.c_void_p, *[ctypes.c_uint] * 7, ctypes.c_void_p, ctypes.c_void_p]

    def launch(self, given: Any, blocks: int) -> None:
        """Begin on torch's current stream, with the addresses of its arguments; it returns at once."""
        if torch.cuda.current_device() == self.device.index:
            self._begin(given, blocks)
        else:
            with torch.cuda.device(self.device):
                self._begin(given, blocks)

    def _begin(self, given: Any, blocks: int) -> None:
        stream = torch.cuda.current_stream(self.device).cuda_stream
        code = self._launch(self._function, blocks, 1, 1, self.threads, 1, 1, self.shared, stream, given)
        _done(code, "cuLaunchCooperativeKernel")
