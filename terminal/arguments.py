"""Command-line checks that the parser does not make, or reports less clearly."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import partial
from inspect import isclass, isfunction
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, _paths

from terminal.errors import UserError

OF_THE_SHELL = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")  # --config <(...)


def read_configs_in_utf8() -> None:
    """Lets the parser read files in UTF-8: by itself it takes the encoding of the system."""
    _paths.open = partial(open, encoding="utf-8")


def check_files(args: Sequence[str]) -> None:
    """Checks that the config files of a command line are readable and have no duplicate keys.

    Of duplicate keys in a YAML file, the parser silently keeps only the last.

    Raises:
        UserError: If a file is unreadable or has a duplicate key, with its name and the lines.
    """
    for path in _configs(args):
        if path.startswith(OF_THE_SHELL):
            continue  # can be read only once
        if os.path.exists(path) and not os.path.isfile(path):
            raise UserError(f"the config {path} is not a file.")  # opening a pipe would block
        try:
            root = yaml.compose(Path(path).read_text(encoding="utf-8"), yaml.SafeLoader)
        except FileNotFoundError:
            continue  # the parser reports it
        except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
            raise UserError(f"cannot read the config {path}: {_gist(error)}.") from error
        for key, lines in _twice(root):
            raise UserError(f"the config {path} has {key} twice, in lines {lines}.")


def check_texts(value: Any, key: str = "") -> None:
    """Checks that no string of a config contains a NUL, which file names cannot contain.

    Raises:
        UserError: If a string does, with its key.
    """
    if isinstance(value, str) and "\0" in value:
        raise UserError(f"{key} has a NUL in it: {value!r}.")
    if isinstance(value, dict | list | tuple):
        for name, part in value.items() if isinstance(value, dict) else enumerate(value):
            check_texts(part, f"{key}.{name}" if key else str(name))


def suggestion(message: str, parser: ArgumentParser) -> str:
    """What may be meant instead of an option or a class that does not exist; empty if unknown."""
    if found := re.search(r"unrecognized arguments: --([\w.]+)", message):
        meant = get_close_matches(found[1], list(parser.get_defaults().keys()), 1)
        return f" Did you mean --{meant[0]}?" if meant else ""
    if found := re.search(r"module '([\w.]+)' has no attribute '(\w+)'", message):
        module, name = found.groups()
        names = {known.lower(): known for known in _defined_in(module)}
        meant = get_close_matches(name.lower(), names, 1)
        return f" Did you mean {module}.{names[meant[0]]}?" if meant else ""
    if re.search("No module named", message):
        return f" Looked for in {sys.path[0]}, PYTHONPATH and the installed packages."
    if re.search("import path (string|format)", message):
        return " Name a class with its module: torch.optim.AdamW, or mynet.Net of a file mynet.py."
    return ""


def _defined_in(module: str) -> Iterator[str]:
    """Names of the classes and functions of a package that one of its modules has."""
    package = module.partition(".")[0]
    for name, value in vars(sys.modules.get(module, object)).items():
        is_its_own = str(getattr(value, "__module__", "")).partition(".")[0] == package
        if is_its_own and (isclass(value) or isfunction(value)):
            yield name


def _configs(args: Sequence[str]) -> Iterator[str]:
    for index, word in enumerate(args):
        option, is_joined, value = word.partition("=")
        if option in ("--config", "-c"):
            yield from [value] if is_joined else args[index + 1 : index + 2]


def _twice(root: yaml.Node | None) -> Iterator[tuple[str, str]]:
    """Duplicate keys of a mapping, with their line numbers."""
    left, seen = [root], set()
    while left:
        node = left.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, value in node.value:
                line = key.start_mark.line + 1
                if key.value != "<<" and isinstance(key.value, str) and key.value in lines:
                    yield key.value, f"{lines[key.value]} and {line}"
                if isinstance(key.value, str):
                    lines[key.value] = line
                left += [key, value]
        elif isinstance(node, yaml.SequenceNode):
            left += node.value


def _gist(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return str(error) or type(error).__name__
    return f"{error.problem} in line {mark.line + 1}"
