"""Generated command lines and configs, trained for a few steps if they are accepted."""

import inspect
import json
import tempfile
import warnings
from pathlib import Path
from unittest import mock

import kornia.augmentation
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import Callback, Trainer, callbacks
from torch import nn
from torch.optim import lr_scheduler

import train
from tests.conftest import QUICKSTART
from tests.fuzz.running import run_watched
from tests.fuzz.watching import contents

SHORTLY = {"max_epochs": 2, "limit_train_batches": 3, "limit_val_batches": 2}
STEPS = 8  # after these, a training counts as successful


def names(module, kind):
    """The import paths of a module's public subclasses of a class."""
    return [
        f"{module.__name__}.{name}"
        for name, value in sorted(vars(module).items())
        if inspect.isclass(value) and issubclass(value, kind) and not name.startswith("_")
    ]


LAYERS = names(nn, nn.Module)
NETS = [
    *("models.lenet.LeNet5", "models.alexnet.AlexNet", "models.vgg.vgg11", "models.nin.NiN"),
    *("models.googlenet.GoogLeNet", "models.resnet.resnet18", "models.densenet.DenseNet"),
    *("torchvision.models.resnet18", "torchvision.models.squeezenet1_1", "models.inception.No"),
]
OPTIMIZERS = names(torch.optim, torch.optim.Optimizer)
SCHEDULES = [*names(lr_scheduler, lr_scheduler.LRScheduler), "lit_modules.WarmupCosine"]
CALLBACKS = [*names(callbacks, Callback), "callbacks.EMAWeightAveraging", "callbacks.Nothing"]
AUGMENTATIONS = [*names(kornia.augmentation, nn.Module), "datamodules.augmentation.RandomCrop"]
ARGUMENTS = (
    *("lr", "betas", "eps", "weight_decay", "momentum", "nesterov", "step_size", "gamma", "T_max"),
    *("eta_min", "milestones", "total_steps", "max_lr", "base_lr", "factor", "patience", "power"),
    *("total_iters", "T_0", "T_mult", "cooldown", "warmup_steps", "num_classes", "activation"),
    *("in_channels", "in_features", "out_features", "kernel_size", "p", "padding", "size"),
    *("monitor", "mode", "decay", "min_delta", "every_n_epochs", "save_top_k", "dropout", "depth"),
)
NUMBERS = [0, 1, 2, 3, 10, -1, 0.5, 1.5, -0.1, 1e-5, 1e30, float("nan"), float("inf"), 2**40]
plain = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(NUMBERS),
    st.sampled_from([None, True, False, "", "x", "nope", "a\0b", "\x1b[1m", "é", "val/acc", "min"]),
    st.lists(st.sampled_from(NUMBERS), max_size=3),
)


def classes(paths):
    return st.builds(
        lambda path, given: {"class_path": path, "init_args": given},
        st.sampled_from(paths),
        st.dictionaries(st.sampled_from(ARGUMENTS), plain, max_size=2),
    )


def any_class():
    return classes([*LAYERS[:9], *OPTIMIZERS[:3], *SCHEDULES[:3], "os.system", "subprocess.run"])


def options(key, values):
    return st.tuples(st.just(key), values)


# Not tried here: what would start other processes or need other machines.
TRAINER = sorted(
    set(inspect.signature(Trainer).parameters)
    - {"self", "devices", "num_nodes", "strategy", "accelerator", "callbacks", "logger", "plugins"}
)
settings = st.one_of(
    *(options(f"trainer.{name}", plain) for name in TRAINER),
    options("trainer.callbacks", st.lists(classes(CALLBACKS), max_size=2)),
    options("trainer.callbacks", st.one_of(classes(CALLBACKS), any_class(), plain)),
    *[options("model.net", classes(NETS))] * 5,
    *[options("model.net", classes(LAYERS))] * 5,
    *[options("model.optimizer", classes(OPTIMIZERS))] * 5,
    *[options("model.schedule", classes(SCHEDULES))] * 8,
    *[options("data.augment", st.lists(classes(AUGMENTATIONS), max_size=2))] * 3,
    options("data.augment", st.lists(classes(LAYERS), max_size=2)),
    *(
        options(key, st.one_of(any_class(), plain))
        for key in ("model", "model.net", "model.optimizer", "model.schedule", "data")
    ),
    *(
        options(key, plain)
        for key in (
            *("model.label_smoothing", "model.num_classes", "model.net.activation", "model.nets"),
            *("model.optimizer.lr", "model.optimizer.betas", "model.schedule.warmup_epochs"),
            *("data.batch_size", "data.image_size", "data.channels", "data.root", "data.augment"),
            *("seed_everything", "dashboard", "run_dir", "trainer", "nope", "trainer.nope"),
        )
    ),
)
texts = st.sampled_from(
    [
        *("", "5", "- 1", "a: 1", "trainer:", "trainer: 5", "trainer: {max_epochs: x}", "\t", "\0"),
        *("trainer: {max_epochs: 1}\ntrainer: {max_epochs: 2}", "a: &a [*a]", "a: b: c", "é: ü"),
        *("model: !!python/object/apply:os.system ['touch executed']", "[" * 5000, "? [1]\n: 2"),
        *("model: {init_args: {net: {class_path: os.system, init_args: {command: 'touch x'}}}}",),
        *("config: mine.yaml", "trainer: &t {<<: *t}", "data: {class_path: datamodules.Digits}"),
    ]
)


class Enough(Callback):
    """Ends a training after a few successful steps."""

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step >= STEPS:
            raise SystemExit(0)


def written(value):
    return value if isinstance(value, str) else json.dumps(value)


def as_config(settings):
    """Converts dotted keys to nested ones."""
    config: dict = {}
    for key, value in settings:
        place = config
        *above, last = key.split(".")
        for name in above:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                break
        else:
            place[last] = value
    return yaml.safe_dump(config)


@given(
    st.lists(settings, min_size=1, max_size=3),
    st.sampled_from(["options", "options", "config"]),
    st.one_of(*[st.none()] * 9, texts),
)
def test_a_config_trains_or_is_refused_in_one_line_before_anything_is_written(made, how, text):
    began = []

    def fit(trainer, *args, fit=Trainer.fit, **kwargs):
        began.append(True)
        trainer.callbacks.append(Enough())
        fit(trainer, *args, **kwargs)

    with (
        tempfile.TemporaryDirectory() as name,
        mock.patch.object(Trainer, "fit", fit),
        mock.patch("tempfile.tempdir", name),
    ):
        folder = Path(name)
        args = ["--config", QUICKSTART]
        args += [word for k, v in SHORTLY.items() for word in (f"--trainer.{k}", v)]
        if how == "config" or text is not None:
            (folder / "mine.yaml").write_text(as_config(made) if text is None else text)
            args += ["--config", "mine.yaml"]
        if how == "options":
            args += [f"--{key}={written(value)}" for key, value in made]
        before = contents(folder)
        with warnings.catch_warnings():
            ended = run_watched(train.main, *args, inputs=folder, writable=[folder])
        after = contents(folder)
    if ended.status == 2:
        assert not began or "diverged" in ended.err
        if not began:
            assert after == before
    assert before.items() <= after.items()
