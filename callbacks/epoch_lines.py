"""Prints a line after each epoch, and a progress bar during it."""

import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Group
from rich.constrain import Constrain
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from callbacks.best_and_last import score_of
from terminal.console import console

REFRESH = 0.1  # seconds
REFRESH_IN_A_NOTEBOOK = 0.5  # as each time all lines are sent
WIDTH = 80  # characters, in a notebook
COLUMNS = {"train/loss": "11.4f", "train/acc": "9.2%", "val/loss": "11.4f", "val/acc": "9.2%"}


class EpochLines(ProgressBar):
    """Prints a line after each epoch; on a terminal also a progress bar for the current one.

    In a notebook, the lines and the bar are one output of the cell, which is replaced by the next.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bar: Progress | None = None
        self._lines: list[Text] = []  # of a notebook
        self._output: Any = None  # IPython's handle of it
        self._enabled = True
        self._epoch_start = self._drawn = 0.0
        self._best: list[float] | None = None  # as `BestAndLast` compares them

    def disable(self) -> None:  # Lightning calls it on all processes but the first
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._enabled:
            return
        self._lines, self._output = [], None
        self._print(
            f"{'epoch':>7}{'train loss':>15}{'acc':>9}{'val loss':>11}{'acc':>9}{'seconds':>9}"
        )
        if console.is_terminal or console.is_jupyter:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=console,
                auto_refresh=False,  # no extra thread
                transient=True,
                expand=True,
            )
            if console.is_terminal:
                self._bar.start()
            self._task = self._bar.add_task("")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch_start = time.perf_counter()
        if self._bar:
            title = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            self._bar.reset(self._task, total=trainer.num_training_batches, description=title)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        every = REFRESH_IN_A_NOTEBOOK if console.is_jupyter else REFRESH
        if self._bar and time.perf_counter() - self._drawn > every:
            self._bar.update(self._task, completed=batch_idx + 1, refresh=True)
            self._show()
            self._drawn = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._enabled:
            return
        metrics = trainer.callback_metrics
        figures = f"{trainer.current_epoch + 1:>5}/{trainer.max_epochs:<5}"
        for name, layout in COLUMNS.items():
            figure = f"{metrics[name]:{layout}}" if name in metrics else ""
            figures += f"{figure:>{len(f'{0:{layout}}')}}"
        figures += f"{time.perf_counter() - self._epoch_start:>9.1f}"
        score = score_of(metrics)
        if score is not None and (self._best is None or score > self._best):
            self._best = score
            figures += "  [green]best[/green]"
        self._print(figures)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._stop()

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best = state_dict["best"]

    def _stop(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None
            self._show()

    def _print(self, line: str) -> None:
        if console.is_jupyter:
            self._lines.append(Text.from_markup(line))
            self._show()
        else:
            console.print(line)

    def _show(self) -> None:
        """Replaces the output of a notebook's cell; `Progress` does so by ipywidgets alone."""
        if not console.is_jupyter:
            return
        shown = Constrain(Group(*self._lines, *filter(None, [self._bar])), WIDTH)
        if self._output is None:
            from IPython.display import display  # rich has found it

            self._output = display(shown, display_id=True)
        else:
            self._output.update(shown)
