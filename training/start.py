"""Initializes a new run from a file of weights, and records the digest of the file."""

import hashlib
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

import yaml
from torch import nn

from lit_modules.checkpoints import read_weights
from lit_modules.initial_weights import start_from
from terminal.errors import UserError
from terminal.run_folder import RunFolder


class Source(NamedTuple):
    """A file of weights, written `weights.pth#sha256=...` in a config.

    The digest identifies it in a recipe, so a renamed file is the same recipe.

    Attributes:
        file: Path of the file.
        sha256: Digest of its content; None if it has not been read yet.
    """

    file: str
    sha256: str | None

    @classmethod
    def of(cls, text: str) -> Self:
        found = re.fullmatch("(.+)#sha256=([0-9a-f]{64})", text, re.DOTALL)
        return cls(*found.groups()) if found else cls(text, None)

    def __str__(self) -> str:
        return f"{self.file}#sha256={self.sha256}" if self.sha256 else self.file

    @property
    def content(self) -> str:
        """The start of its digest, or else its path."""
        return f"sha256 {self.sha256[:12]}" if self.sha256 else self.file

    @property
    def shown(self) -> str:
        """Its path, with the start of its digest."""
        return f"{self.file} ({self.content})" if self.sha256 else self.file


def start_run(initial: str, run: RunFolder, net: nn.Module, num_classes: int) -> tuple[Source, str]:
    """Loads the initial weights of a new run into its network, but not of a resumed run.

    Args:
        initial: The file, with its digest if it comes from a run's config.
        run: The run folder.
        net: The network.
        num_classes: Its number of classes.

    Returns:
        The file with its digest, and its line in the header, empty for a resumed run.

    Raises:
        UserError: If the weights do not fit, or have another digest.
    """
    source = Source.of(initial)
    path = Path(source.file)
    if run.has_checkpoints():
        before = _started_from(run)
        if before and before.file == source.file and source.sha256 in (None, before.sha256):
            return before, ""
        if source.sha256 is None and path.is_file():
            source = Source(source.file, _digest(path))
        return source, ""
    digest = _digest(path) if path.is_file() else None
    weights = read_weights(path)
    if digest != _digest(path):
        raise UserError(f"{path} was changed while it was read: name a file that stays as it is.")
    if source.sha256 not in (None, digest):
        raise UserError(
            f"{path} has changed: the config was made with {source.content}. If that is intended: "
            f"--init_from {path}."
        )
    try:
        start = start_from(net, weights, num_classes)
    except ValueError as error:
        raise UserError(
            f"{path}: {error}. Set the network options of these weights (--model.net), or name "
            "another file."
        ) from error
    layers = dict.fromkeys(name.rpartition(".")[0] for name in start.new)
    new = f"; new: {', '.join(layers)}" if layers else ""
    return Source(source.file, digest), f"{start.fitting} of {start.tensors} tensors of {path}{new}"


def _started_from(run: RunFolder) -> Source | None:
    with suppress(OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return Source.of(yaml.safe_load(run.config.read_text(encoding="utf-8"))["init_from"])
    return None  # a config that cannot be read is written again


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
