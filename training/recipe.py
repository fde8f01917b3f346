"""The recipe: the part of a config that affects the result."""

import json
from functools import cache
from pydoc import ErrorDuringImport, locate
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from terminal.errors import UserError
from terminal.run_folder import RunFolder
from training.start import Source

SEED = "seed_everything"
INIT_FROM = "init_from"
# How, where and how visibly it is trained. Everything else counts, options of Lightning's that
# are yet to come included: two rows for one recipe are seen, one row for two is not.
NO_PART = (
    *(SEED, "config", "run_dir", "dashboard", "data.init_args.root"),
    "data.init_args.cache",
    *("trainer.accelerator", "trainer.strategy", "trainer.devices", "trainer.num_nodes"),
    *("trainer.logger", "trainer.log_every_n_steps", "trainer.profiler", "trainer.plugins"),
    *("trainer.default_root_dir", "trainer.model_registry", "trainer.detect_anomaly"),
    *("trainer.barebones", "trainer.inference_mode", "trainer.num_sanity_val_steps"),
    "trainer.limit_predict_batches",  # training does not predict
    "trainer.use_distributed_sampler",  # the data module divides batches either way
    # Another choice among equal kernels: the last bits, as on another device.
    *("trainer.deterministic", "trainer.benchmark", "model.init_args.compile"),
)
ONLY_WATCH = (
    *("LearningRateMonitor", "DeviceStatsMonitor", "ThroughputMonitor", "ModelCheckpoint"),
    *("OnExceptionCheckpoint", "ModelSummary", "RichModelSummary", "ProgressBar"),
    *("TQDMProgressBar", "RichProgressBar"),
)
# What null means. A number of batches is an int: 1 is one, 1.0 is all of them.
USUAL = {
    "trainer.limit_train_batches": 1.0,
    "trainer.limit_val_batches": 1.0,
    "trainer.limit_test_batches": 1.0,
    "trainer.val_check_interval": 1.0,
    "trainer.gradient_clip_algorithm": "norm",
    "data.init_args.channels": 1,
}
# Whose classes are imported to ask for their defaults: a run that is compared can be anybody's.
TRUSTED = ("lit_modules.", "models.", "datamodules.", "callbacks.", "torch.", "lightning.")
PRECISIONS = {"16": "16-mixed", "bf16": "bf16-mixed", "32": "32-true", "64": "64-true"}


def recipe(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of a config that affect the result, without the seed.

    Going on with a run, comparing runs and TensorBoard's HParams all ask here.

    Args:
        config: As `config.yaml` holds it.

    Returns:
        Values by their dotted keys, entries of lists by their number. What is null or empty is
        left out. Arguments of this project's and torch's classes that are not given, as those that
        an older version did not have yet, have their defaults.
    """
    trainer = config.get("trainer") or {}
    if isinstance(trainer, dict):
        callbacks = trainer.get("callbacks") or []
        listed = callbacks if isinstance(callbacks, list) else [callbacks]
        kept = [callback for callback in listed if not _only_watches(callback)]
        precision = trainer.get("precision")
        changed = {"callbacks": kept, "precision": PRECISIONS.get(str(precision), precision)}
        defaults = defaults_of("lightning.pytorch.Trainer")
        config = config | {"trainer": defaults | _said(trainer) | changed}
    found: dict[str, Any] = {}

    def walk(key: str, value: Any) -> None:
        if key in NO_PART or key.startswith("trainer.enable_") or value is None:
            return
        if key in USUAL and (type(value), value) == (type(USUAL[key]), USUAL[key]):
            return
        if isinstance(value, dict) and "class_path" in value:
            given = value.get("init_args")
            name = str(value["class_path"])
            if isinstance(given, dict | None):
                defaults = defaults_of(name) if name.startswith(TRUSTED) else {}
                value = value | {"init_args": defaults | _said(given or {})}
        if isinstance(value, dict | list | tuple):
            for name, part in value.items() if isinstance(value, dict) else enumerate(value):
                walk(f"{key}.{name}" if key else str(name), part)
        elif isinstance(value, bool | int | float | str):  # a default can be any object
            found[key] = Source.of(str(value)).content if key == INIT_FROM else value

    walk("", config)
    return found


def check_recipe(run: RunFolder, config: str) -> None:
    """Checks that a run resumes with the recipe that it was started with.

    How it is trained may change: devices, logging, where the datasets are.

    Args:
        run: The folder of the run.
        config: The config that it is to go on with, in YAML.

    Raises:
        UserError: If the recipe in its `config.yaml` is another, with the first key that differs.
    """
    try:
        configs = [
            yaml.safe_load(text) for text in (run.config.read_text(encoding="utf-8"), config)
        ]
        before, now = ({SEED: parsed.get(SEED)} | recipe(parsed) for parsed in configs)
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        return  # nothing to compare with: the checkpoint's network was compared
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            name = key.replace("init_args.", "").replace(".class_path", "")
            further = f", which can start from its weights by --init_from {run.best}"
            raise UserError(
                f"the run in {run.path} was started with {name} "
                f"{_shown(key, configs[0], before)}, not {_shown(key, configs[1], now)}. Give the "
                "values it was started with, or another --run_dir"
                f"{further if name == 'trainer.max_epochs' else ''}."
            )


def check_images(run: RunFolder, digest: str) -> None:
    """Checks that a finished run was of the same images.

    A run that goes on has them in its checkpoint.

    Args:
        run: The folder of the run.
        digest: The digest of the images, empty for a dataset that has one content alone.

    Raises:
        UserError: If its images were others.
    """
    before = json.loads(run.results.read_text(encoding="utf-8")).get("images", digest)
    if before != digest:
        raise UserError(
            f"the run in {run.path} is finished, and was of other images. Restore them, or name "
            "another --run_dir."
        )


@cache
def defaults_of(class_path: str) -> dict[str, Any]:
    """The default arguments of a class or function; empty if it does not exist."""
    try:
        kind = locate(class_path)
    except ErrorDuringImport:
        return {}
    parser = ArgumentParser()
    if isinstance(kind, type):
        parser.add_class_arguments(kind, fail_untyped=False)
    elif callable(kind):
        parser.add_function_arguments(kind, fail_untyped=False)
    return parser.get_defaults().as_dict()


def _shown(key: str, config: dict[str, Any], values: dict[str, Any]) -> Any:
    """A value of the recipe as a person knows it: weights by the name of their file too."""
    is_file = key == INIT_FROM and config.get(key)
    return Source.of(str(config[key])).shown if is_file else values.get(key)


def _said(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _only_watches(callback: Any) -> bool:
    path = callback.get("class_path") if isinstance(callback, dict) else callback
    return str(path).rpartition(".")[2] in ONLY_WATCH
