"""The processor or GPU that a script runs on: its name, its threads, its memory."""

import ctypes
import os
import platform
import sys

import joblib
import torch

try:
    import resource
except ImportError:  # Windows has none
    resource = None

STATUS = "/proc/self/status"  # of Linux
SET_BY_THE_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
# Of glibc's mallopt: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD and M_MMAP_MAX.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
KEEPING = {TRIM_THRESHOLD: -1, MMAP_MAX: 0}
# What glibc sets by itself in a process that has freed a large block.
USUAL = {TRIM_THRESHOLD: 64 << 20, MMAP_THRESHOLD: 32 << 20, MMAP_MAX: 65536}
_is_kept = False


def usable_processors() -> int:
    """Number of processors available to this process, by its affinity and its container's quota."""
    return joblib.cpu_count()


def limit_threads(processes: int = 1) -> None:
    """Limits torch's threads to the available processors, unless the user has set a number.

    By default torch starts one thread per core of the host, even if a container may use fewer.

    Args:
        processes: Number of processes that share the processors.
    """
    if any(name in os.environ for name in SET_BY_THE_USER):
        return
    threads = min(torch.get_num_threads(), max(1, usable_processors() // processes))
    torch.set_num_threads(threads)
    # For the processes that Lightning starts, and for Lightning, which would set its own number.
    os.environ["OMP_NUM_THREADS"] = str(threads)


def keep_freed_memory() -> None:
    """Lets the process keep the memory that tensors leave, for those of the next training step.

    glibc hands large blocks back to the system, which clears every page when it is asked for it
    again. With the large layers of VGG that takes a seventh of a training step or more
    (docs/performance.md). Not for threads that have their own memory, and not where the user has
    set how glibc works.
    """
    global _is_kept
    if not _is_kept and (libc := _glibc()):
        _is_kept = True
        for name, value in KEEPING.items():
            libc.mallopt(name, value)


def give_back_freed_memory() -> None:
    """Hands back what was kept, and lets glibc do so from now on; nothing, if nothing was kept."""
    global _is_kept
    if _is_kept and (libc := _glibc()):
        _is_kept = False
        for name, value in USUAL.items():
            libc.mallopt(name, value)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library, if its memory is ours to set."""
    is_set = any(name.startswith("MALLOC_") for name in os.environ)
    if is_set or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return None
    is_glibc = sys.platform == "linux" and platform.libc_ver()[0] == "glibc"
    return ctypes.CDLL(None) if is_glibc else None


def best_device() -> torch.device:
    """The GPU or other accelerator if there is one, else the CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def device_name(device: torch.device) -> str:
    if device.type == "cpu":
        return f"cpu ({platform.machine()}, {usable_processors()} cores)"
    if device.type == "mps":
        return f"mps ({torch.backends.mps.get_name()})"
    return torch.get_device_module(device).get_device_name(device)


def synchronize(device: torch.device) -> None:
    """Waits for the work that an accelerator has been given; a CPU is never behind."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def peak_memory_bytes(device: torch.device) -> int:
    """Peak memory of the run: allocated GPU memory, or the memory of the process on a CPU.

    MPS has no peak: what its driver holds for the process now, with the freed memory it keeps.
    """
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    if device.type != "cpu":
        return torch.accelerator.max_memory_allocated(device)
    if resource is None:
        return _peak_on_windows()
    if os.path.exists(STATUS):
        with open(STATUS, encoding="utf-8", errors="replace") as lines:
            peaks = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
        if peaks:  # what getrusage tells is at least the peak of the process that started this one
            return int(peaks[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class _MemoryCounters(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS of the Windows API."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("page_faults", ctypes.c_uint32),
        ("peak_working_set", ctypes.c_size_t),
        ("others", ctypes.c_size_t * 7),
    )


def _peak_on_windows() -> int:
    kernel = ctypes.windll.kernel32
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    counters = _MemoryCounters(size=ctypes.sizeof(_MemoryCounters))
    process = ctypes.c_void_p(kernel.GetCurrentProcess())
    kernel.K32GetProcessMemoryInfo(process, ctypes.byref(counters), counters.size)
    return counters.peak_working_set
