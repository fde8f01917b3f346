"""Training with several processes: checks, common decisions and termination."""

import ctypes
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.environments import ClusterEnvironment, LightningEnvironment

from terminal.devices import give_back_freed_memory
from terminal.errors import UserError, raising

DECISION = "TRAINING_DECISION"  # passes decisions to the processes that Lightning starts
# Of the Windows API: SYNCHRONIZE and INFINITE.
MAY_BE_WAITED_FOR, WITHOUT_LIMIT = 0x00100000, 0xFFFFFFFF


def check_processes(trainer: Trainer, batch_size: int, run_dir_is_named: bool) -> None:
    """Checks that the number of processes fits the Trainer and divides the batch size.

    Raises:
        UserError: If not; names the setting to change.
    """
    environment = _environment(trainer)
    with raising(ValueError, advice=" See docs/scaling.md."):
        environment.validate_settings(trainer.num_devices, trainer.num_nodes)
    started_by_lightning = isinstance(environment, LightningEnvironment)
    if trainer.num_nodes > 1 and started_by_lightning:
        raise UserError(
            f"trainer.num_nodes {trainer.num_nodes} needs a launcher on each node: torchrun or "
            "srun. See docs/scaling.md."
        )
    if trainer.world_size > 1 and not started_by_lightning and not run_dir_is_named:
        raise UserError(
            "processes started by torchrun or srun need a common --run_dir to write to."
        )
    accumulate = trainer.accumulate_grad_batches
    if batch_size % (trainer.world_size * accumulate):
        times = f" times trainer.accumulate_grad_batches, {accumulate}" if accumulate > 1 else ""
        raise UserError(
            f"data.batch_size {batch_size} is the batch of one optimizer step over all devices and "
            f"is not divisible by their number, {trainer.world_size}{times}."
        )


def processes_that_share_processors(trainer: Trainer) -> int:
    """Number of processes that share this machine's processors; SLURM gives each its own."""
    if isinstance(_environment(trainer), LightningEnvironment):
        return trainer.num_devices
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))  # set by torchrun


def first_process_decides(trainer: Trainer, decide: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Calls `decide` in the first process, and returns its plain values in all of them.

    Raises:
        UserError: If `decide` raises it, in all processes.
    """
    if trainer.world_size == 1:
        return decide()
    if isinstance(_environment(trainer), LightningEnvironment):
        if trainer.global_rank > 0:
            return json.loads(os.environ[DECISION])
        decision = decide() | {"launcher": os.getpid()}
        os.environ[DECISION] = json.dumps(decision)
        return decision
    trainer.strategy.setup_environment()  # Lightning calls it again, without effect
    decision = error = None
    if trainer.global_rank == 0:
        try:
            decision = decide()
        except UserError as raised:
            error = str(raised)
    told = [(decision, error)]
    dist.broadcast_object_list(told)
    decision, error = told[0]
    if error:
        raise UserError(error)
    return decision


def die_with_the_launcher() -> None:
    """Ends this process when the launcher that started it has ended.

    Otherwise it would wait for the others for half an hour and keep its GPU memory.
    """
    if "LOCAL_RANK" not in os.environ:
        return
    launcher = json.loads(os.environ.get(DECISION, "{}")).get("launcher", os.getppid())

    def watch() -> None:
        _wait_for_the_end_of(launcher)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _wait_for_the_end_of(launcher: int) -> None:
    """Returns when the process that started this one, of the given id, has ended."""
    if hasattr(ctypes, "windll"):
        # On Windows the id of the parent never changes, and is that of venv's starter of Python.
        kernel = ctypes.windll.kernel32
        kernel.OpenProcess.restype = ctypes.c_void_p
        handle = kernel.OpenProcess(MAY_BE_WAITED_FOR, False, launcher)
        kernel.WaitForSingleObject(ctypes.c_void_p(handle), WITHOUT_LIMIT)
        return
    while os.getppid() == launcher:
        time.sleep(1)


@contextmanager
def settings_restored() -> Iterator[None]:
    """Restores what a run sets for its whole process, in which another may follow: in a notebook.

    Otherwise the next run would be deterministic, or have the threads of one of several processes,
    because this one was told so.
    """
    environment = dict(os.environ)
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    deterministic = torch.get_deterministic_debug_mode()
    try:
        precision = torch.get_float32_matmul_precision()
    except RuntimeError:  # it cannot be read in a process that has used torch's newer settings
        precision = "highest"
    try:
        yield
    finally:
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
        torch.set_deterministic_debug_mode(deterministic)
        torch.backends.cudnn.benchmark = benchmark
        give_back_freed_memory()


def disconnect() -> None:
    """Destroys the process group; an interpreter that exits before that may abort."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def _environment(trainer: Trainer) -> ClusterEnvironment:
    # The public trainer.strategy.cluster_environment exists only with several processes.
    connector = getattr(trainer, "_accelerator_connector", None)
    assert hasattr(connector, "cluster_environment"), (
        "this version of Lightning has moved a trainer's cluster environment: see where its "
        "Trainer detects torchrun and SLURM"
    )
    return connector.cluster_environment
