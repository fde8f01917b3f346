"""Generated checkpoints, as from anybody."""

import copy
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import evaluate
from inference.onnx import measured
from lit_modules import LitClassifier
from terminal.errors import UserError
from tests.conftest import QUICKLY
from tests.fuzz.running import run_watched
from tests.fuzz.watching import contents, watched

EVIL = (
    "from pathlib import Path\nPath('executed').touch()\nclass Net: ...\ndef make(*a, **k): ...\n"
)
NAMES = (
    *(
        "evil.Net",
        "evil.make",
        "runs.theirs.helper.Net",
        "os.system",
        "subprocess.run",
        "builtins.eval",
    ),
    *("torch.hub.load", "torch.load", "torch.nn.init.os.system", "torch.nn.Sequential", "torch.nn"),
    *(
        "torch.nn.Linear",
        "torch.nn.LazyLinear",
        "torch.nn.Module",
        "torch.optim.SGD",
        "torch.nn.LSTM",
    ),
    *(
        "torchvision.models.resnet18",
        "torchvision.models.get_model",
        "torchvision.models.inception_v3",
    ),
    *("models.densenet.DenseNet", "models.vgg.VGG", "models.resnet.ResNet", "models.nin.NiN"),
    *(
        "datamodules.MNIST",
        "datamodules.FashionMNIST",
        "datamodules.published_files.PublishedFiles",
    ),
    *(
        "datamodules.published_files._write_whole",
        "lit_modules.LitGoogLeNet",
        "lit_modules.LitClassifier",
    ),
    *(
        "lightning.pytorch.cli.instantiate_module",
        "lightning.pytorch.Trainer",
        "models.lenet.LeNet5",
    ),
    *(
        "class_path: evil.Net",
        "[evil.Net]",
        "evil",
        "",
        ".",
        "a\0b",
        "\x1b[31mred",
        "é\u202e",
        "../evil",
    ),
)
KEYS = (
    *("net", "optimizer", "schedule", "label_smoothing", "num_classes", "compile", "class_path"),
    *("init_args", "dict_kwargs", "_class_path", "_instantiator", "batch_size", "image_size"),
    *(
        "channels",
        "augment",
        "root",
        "weights",
        "pretrained",
        "activation",
        "blocks",
        "growth_rate",
    ),
    *("in_channels", "in_features", "out_features", "modules", "name", "lr", "callbacks", "epoch"),
    *("best_epoch", "best_score", "BestAndLast", "state_dict", "hyper_parameters", "hparams"),
    *("module_arguments", "hparams_name", "hparams_type", "datamodule_hyper_parameters", "depth"),
)
numbers = st.one_of(
    st.integers(-3, 40),
    st.sampled_from(
        [2**31, 2**63, 10**9, 10**15, -(10**9), 1e308, float("nan"), float("inf"), 0.5]
    ),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.sampled_from(NAMES), st.sampled_from(KEYS)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
        st.builds(
            lambda name, given: {"class_path": name, "init_args": given},
            st.sampled_from(NAMES),
            st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
        ),
    ),
    max_leaves=8,
)


def doubled(depth):
    """A few bytes that represent 2 ** depth values."""
    value = ["torch.nn.ReLU"]
    for _ in range(depth):
        value = [value, value]
    return value


def nested(depth):
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


odd_values = st.one_of(
    values,
    st.sampled_from([{"a"}, (1, 2), b"bytes", torch.zeros(2), nested(200), doubled(30), {1: 2}]),
    st.just(torch.zeros(1).expand(10**12)),
    st.just(
        torch.sparse_coo_tensor(torch.zeros(1, 1), torch.ones(1), (10**9,), check_invariants=True)
    ),
)
# The path to a part of a checkpoint, as indices of branches, and its replacement.
changes = st.tuples(st.lists(st.integers(0, 30), min_size=1, max_size=6), odd_values)
additions = st.tuples(st.sampled_from(KEYS), odd_values)
settings_of = st.tuples(
    st.sampled_from(["hyper_parameters", "datamodule_hyper_parameters", "hparams"]),
    st.sampled_from(KEYS),
    values,
)
damages = st.one_of(
    st.tuples(st.just("cut"), st.floats(0, 1)),
    st.tuples(st.just("flip"), st.floats(0, 1)),
    st.tuples(
        st.just("replace"), st.sampled_from([b"", b"5", b"PK\3\4", b"\x80\x02.", b"{}" * 99])
    ),
    st.tuples(st.just("old"), st.none()),
    st.tuples(st.sampled_from(["fifo", "folder", "nothing", "zero"]), st.none()),
)


class Sound(dict):
    """A checkpoint of a run; a failing test does not print its weights."""

    def __repr__(self) -> str:
        return "a sound checkpoint"


@pytest.fixture(scope="module")
def sound(trained):
    best = trained(*QUICKLY) / "checkpoints" / "best.ckpt"
    return Sound(torch.load(best, weights_only=True))


def replace(content, branches, value):
    """Replaces the value at a path of branches, as far as it exists."""
    for branch in branches[:-1]:
        key = list(content)[branch % len(content)]
        if not isinstance(content[key], dict) or not content[key]:
            break
        content = content[key]
    content[list(content)[branches[-1] % len(content)]] = value


def write(path, content, damage):
    kind, value = damage or ("", None)
    if kind in ("folder", "nothing", "fifo", "zero"):
        {"folder": path.mkdir, "nothing": lambda: None, "fifo": lambda: os.mkfifo(path)}.get(
            kind, lambda: path.symlink_to("/dev/zero")
        )()
        return
    torch.save(content, path, _use_new_zipfile_serialization=kind != "old")
    bytes_ = bytearray(path.read_bytes())
    if kind == "cut":
        path.write_bytes(bytes_[: int(len(bytes_) * value)])
    elif kind == "flip":
        bytes_[int((len(bytes_) - 1) * value)] ^= 1
        path.write_bytes(bytes_)
    elif kind == "replace":
        path.write_bytes(value)


@given(
    st.lists(changes, max_size=2),
    st.lists(settings_of, max_size=2),
    st.lists(additions, max_size=1),
    st.one_of(st.none(), st.none(), damages),
)
def test_loading_a_checkpoint_has_no_side_effects(sound, parts, settings, added, damage):
    content = copy.deepcopy(dict(sound))
    for branches, value in parts:
        replace(content, branches, value)
    for group, key, value in settings:
        if isinstance(content.setdefault(group, {}), dict):
            content[group][key] = value
    content |= dict(added)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for module in ("evil.py", "json.py", "numpy.py"):
            (folder / module).write_text(EVIL)
        path = folder / "best.ckpt"
        write(path, content, damage)
        before = contents(folder)
        out = [folder / "out.json", folder]  # temporary files are beside it
        ended = run_watched(
            *(evaluate.main, "best.ckpt", "--json", "out.json"), inputs=folder, writable=out
        )
        (folder / "out.json").unlink(missing_ok=ended.status == 2)
        with watched(folder):
            with suppress(Exception):
                assert path.is_file()  # from Python, opening a pipe blocks
                LitClassifier.load_from_checkpoint(path)
            with suppress(UserError):
                measured(path)
        assert contents(folder) == before
