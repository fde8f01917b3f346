"""Starts a run from weights once, and says by their digest which they were."""

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
    """A file of weights, in a config `weights.pth#sha256=...`: another name is no other recipe.

    Attributes:
        file: Its name.
        sha256: The digest of its content; None where it has not been read yet.
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
        """What tells it from others: its digest, or else its name."""
        return f"sha256 {self.sha256[:12]}" if self.sha256 else self.file

    @property
    def shown(self) -> str:
        """Its name, with as much of the digest as tells it from others of that name."""
        return f"{self.file} ({self.content})" if self.sha256 else self.file


def start_run(asked: str, run: RunFolder, net: nn.Module, num_classes: int) -> tuple[Source, str]:
    """Loads the weights that a run starts from into its network; not again when it goes on.

    Args:
        asked: The file, with the digest if it stands in the config of a run.
        run: The folder of the run.
        net: The network.
        num_classes: Its number of classes.

    Returns:
        The file with its digest, and what the header says of it: nothing where a run goes on.

    Raises:
        UserError: If there are no weights that fit, or they are not those of the digest.
    """
    source = Source.of(asked)
    path = Path(source.file)
    if run.has_checkpoints():
        before = _started_from(run)
        if before and before.file == source.file and source.sha256 in (None, before.sha256):
            return before, ""
        if source.sha256 is None and path.is_file():
            source = Source(source.file, _digest(path))
        return source, ""
    weights = read_weights(path)
    digest = _digest(path)
    if source.sha256 not in (None, digest):
        raise UserError(
            f"{path} has another content than the config was made with, {source.content}. If that "
            f"is meant: --init_from {path}."
        )
    try:
        start = start_from(net, weights, num_classes)
    except ValueError as error:
        raise UserError(
            f"{path}: {error}. Give the network the options that it had (--model.net), or name "
            "another file."
        ) from error
    layers = dict.fromkeys(name.rpartition(".")[0] for name in start.anew)
    anew = f"; anew: {', '.join(layers)}" if layers else ""
    return Source(
        source.file, digest
    ), f"{start.fitting} of {start.tensors} tensors of {path}{anew}"


def _started_from(run: RunFolder) -> Source | None:
    with suppress(OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return Source.of(yaml.safe_load(run.config.read_text())["init_from"])
    return None  # one that cannot be read is written anew


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
