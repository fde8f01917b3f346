"""From a command line to a run that is ready to start."""

import sys
from argparse import ArgumentError
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml
from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import nn

from callbacks.averaging import NoUntrainedAverage
from callbacks.best_and_last import BestAndLast
from callbacks.dashboard import Dashboard
from callbacks.divergence import StopWhenDiverged
from callbacks.epoch_lines import EpochLines
from callbacks.epoch_seed import EpochSeed
from callbacks.signals import CrashOnly
from callbacks.stopwatch import Stopwatch
from datamodules import InMemoryDataModule
from inference.configs import follow_the_data
from inference.inspection import count_macs, count_parameters, count_trained
from lit_modules import LitClassifier, Schedules
from lit_modules.hyperparameters import DOWNLOADED, ask_no_other_python
from terminal.arguments import check_files, check_texts, read_configs_in_utf8, suggestion
from terminal.console import filter_known_warnings
from terminal.devices import device_name, keep_freed_memory, limit_threads
from terminal.errors import UserError, raising, warn
from terminal.run_folder import RunFolder, run_name
from training.carried_over import carried_over, given_keys
from training.checkpoints import AtomicCheckpointIO, find_checkpoint
from training.duration import long_training
from training.help import print_function_help, readable_class_help
from training.loggers import RunCSV, RunTensorBoard
from training.network_checks import check_network, check_precision, check_schedule
from training.precision import usual_precision
from training.processes import (
    check_processes,
    die_with_the_launcher,
    disconnect,
    first_process_decides,
    processes_that_share_processors,
)
from training.profiling import Unprofiled
from training.recipe import SEED, check_images, check_recipe, recipe
from training.start import Source, start_run
from training.trainer_options import (
    REFUSED,
    RunTrainer,
    check_averages,
    check_epoch,
    check_kept,
    check_trainer_options,
    check_watched,
    count_batches,
    is_trial,
)

DESCRIPTION = """Trains a network. Any key of the config can be overridden: --trainer.max_epochs 3
--data.batch_size 64 --model.net.activation tanh. The keys of a class or function: --model.net.help
models.lenet.LeNet5, --model.optimizer.help torch.optim.AdamW, --data.help datamodules.MNIST,
--model.help lit_modules.LitClassifier.
"""


