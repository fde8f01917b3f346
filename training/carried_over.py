"""Finds the arguments that a changed class in a config keeps from the class before."""

import os
import re
from argparse import ArgumentError
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

from training.recipe import defaults_of


def given_keys(args: list[str]) -> set[str]:
    """The keys that are set on a command line or in its configs."""
    return set().union(*(_given(*args[i : i + 2]) for i in _starts(args)))


def carried_over(parser: ArgumentParser, args: list[str], config: Namespace) -> list[str]:
    """Describes the arguments that a new class keeps from the old: `lr 0.1 of Adam, in SGD`.

    Arguments that were given again for the new class, or equal its defaults, are not named.
    """
    starts = _starts(args)
    given = [_given(*args[i : i + 2]) for i in starts]
    found: dict[str, dict[str, str]] = {}  # by change of class, then by key
    for number, start in enumerate(starts):
        if not number or given[number].isdisjoint(classes := _classes(config)):
            continue  # no class changes here
        try:  # not validated: required keys may come later
            before = parser.parse_args(args[:start], defaults=False, _skip_validation=True)
        except ArgumentError:  # from a pipe, which can only be read once
            continue
        again = set().union(*given[number:])
        for name, (was, old) in _classes(before).items():
            now, new = classes.get(name, (was, {}))
            defaults = defaults_of(now) if was != now else new
            for key, value in new.items():
                if key in old and f"{name}.{key}" not in again and value != defaults.get(key):
                    change = f"of {was.rpartition('.')[2]}, in {now.rpartition('.')[2]}"
                    shown = key if isinstance(value, dict | list) else f"{key} {value}"
                    found.setdefault(change, {}).setdefault(f"{name}.{key}", shown)
    return [f"{', '.join(kept.values())} {change}" for change, kept in found.items()]


def _starts(args: list[str]) -> list[int]:
    return [i for i, word in enumerate(args) if word.startswith("--") or word == "-c"]


def _walk(key: str, part: Any) -> Iterator[tuple[str, Any]]:
    """All values of a config, with their dotted keys as on the command line."""
    yield re.sub(r"^\.|\.(init_args|class_path)\b", "", key), part
    if isinstance(part, dict | list):
        for name, inner in part.items() if isinstance(part, dict) else enumerate(part):
            yield from _walk(f"{key}.{name}", inner)


def _classes(config: Namespace) -> dict[str, tuple[str, dict[str, Any]]]:
    """The class paths and arguments in a config."""
    parts = [(k, p) for k, p in _walk("", config.clone().as_dict()) if isinstance(p, dict)]
    return {k: (p["class_path"], p.get("init_args", {})) for k, p in parts if "class_path" in p}


def _given(option: str, value: str = "") -> set[str]:
    """The keys that an option, or its config file, sets."""
    key, _, joined = option.lstrip("-").partition("=")
    if key == "init_from":
        return {key}  # a large file, not a config
    part: Any = joined or value
    with suppress(yaml.YAMLError, ValueError):  # otherwise a plain value or a binary file
        part = yaml.safe_load(
            Path(part).read_text(encoding="utf-8") if os.path.isfile(part) else part
        )
    parts = _walk("" if key in ("c", "config") else key, part)
    return {key for key, part in parts if not isinstance(part, dict)}
