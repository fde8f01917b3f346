"""The handlers of signals after a training, in a program that goes on."""

import pickle
import signal

import pytest
from lightning.pytorch import Callback, Trainer

from callbacks.signals import SIGNALS, CrashOnly
from datamodules import Digits
from lit_modules import LitClassifier
from models.lenet import LeNet5
from training.loggers import RunCSV


class Raising(Callback):
    """Raises an exception in the hook of the given name."""

    def __init__(self, hook, exception):
        def stop(*args, **kwargs):
            raise exception

        setattr(self, hook, stop)


class Interrupted(Digits):
    """Ctrl-C while the data are read."""

    def prepare_data(self):
        raise KeyboardInterrupt


def handlers():
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


@pytest.fixture(params=["a function", "ignored"])
def before(request):
    """Handlers of the program's own, which this test takes away again."""
    own = signal.SIG_IGN if request.param == "ignored" else (lambda number, frame: None)
    others = {number: signal.signal(number, own) for number in SIGNALS}
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield handlers()
    for number, handler in {**others, signal.SIGINT: ours}.items():
        signal.signal(number, handler)


ENDS = {
    "normally": (),
    "by an error in a step": [("on_train_batch_start", ValueError)],
    "by an error at the end": [("on_fit_end", ValueError)],
    "by Ctrl-C in a step": [("on_train_batch_start", KeyboardInterrupt)],
    "by Ctrl-C before the first step": [("setup", KeyboardInterrupt)],
    "by Ctrl-C after the last step": [("on_fit_end", KeyboardInterrupt)],
    "on a full disk": [("on_train_batch_start", ValueError), ("on_exception", OSError)],
    "by Ctrl-C on a full disk": [
        *(("on_train_batch_start", KeyboardInterrupt), ("on_exception", OSError))
    ],
}


def run(raising, method="fit", data=Digits):
    """Runs a method of a Trainer, and returns the exception that ended it."""
    try:
        module = LitClassifier(LeNet5("tanh"))
        getattr(quick_trainer(raising), method)(module, data(batch_size=64, image_size=28))
    except (Exception, SystemExit) as error:  # SystemExit is Lightning's answer to Ctrl-C
        return type(error)


def quick_trainer(raising):
    return Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=[CrashOnly(), *(Raising(*pair) for pair in raising)],
        limit_train_batches=1,
        limit_val_batches=1,
        limit_test_batches=1,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )


@pytest.mark.parametrize("end", ENDS)
def test_they_are_back_when_a_training_ends(before, end):
    raised = run(ENDS[end])
    assert (raised is None) == (end == "normally")
    assert handlers() == before


def test_they_are_back_when_the_data_are_interrupted(before):
    assert run((), data=Interrupted) is SystemExit
    assert handlers() == before


@pytest.mark.parametrize("method", ["test", "validate", "predict"])
def test_they_are_back_after_a_test(before, method):
    assert run((), method) is None
    assert handlers() == before


class Unreadable(Digits):
    def prepare_data(self):
        raise ValueError


def test_a_later_run_does_not_bring_back_older_handlers(before):
    """It fails before its setup, after the program has set other handlers."""
    trainer = quick_trainer(())
    module, data = LitClassifier(LeNet5("tanh")), Digits(batch_size=64, image_size=28)
    trainer.fit(module, data)
    for number in (signal.SIGINT, *SIGNALS):
        signal.signal(number, lambda number, frame: None)
    own = handlers()
    with pytest.raises(ValueError):  # noqa: PT011 - of prepare_data
        trainer.test(module, Unreadable(batch_size=64, image_size=28))
    assert handlers() == own


def test_handlers_are_not_pickled(before):
    callback = CrashOnly()
    signal.signal(signal.SIGINT, lambda number, frame: None)
    callback.teardown(None, None, "fit")
    copied = pickle.loads(pickle.dumps(callback))
    own = handlers()
    copied.on_exception(None, None, ValueError())  # before its setup, in another process
    assert handlers() == own


class Interrupting(Callback):
    def on_train_batch_start(self, *args):
        signal.raise_signal(signal.SIGINT)


def test_two_ctrl_c_say_how_to_resume(before, quickstart, monkeypatch):
    """The second comes while Lightning ends the training."""
    monkeypatch.setattr(
        RunCSV, "finalize", lambda logger, status: signal.raise_signal(signal.SIGINT)
    )
    ended = quickstart("--trainer.callbacks", f"{__name__}.Interrupting")
    assert (ended.status, ended.err) == (130, "stopped: the same command goes on.\n")
    assert handlers() == before