class TrainingCLI(LightningCLI):
    """Parses the command line and builds the network, the data and the Trainer, checked.

    Attributes:
        model: The LightningModule.
        datamodule: The data module, its training data loaded.
        trainer: The Trainer.
        run: The run folder, not yet taken.
        stopwatch, keeper: The callbacks whose figures go into the results.
        is_trial: Whether something is tried out, by `fast_dev_run` or `overfit_batches`; the run
            folder is then a temporary one, and there are no results.

    Raises:
        UserError: If the user has to change something.
        DatasetError: If the data cannot be had.
    """

    def __init__(self, args: list[str] | None = None) -> None:
        die_with_the_launcher()
        filter_known_warnings()
        ask_no_other_python()
        read_configs_in_utf8()
        super().__init__(
            LitClassifier,
            InMemoryDataModule,
            trainer_class=RunTrainer,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,
            seed_everything_default=1,
            trainer_defaults={
                "enable_model_summary": False,
                "num_sanity_val_steps": 0,  # check_network finds the same errors earlier
            },
            parser_kwargs={
                "description": DESCRIPTION,
                "usage": "python train.py --config FILE [--KEY VALUE ...]",
                "exit_on_error": False,
                "allow_abbrev": False,
            },
            auto_configure_optimizers=False,
            args=args,
            run=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--run_dir",
            type=str | None,
            default=None,
            help="Folder of the run. The same command again goes on with the run in it. "
            "Default: runs/<name of the config>/<next number>.",
        )
        parser.add_argument(
            "--init_from",
            type=str | None,
            default=None,
            help="File of weights that the training starts from: a checkpoint, what torch.save "
            "wrote of a state_dict, or safetensors.",
        )
        parser.add_argument(
            "--dashboard",
            type=bool,
            default=True,
            help="Whether TensorBoard shows more than scalars: pictures, curves, the graph.",
        )
        for name, reason in REFUSED.items():
            parser._option_string_actions[f"--trainer.{name}"].help = f"Refused, as it {reason}"

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        if not (sys.argv[1:] if args is None else args):
            raise UserError(
                "no config: python train.py --config configs/quickstart.yaml, for example."
            )
        args = sys.argv[1:] if args is None else args
        check_files(args)
        try:
            with (
                raising(ArgumentError, TypeError, ValueError, KeyError, advice="."),
                readable_class_help(args),
            ):
                print_function_help(args)
                super().parse_arguments(parser, args)
        except UserError as error:
            advice = "See python train.py --help, and the config files in configs/."
            raise UserError(f"{error}{suggestion(str(error), parser)} {advice}") from error
        except RecursionError as error:
            raise UserError("a config names itself by its key config, or is too deep.") from error
        check_texts(self.config.clone().as_dict())
        seed = self.config.seed_everything
        if type(seed) is not int or not 0 <= seed < 2**32:
            raise UserError(f"seed_everything must be a number from 0 to 2^32 - 1, got {seed}.")
        self.given = given_keys(args)
        self.kept = carried_over(parser, args, self.config)

    def before_instantiate_classes(self) -> None:
        files = [Path(str(path)) for path in self.config.pop("config") or []]
        name = "+".join(map(run_name, files)) or "unnamed"
        laptop = [path.parent / "laptop" / path.name for path in files]
        self.for_processors = [path for path in laptop if path.exists()]
        run_dir = self.config.pop("run_dir")
        self.shows_dashboard = self.config.pop("dashboard")
        check_trainer_options(self.config.trainer)
        self.is_trial = is_trial(self.config.trainer)
        self.run = RunFolder(None if self.is_trial else run_dir, name)
        torch.set_float32_matmul_precision("high")
        self.net_name = self.config.model.init_args.net.class_path

    def instantiate_classes(self) -> None:
        # jsonargparse reports whatever a constructor raises as a value that does not validate.
        bugs: list[Exception] = []
        refusals: list[Exception] = []

        def build(class_type: type, *args: Any, **kwargs: Any) -> Any:
            try:
                return class_type(*args, **kwargs)
            except Exception as error:
                of_torch = class_type.__module__.startswith(("torch.", "torchmetrics."))
                if isinstance(error, ValueError | RuntimeError | AttributeError) and (
                    of_torch or isinstance(error, ValueError)
                ):
                    refusals.append(error)
                else:
                    bugs.append(error)
                raise

        for kind in (nn.Module, Schedules):
            self.parser.add_instantiator(build, kind, subclasses=True)
        try:
            with raising(ValueError, RuntimeError):
                config = self.config.clone()
                self.datamodule = self.parser.instantiate_classes(Namespace(data=config.data)).data
                follow_the_data(self.config.model, self.datamodule, self.given)
                del self.config_dump  # cached by Lightning: made again for the checkpoint
                config.update(self.config.model, "model")
                del config["data"]
                self.config_init = self.parser.instantiate_classes(config)
                self.model = self.config_init.model
                self.trainer = self.instantiate_trainer()
        except UserError as error:
            if bugs:
                raise bugs[0] from None
            if refusals and "to be a class that instantiates" in str(error):
                raise UserError(
                    f"{refusals[-1]}."
                ) from error  # the parser has dropped this message
            raise

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        net, data = self.model.net, self.datamodule
        check_network(self.model, data)
        self.start: Source | None = None
        if self.config.init_from is not None:
            self.start, self.started = start_run(
                self.config.init_from, self.run, net, len(data.classes)
            )
            self.config.init_from = str(self.start)
        config = self.config_init["trainer"]
        if config["precision"] is None:
            macs = count_macs(net, data.channels, data.image_size)
            config["precision"] = usual_precision(config["accelerator"], macs)
            self.config.trainer.precision = config["precision"]
        check_precision(self.model, config["precision"], config["accelerator"])
        self.config_text = self.parser.dump(self.config)
        self.stopwatch = Stopwatch()
        self.keeper = BestAndLast(self.run)
        callbacks = [
            *(CrashOnly(), EpochSeed(), StopWhenDiverged(self.run), NoUntrainedAverage()),
            *(self.stopwatch, self.keeper),
        ]
        listed = config["callbacks"] or []
        listed = listed if isinstance(listed, list) else [listed]
        check_watched(listed, self.model)
        check_kept(listed)
        check_averages(listed)
        has_bar = any(isinstance(callback, ProgressBar) for callback in listed)
        if config["enable_progress_bar"] is not False and not has_bar:
            callbacks.append(EpochLines())
        if self.shows_dashboard:
            compared = hyperparameters(yaml.safe_load(self.config_text))
            callbacks.append(Dashboard(self.stopwatch, self.config_text, compared))
        self.trainer_defaults["callbacks"] = callbacks  # beside those of the config
        if config["logger"] is not False:
            theirs = config["logger"] if config["logger"] not in (None, True) else []
            theirs = theirs if isinstance(theirs, list) else [theirs]
            config["logger"] = [RunTensorBoard(self.run), RunCSV(self.run), *theirs]
        config["profiler"] = config["profiler"] or Unprofiled()
        plugins = config["plugins"] or []
        plugins = plugins if isinstance(plugins, list) else [plugins]
        config["plugins"] = [*plugins, AtomicCheckpointIO()]
        with raising(ValueError, TypeError, ImportError, MisconfigurationException):
            return super().instantiate_trainer(**kwargs)

    def after_instantiate_classes(self) -> None:
        data = self.datamodule
        check_processes(self.trainer, data.batch_size, self.run.is_named or self.is_trial)
        limit_threads(processes_that_share_processors(self.trainer))
        data.prepare_data()
        data.setup("fit")
        data.trainer = self.trainer  # its number of processes divides a batch
        batches = count_batches(self.trainer, "train", len(data.train_dataloader()))
        val_batches = count_batches(self.trainer, "val", len(data.val_dataloader()))
        if not self.is_trial:
            check_epoch(self.trainer, batches, is_validated=val_batches > 0)
        if isinstance(limit := self.trainer.limit_test_batches, float) and limit < 1:
            data.setup("test")
            count_batches(self.trainer, "test", len(data.test_dataloader()))
        check_schedule(self.model, self.trainer, batches, is_validated=val_batches > 0)
        if self.trainer.strategy.root_device.type == "cpu":
            keep_freed_memory()

    @contextmanager
    def open_run(self) -> Iterator[RunFolder]:
        """Takes the run folder for this process and for those that train with it.

        Sets `is_finished` and `resume_from`, on which all of them agree.

        Raises:
            UserError: If the folder cannot be used.
        """
        with ExitStack() as at_the_end:

            def take() -> dict[str, Any]:
                checkpoint, epochs, step = None, 0, 0
                if self.is_trial:
                    folder = TemporaryDirectory(prefix="trial-", ignore_cleanup_errors=True)
                    self.run.path = Path(at_the_end.enter_context(folder))
                if not self.run.is_finished():
                    lock = self.run.take()
                    at_the_end.callback(lock.release)
                    checkpoint, epochs, step = find_checkpoint(self.run, self.model)
                is_finished = self.run.is_finished()  # another process may just have done it
                if is_finished or checkpoint:
                    check_recipe(self.run, self.config_text)
                if is_finished:
                    check_images(self.run, self.datamodule.digest)
                if not is_finished:
                    if self.run.results.exists():
                        warn(f"{self.run.results} is damaged: it is written again.")
                    self.run.write_config(self.config_text)
                return {
                    "path": str(self.run.path),
                    "is_finished": is_finished,
                    "resume_from": str(checkpoint) if checkpoint else None,
                    "epochs": epochs,
                    "step": step,
                }

            decision = first_process_decides(self.trainer, take)
            self.run.path = Path(decision["path"])
            self.is_finished = decision["is_finished"]
            self.resume_from = decision["resume_from"]
            self.epochs_left = self.trainer.max_epochs - decision["epochs"]
            for logger in self.trainer.loggers:
                if hasattr(logger, "rewind") and not self.is_finished:
                    logger.rewind(decision["step"])
            for callback in self.trainer.checkpoint_callbacks:
                if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                    callback.dirpath = str(self.run.last.parent)
            try:
                yield self.run
            # Lightning exits on the first Ctrl-C; a second one may come while it does.
            except (SystemExit, KeyboardInterrupt) as error:
                if KeyboardInterrupt not in (type(error), type(error.__context__)):
                    raise
                if self.is_trial:
                    raise KeyboardInterrupt("a trial keeps nothing.") from None
                named = "" if self.run.is_named else f" with --run_dir {self.run.path}"
                raise KeyboardInterrupt(f"the same command{named} goes on.") from None
            disconnect()

    def facts(self) -> dict[str, str]:
        """The lines of the header that is printed before the training."""
        net, data, trainer = self.model.net, self.datamodule, self.trainer
        macs = count_macs(net, data.channels, data.image_size)
        trained = count_trained(net)
        part = f" ({trained:,} trained)" if trained < count_parameters(net) else ""
        train, val = (len(data.splits[split].labels) for split in ("train", "val"))
        devices = f"{trainer.world_size} x " if trainer.world_size > 1 else ""
        facts = {
            "net": f"{self.model.net_name}, {count_parameters(net):,} parameters{part}, "
            f"{macs / 1e6:,.2f} MMAC an image",
            "data": f"{data.name}, {train:,} + {val:,} images of {data.image_size} x "
            f"{data.image_size}, batches of {data.batch_size}",
            **({"split": data.note} if data.note else {}),
            "device": f"{devices}{device_name(trainer.strategy.root_device)}, {trainer.precision}, "
            f"seed {self.config.seed_everything}",
            "run": f"{self.run.path}"
            + (f", going on from {Path(self.resume_from).name}" if self.resume_from else ""),
        }
        if self.start and self.started:
            facts["start"] = self.started
        if part and not self.start and not self._names_weights():
            facts["start"] = "random weights, also where frozen: --init_from names others"
        if self.is_trial:
            facts["run"] = "a trial: nothing is kept"
        if self.kept:
            facts["kept"] = "; ".join(self.kept)
        if long := long_training(net, data, trainer, self.epochs_left):
            facts["time"] = long + "".join(
                f"; --config {path} is made for one" for path in self.for_processors
            )
        return facts

    def _names_weights(self) -> bool:
        """Whether the function that makes the network is told to load weights itself."""
        arguments = self.config.model.init_args.net.get("init_args") or {}
        return any(arguments.get(name) for name in DOWNLOADED)

    def facts_of(self, results: dict[str, Any]) -> dict[str, str]:
        """The lines that are printed after the training."""
        if self.is_trial:  # without figures: recipes are not chosen by test images
            return {"test": f"{results['test_images']:,} images; a trial shows no accuracy"}
        tests_all = results["test_images"] == len(self.datamodule.splits["test"].labels)
        return {
            "test": f"accuracy {results['test_accuracy']:.2%}, loss {results['test_loss']:.4f}"
            + ("" if tests_all else f", of {results['test_images']:,} images alone"),
            "best": f"{self.run.best} (epoch {results['best_epoch'] + 1})",
            "look": f"tensorboard --logdir {self.run.path.parent}",
        }


def hyperparameters(config: dict[str, Any]) -> dict[str, bool | int | float | str]:
    """The seed and the settings of the recipe by short names, without those that are false."""
    found = {}
    for key, value in ({SEED: config[SEED]} | recipe(config)).items():
        name = key.replace("init_args.", "").removesuffix(".class_path")
        if value is not False:
            found[name.removeprefix("model.").removeprefix("data.")] = value
    return found
