"""The folder that a run writes to."""

import os
from pathlib import Path

from training.atomic import write_atomically
from training.errors import UserError

SHARED = "TRAINING_RUN_FOLDER"  # tells the processes that Lightning starts for the other devices


class RunFolder:
    """Paths of a run. `claim` creates the folder; until then nothing is written.

    Args:
        run_dir: The folder, to go on with the run that may be in it; None for a fresh one.
        name: What a numbered folder is for: `runs/<name>/<number>`.
    """

    def __init__(self, run_dir: str | None, name: str) -> None:
        self.name = name
        self._path = Path(run_dir) if run_dir else None

    @property
    def path(self) -> Path:
        assert self._path is not None, "claim the run folder first"
        return self._path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def best(self) -> Path:
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def last(self) -> Path:
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def results(self) -> Path:
        return self.path / "results.json"

    @property
    def is_finished(self) -> bool:
        return self._path is not None and self.results.exists()

    @property
    def resume_from(self) -> Path | None:
        """The checkpoint of a run that was stopped."""
        return self.last if self._path is not None and self.last.exists() else None

    def claim(self, config: str) -> None:
        """Creates the folder, or takes the next free number, and writes `config.yaml` into it.

        Raises:
            UserError: If the folder cannot be created or written to.
        """
        try:
            if self._path is None:
                self._path = self._next_number()
            self.last.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.config, lambda path: path.write_text(config))
        except OSError as error:
            raise UserError(
                f"cannot write the run folder: {error}. Name another by --run_dir."
            ) from error

    def _next_number(self) -> Path:
        if SHARED in os.environ and "LOCAL_RANK" in os.environ:
            return Path(os.environ[SHARED])
        parent = Path("runs") / self.name
        parent.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(p.name) for p in parent.iterdir() if p.name.isdigit()), default=0)
        while True:
            try:
                (parent / str(number)).mkdir()  # fails if another run took it meanwhile
                break
            except FileExistsError:
                number += 1
        os.environ[SHARED] = str(parent / str(number))
        return parent / str(number)
