"""The folder that a run writes to."""

import json
import os
import re
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from terminal.atomic import remove_leftovers, write_atomically
from terminal.errors import UserError


class RunFolder:
    """Paths of a run. Nothing is written before `take`.

    Args:
        run_dir: The folder; a run in it is resumed. None for a new numbered folder.
        name: Name in the path of a numbered folder, `runs/<name>/<number>`.
    """

    def __init__(self, run_dir: str | None, name: str) -> None:
        self.name = name
        self.is_named = run_dir is not None
        self._path = Path(run_dir) if run_dir else None

    @property
    def path(self) -> Path:
        assert self._path is not None, "take the run folder first"
        return self._path

    @path.setter
    def path(self, path: Path) -> None:
        self._path = path

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
    def _lock(self) -> Path:
        return self.path / ".lock"

    @property
    def results(self) -> Path:
        return self.path / "results.json"

    def is_finished(self) -> bool:
        """Whether `results.json` exists and is complete."""
        return self._path is not None and "test_accuracy" in self.read_results()

    def read_results(self) -> dict[str, Any]:
        """Content of `results.json`; empty if there is none, or if it is damaged.

        Raises:
            UserError: If it cannot be read.
        """
        try:
            results = json.loads(self.results.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
            return {}
        except OSError as error:
            raise UserError(f"cannot read the run folder: {error}.") from error
        return results if isinstance(results, dict) else {}

    def has_checkpoints(self) -> bool:
        """Whether there is a run to go on with."""
        return self._path is not None and (self.last.exists() or self.best.exists())

    def take(self) -> FileLock:
        """Creates the folder, or the next free number, and locks it for this process.

        Returns:
            A lock, held until it is released or the process dies.

        Raises:
            UserError: If the folder cannot be created, another process trains in it, or files of
                another program would be overwritten.
        """
        try:
            if self._path is None:
                self._path = self._next_number()
            self._check_whose_it_is()
            self.last.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._lock, timeout=0)
            lock.acquire()
            remove_leftovers(self.path)
            remove_leftovers(self.last.parent)
            return lock
        except Timeout as error:
            raise UserError(
                f"another process trains in {self.path}. Wait for it, or name another --run_dir."
            ) from error
        except OSError as error:
            raise _cannot_write(error) from error

    def write_config(self, config: str) -> None:
        """Writes `config.yaml`.

        Raises:
            UserError: If it cannot be written.
        """
        try:
            write_atomically(self.config, lambda path: path.write_text(config, encoding="utf-8"))
        except OSError as error:
            raise _cannot_write(error) from error

    def _check_whose_it_is(self) -> None:
        """A run's folder has a lock or, if copied without it, checkpoints."""
        if self._lock.exists() or self.last.exists() or self.best.exists():
            return
        for path in (self.config, self.metrics, self.results):
            if os.path.lexists(path):
                raise UserError(
                    f"{path} does not belong to a run of this project and would be overwritten. "
                    "Name another --run_dir."
                )

    def _next_number(self) -> Path:
        parent = Path("runs") / self.name
        parent.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(p.name) for p in parent.iterdir() if p.name.isdigit()), default=0)
        while True:
            try:
                (parent / str(number)).mkdir()  # fails if another run took it meanwhile
                return parent / str(number)
            except FileExistsError:
                number += 1


def run_name(config: Path) -> str:
    """Name of the runs of a config file: the file's, or that of the run in whose folder it is."""
    run = RunFolder(str(config.parent), "")
    if config.name != run.config.name:
        return config.stem
    try:
        name = run.read_results().get("config")
    except UserError:
        name = None
    if isinstance(name, str) and _is_one_folder(name):
        return name
    folder = config.resolve().parent
    return folder.parent.name if folder.name.isdigit() else config.stem


def _is_one_folder(name: str) -> bool:
    """Whether a name can be that of a folder within another one, and does not lead elsewhere."""
    is_short = len(name.encode(errors="replace")) <= 200
    return is_short and name.isprintable() and not re.fullmatch(r"\.*|.*[/\\].*", name)


def _cannot_write(error: OSError) -> UserError:
    return UserError(f"cannot write the run folder: {error}. Name another --run_dir.")
