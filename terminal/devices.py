"""The processor or GPU that a script runs on: its name, its threads, its memory."""

import os
import platform
import resource
import sys

import joblib
import torch

SET_BY_THE_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


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


def best_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {usable_processors()} cores)"


def peak_memory_bytes(device: torch.device) -> int:
    """Peak memory of the run: allocated GPU memory, or the memory of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
