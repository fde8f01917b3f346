"""Loggers for TensorBoard and for `metrics.csv`, both in the run folder."""

import csv
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from tensorboard.compat.proto.event_pb2 import Event, SessionLog

from terminal.atomic import write_atomically
from terminal.errors import warn
from terminal.run_folder import RunFolder


class RunTensorBoard(TensorBoardLogger):
    """Event files in the run folder itself, without Lightning's `hparams.yaml` beside them."""

    def __init__(self, run: RunFolder) -> None:
        super().__init__(save_dir="", name="", version="", default_hp_metric=False)
        self.run = run

    @property
    def log_dir(self) -> str:
        return str(self.run.path)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        super().log_metrics({k: v for k, v in metrics.items() if k != "epoch"}, step)

    @rank_zero_only
    def save(self) -> None:
        self.experiment.flush()

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Hides what a killed run logged at `step` and later."""
        start = SessionLog(status=SessionLog.START)
        self.experiment.file_writer.add_event(Event(step=step, session_log=start))


class RunCSV(Logger):
    """`metrics.csv`, one row per logged step; each save rewrites the whole file."""

    def __init__(self, run: RunFolder) -> None:
        super().__init__()
        self.run = run
        self.rows: dict[int, dict[str, Any]] = {}

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def version(self) -> str:
        return self.run.path.name

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        pass  # config.yaml has them

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        row = self.rows.setdefault(step or 0, {"step": step or 0})
        row.update({name: float(value) for name, value in metrics.items()})

    @rank_zero_only
    def save(self) -> None:
        if not self.rows:
            return
        columns = ["step", *sorted({name for row in self.rows.values() for name in row} - {"step"})]

        def write(path: Path) -> None:
            with open(path, "w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(self.rows[step] for step in sorted(self.rows))

        write_atomically(self.run.metrics, write)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Restores the rows of a killed run before `step`."""
        if step == 0 or not self.run.metrics.exists():
            return
        try:
            with open(self.run.metrics, newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    if int(row["step"]) < step:
                        values = {k: float(v) for k, v in row.items() if k != "step" and v}
                        self.rows[int(row["step"])] = {"step": int(row["step"]), **values}
        except (ValueError, TypeError, KeyError, csv.Error):
            warn(f"{self.run.metrics} is damaged: only its readable rows are kept.")
