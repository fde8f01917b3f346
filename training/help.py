"""The help of train.py that the parser does not have: one screen, the configs, functions."""

import importlib
import re
from argparse import SUPPRESS
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from inspect import isclass, isfunction
from io import StringIO
from pathlib import Path
from typing import get_type_hints

CONFIGS = Path(__file__).parent.parent / "configs"
SPACES = "spaces"  # the folder in it that is for sweep.py
MANY = 20  # classes; of nn.Module there are hundreds

SCREEN = """\
Trains a network: python train.py --config configs/lenet.yaml [--KEY VALUE ...]

Any key of the config can be overridden. The usual ones, by an example each:
  --trainer.max_epochs 40         length; the schedule stretches by itself
  --trainer.devices 2             two of the machine's GPUs, instead of all
  --trainer.callbacks+=callbacks.EMAWeightAveraging  averaged weights
  --model.net.activation tanh     an argument of the network, if it has this one
  --model.optimizer.lr 0.001      learning rate
  --model.class_weights balanced  rare classes weighed more
  --model.compile true            torch.compile, for long runs
  --data.image_size 96            smaller images, where the network takes them
  --seed_everything 2             another seed
  --run_dir runs/mine             the same command again resumes this run

More help:
  --help configs                  what each config is; the files are in
                                  {configs}
  --config FILE --print_config    all keys of a config, with their values
  --model.net.help models.densenet.DenseNet  the keys of a class or function;
                                  also --data.help, --model.optimizer.help
  --help all                      the options of Lightning's Trainer, and ours"""


def print_help(args: Sequence[str]) -> bool:
    """Prints the help that a command line asks for.

    Args:
        args: The words after `train.py`.

    Returns:
        Whether it asks for help, other than for all that the parser has.
    """
    asked = next((index for index, word in enumerate(args) if word in ("-h", "--help")), None)
    if asked is None or (topic := args[asked + 1 : asked + 2]) == ["all"]:
        return False
    if topic == ["configs"]:
        print("\n".join(list_configs()))
    else:
        print(SCREEN.format(configs=_from_here(CONFIGS)))
    return True


@contextmanager
def readable_class_help(args: Sequence[str]) -> Iterator[None]:
    """Edits the help of a class that the parser prints: full keys, and no endless lists of classes.

    Args:
        args: The words after `train.py`; of `--model.net.help`, the parser makes keys `--net.KEY`.
    """
    found = [match for word in args if (match := re.match(r"--([\w.]*?)(\w+)\.help(=|$)", word))]
    if not found:
        yield
        return
    parents, name, _ = found[0].groups()
    printed = StringIO()
    try:
        with redirect_stdout(printed):
            yield
    finally:  # the parser exits
        text = printed.getvalue().replace(f"--{name}.", f"--{parents}{name}.")
        print(re.sub(rf",\s+known\s+subclasses:([^,)]*,){{{MANY}}}[^)]*", "", text), end="")


def print_function_help(args: Sequence[str]) -> None:
    """Prints the keys of a function that makes a network, and exits, where help asks for them.

    The parser has help for classes alone. Does nothing if there is no such function.

    Args:
        args: The words after `train.py`.
    """
    key = "model.net"
    words = "\n".join(args)
    found = re.search(rf"^--{key}\.help[=\n]([\w.]+)\.(\w+)$", words, re.MULTILINE)
    if not found:
        return
    from jsonargparse import ArgumentParser  # takes a moment, as torch does
    from torch import nn

    module, name = found.groups()
    try:
        function = getattr(importlib.import_module(module), name)
        made = get_type_hints(function).get("return") if isfunction(function) else None
    except Exception:  # whatever a module raises, the parser reports
        return
    if isclass(made) and issubclass(made, nn.Module):
        parser = ArgumentParser(usage=SUPPRESS, add_help=False)
        parser.add_function_arguments(function, key, fail_untyped=False)
        file = rf"\n *--{key} CONFIG .*"  # of all keys, which train.py does not have
        print(re.sub(file, "", parser.format_help()).removeprefix("options:\n\n"), end="")
        parser.exit()


def list_configs(folder: Path = CONFIGS) -> Iterator[str]:
    """A line for each config of a folder and its subfolders: the path, and what it is."""
    paths = [
        path for path in folder.rglob("*.yaml") if SPACES not in path.relative_to(folder).parts
    ]
    paths.sort(key=lambda path: (path.parent, path))
    width = max((len(_from_here(path)) for path in paths), default=0)
    for path in paths:
        comment = re.match(r"# *(.*?)\.?\n", path.read_text(encoding="utf-8"))
        yield f"{_from_here(path):<{width}}  {comment[1] if comment else ''}".rstrip()


def _from_here(path: Path) -> str:
    """A path as short as the working folder allows."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
