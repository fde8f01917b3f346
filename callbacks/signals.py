"""Lets a signal end a training at once, as SIGKILL does."""

import signal
import threading
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

# Windows has no SIGUSR1.
SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]


class CrashOnly(Callback):
    """Lets a signal end the process at once, as SIGKILL would: the run resumes from its checkpoint.

    Lightning's handlers finish the step first. Several processes then wait for each other and hang
    if one has died; a single process exits with status 0; on SLURM, a checkpoint is saved in the
    middle of an epoch. To agree on a signal, the processes would also wait for each other, and for
    the GPU, in every step.

    After the training or the test, the handlers from before are back: a program or a notebook may
    go on. Lightning restores them too, but ignores Ctrl-C for good after one that comes before the
    first step or after the last, and restores nothing if a logger fails, as on a full disk.
    """

    def __init__(self) -> None:
        self._forget()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, *SIGNALS)}
        loop = trainer.fit_loop.epoch_loop
        assert hasattr(loop, "_broadcast_sigterm_tensor"), (
            "this version of Lightning synchronises signals elsewhere: find where its epoch loop "
            "calls torch.distributed in each step, and disable that here"
        )
        loop._broadcast_sigterm_tensor = _nothing

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _set_handlers(dict.fromkeys(SIGNALS, signal.SIG_DFL))

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _set_handlers(dict.fromkeys(SIGNALS, signal.SIG_DFL))

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        if not isinstance(exception, KeyboardInterrupt):
            self._before.pop(signal.SIGINT, None)  # Lightning has not changed it
        _set_handlers(self._before)
        self._forget()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._forget()

    def _forget(self) -> None:
        # The next training may end before its setup, when the program has other handlers.
        self._before: dict[int, Any] = {signal.SIGINT: signal.getsignal(signal.SIGINT)}

    def __getstate__(self) -> dict[str, Any]:
        return {"_before": {}}  # a handler may be a function that cannot be pickled


def _set_handlers(handlers: dict[int, Any]) -> None:
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            if handler is not None:  # one that was not set by Python
                signal.signal(number, handler)


def _nothing() -> None:
    pass
