"""What this machine computes with: device, precision, and the peak against which MFU is stated."""

import ctypes
import importlib.util
import os
import platform
import shutil
import sysconfig
from pathlib import Path

import torch

# dense bf16 peak of the maker's data sheet, TFLOP/s
PEAK_TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "RTX 4090": 165.0}


def pick() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the machine computes in it and is faster so (any recent GPU; CPUs with AMX or AVX-512 BF16), else
    float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    units = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # no public name yet
    has_units = any(getattr(torch.cpu, unit, lambda: False)() for unit in units)
    return torch.bfloat16 if has_units else torch.float32


def keep_memory() -> None:
    """Let the C library keep freed memory instead of giving it back to the system and zeroing it anew at each step.

    On 2 cores it doubled a forward pass of EfficientNet-Lite0 at 224 px (103 to 198 images/s) and a training step of it
    in float32 (14 to 27). Only where that library is glibc; elsewhere nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None and platform.libc_ver()[0] == "glibc":
        mallopt(-4, 0)  # M_MMAP_MAX: no mapping of its own for a large block
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        mallopt(-2, 2**28)  # M_TOP_PAD


def peak_tflops(device: torch.device) -> float | None:
    """Dense bf16 peak in TFLOP/s; None where it is not known (every CPU)."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for model, peak in PEAK_TFLOPS.items() if model in name), None)


def cannot_compile() -> str:
    """What keeps `torch.compile` from helping here, or "": it wants a GPU, Triton, a compiler and Python's headers.

    On CPUs the compiled step of a pretraining was slower (9.1 against 14.3 images/s) after 96 s of compiling.
    """
    if not torch.cuda.is_available():
        return "no GPU"
    if importlib.util.find_spec("triton") is None:
        return "no Triton"
    if not any(map(shutil.which, filter(None, (os.environ.get("CC"), "cc", "gcc", "clang")))):
        return "no C compiler"
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return "" if headers.is_file() else "no Python headers"


def describe() -> dict:
    """The machine in words and numbers: processor, cores, memory in GiB, GPU, precision."""
    device = pick()
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gib": round(pages * page / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if device.type == "cuda" else None,
        "device": device.type,
        "precision": str(precision(device)).removeprefix("torch."),
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
