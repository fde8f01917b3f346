"""What belongs to a recipe: the part of a config that makes a difference to the result."""

from typing import Any

SEED = "seed_everything"
# How, where and how visibly it is trained. Everything else counts, options of Lightning's that
# are yet to come included: two rows for one recipe are seen, one row for two is not.
NO_PART = (
    *(SEED, "config", "run_dir", "dashboard", "data.init_args.root"),
    *("trainer.accelerator", "trainer.strategy", "trainer.devices", "trainer.num_nodes"),
    *("trainer.logger", "trainer.log_every_n_steps", "trainer.profiler", "trainer.plugins"),
    *("trainer.default_root_dir", "trainer.model_registry", "trainer.detect_anomaly"),
    *("trainer.barebones", "trainer.inference_mode", "trainer.num_sanity_val_steps"),
    "trainer.use_distributed_sampler",  # the data module divides batches either way
    # Another choice among equal kernels: the last bits, as on another device.
    *("trainer.deterministic", "trainer.benchmark"),
)
ONLY_WATCH = (
    *("LearningRateMonitor", "DeviceStatsMonitor", "ThroughputMonitor", "ModelCheckpoint"),
    *("OnExceptionCheckpoint", "ModelSummary", "RichModelSummary", "ProgressBar"),
    *("TQDMProgressBar", "RichProgressBar"),
)


def recipe(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of a config that make a difference to the result, the seed not among them.

    Going on with a run, comparing runs and TensorBoard's HParams all ask here.

    Args:
        config: As `config.yaml` holds it.

    Returns:
        Values by their dotted keys, entries of lists by their number. What is null or empty is
        left out, as keys are that an older version did not have yet.
    """
    trainer = config.get("trainer")
    if isinstance(trainer, dict) and (callbacks := trainer.get("callbacks")):
        listed = callbacks if isinstance(callbacks, list) else [callbacks]
        kept = [callback for callback in listed if not _only_watches(callback)]
        config = config | {"trainer": trainer | {"callbacks": kept}}
    found: dict[str, Any] = {}

    def walk(key: str, value: Any) -> None:
        if key in NO_PART or key.startswith("trainer.enable_") or value is None:
            return
        if isinstance(value, dict | list):
            for name, part in value.items() if isinstance(value, dict) else enumerate(value):
                walk(f"{key}.{name}" if key else str(name), part)
        else:
            found[key] = value

    walk("", config)
    return found


def _only_watches(callback: Any) -> bool:
    path = callback.get("class_path") if isinstance(callback, dict) else callback
    return str(path).rpartition(".")[2] in ONLY_WATCH
