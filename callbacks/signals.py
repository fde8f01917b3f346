"""Lets a signal end a training at once, as SIGKILL does."""

import signal
import threading

from lightning.pytorch import Callback, LightningModule, Trainer

# Windows has no SIGUSR1.
SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]


class CrashOnly(Callback):
    """Lets a signal end the process at once, as SIGKILL would: the run resumes from its checkpoint.

    Lightning's handlers finish the step first. Several processes then wait for each other and hang
    if one has died; a single process exits with status 0; on SLURM, a checkpoint is saved in the
    middle of an epoch. To agree on a signal, the processes would also wait for each other, and for
    the GPU, in every step.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        loop = trainer.fit_loop.epoch_loop
        assert hasattr(loop, "_broadcast_sigterm_tensor"), (
            "this version of Lightning synchronises signals elsewhere: find where its epoch loop "
            "calls torch.distributed in each step, and disable that here"
        )
        loop._broadcast_sigterm_tensor = _nothing

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _restore_signals()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _restore_signals()


def _restore_signals() -> None:
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)


def _nothing() -> None:
    pass
