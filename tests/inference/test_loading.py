"""Loading a checkpoint executes nothing in it."""

import json
import os
import pickle
import shutil
import sys
from pathlib import Path

import pytest
import torch

from datamodules import Digits
from inference.loading import load
from lit_modules import LitClassifier
from lit_modules.checkpoints import read_checkpoint
from models.lenet import LeNet5
from terminal.errors import UserError
from tests.conftest import QUICKLY
from tests.fuzz.watching import watched


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def checkpoint(trained, tmp_path):
    shutil.copytree(trained(*QUICKLY), tmp_path / "run")
    return tmp_path / "run" / "checkpoints" / "best.ckpt"


def change(path, **changes):
    content = torch.load(path, weights_only=True)
    torch.save(content | changes, path)


def test_a_checkpoint_becomes_its_network(checkpoint):
    classifier, data = load(checkpoint)
    assert (data.name, data.image_size) == ("Digits", 28)
    assert isinstance(classifier.net, LeNet5)
    assert not classifier.training
    weights = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert torch.equal(classifier.net.c1.weight, weights["net.c1.weight"])


@pytest.mark.parametrize("whole", [True, False])
def test_a_payload_is_refused_unexecuted(checkpoint, quickstart, tmp_path, whole):
    touched = tmp_path / "touched"
    if whole:
        change(checkpoint, extra=Payload(touched))
    else:
        checkpoint.unlink()  # not a zip file, but a pickle, as in old versions of torch
        checkpoint.write_bytes(pickle.dumps(Payload(touched)))
    for read in (load, read_checkpoint, LitClassifier.load_from_checkpoint):
        with pytest.raises((UserError, pickle.UnpicklingError)):
            read(checkpoint)
    checkpoint.replace(tmp_path / "run" / "checkpoints" / "last.ckpt")
    (tmp_path / "run" / "results.json").unlink()
    ended = quickstart()
    assert ended.status == 2
    assert len(ended.err.splitlines()) == 1
    assert not touched.exists()
    if whole:
        assert "pathlib" in ended.err
        assert "nothing in it was executed" in ended.err


EVIL = """
from pathlib import Path
from torch import nn

Path("imported").touch()

class Net(nn.Linear):
    def __init__(self) -> None:
        super().__init__(1, 1)
"""


@pytest.fixture
def trace(tmp_path, monkeypatch):
    """The file that an import of `evil` creates."""
    (tmp_path / "evil.py").write_text(EVIL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "imported"


@pytest.mark.parametrize(
    "hyperparameters",
    [
        {"net": {"class_path": "evil.Net"}},
        {"net": {"class_path": "models.lenet.LeNet5"}, "schedule": "evil.Net"},
        {"net": {"class_path": "torch.nn.Sequential", "dict_kwargs": {"a": ["evil.Net"]}}},
        {"net": {"class_path": "torch.hub.load"}},
        {"net": {"class_path": "datamodules.in_memory.os.system"}},
        {"net": {"class_path": "torchvision.models._api.load_state_dict_from_url"}},
        {"net": {"class_path": "datamodules.published_files._write_whole"}},
        {"net": {"class_path": "datamodules.published_files.PublishedFiles"}},
        {"net": {"class_path": "torch.nn.init.os.system"}},
        {"net": "class_path: evil.Net"},
        {"optimizer": '{"class_path": "evil.Net"}'},
    ],
)
def test_a_class_of_another_package_is_not_imported(checkpoint, trace, hyperparameters):
    stored = torch.load(checkpoint, weights_only=True)["hyper_parameters"]
    change(checkpoint, hyper_parameters=stored | hyperparameters)
    with pytest.raises(UserError, match="--trust_classes"):
        load(checkpoint)
    assert not trace.exists()


def from_script(checkpoint):
    return load(checkpoint)[0]


# Used by the scripts and from Python.
DOORS = pytest.mark.parametrize("read", [from_script, LitClassifier.load_from_checkpoint])


@DOORS
def test_in_python_no_class_of_another_package_is_imported_either(checkpoint, trace, read):
    stored = torch.load(checkpoint, weights_only=True)["hyper_parameters"]
    change(checkpoint, hyper_parameters=stored | {"net": {"class_path": "evil.Net"}})
    with pytest.raises((UserError, ValueError), match=r"evil\.Net"):
        read(checkpoint)
    assert not trace.exists()


@DOORS
@pytest.mark.parametrize("key", ["hparams", "module_arguments"])
def test_lightnings_old_keys_of_hyperparameters_are_ignored(checkpoint, trace, read, key):
    stored = torch.load(checkpoint, weights_only=True)["hyper_parameters"]
    del stored["optimizer"]
    change(checkpoint, hyper_parameters=stored, **{key: {"optimizer": "evil.Net"}})
    assert isinstance(read(checkpoint).net, LeNet5)
    assert not trace.exists()


@DOORS
@pytest.mark.parametrize("argument", ["weights", "pretrained", "weights_backbone"])
def test_nothing_is_downloaded(checkpoint, tmp_path, read, argument):
    net = {"class_path": "torchvision.models.resnet18", "init_args": {argument: "DEFAULT"}}
    stored = torch.load(checkpoint, weights_only=True)["hyper_parameters"]
    change(checkpoint, hyper_parameters=stored | {"net": net})
    with pytest.raises((UserError, ValueError), match="DEFAULT"), watched(tmp_path):
        read(checkpoint)


def test_the_file_does_not_set_the_folder_of_datasets(checkpoint):
    data = {"_class_path": "datamodules.MNIST", "batch_size": 8, "root": "theirs"}
    change(checkpoint, datamodule_hyper_parameters=data)
    assert "theirs" not in str(load(checkpoint)[1].files.folder)


FACTS = {
    **{"name": "theirs", "classes": list("0123456789"), "mean": [0.5], "std": [0.2]},
    **{"native_size": 28, "native_channels": 1},
}


@pytest.mark.parametrize("kind", ["ImageFolder", "Torchvision"])
def test_paths_of_images_in_a_checkpoint_are_not_read(checkpoint, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATA_ROOT", raising=False)
    options = {"_class_path": f"datamodules.{kind}", "_instantiator": "none"}
    options |= {"dataset": "torchvision.datasets.MNIST"} if kind == "Torchvision" else {}
    options |= {"image_size": 28, "cache": "cache", "root": "root"}
    change(checkpoint, datamodule_hyper_parameters=options)
    with pytest.raises(UserError, match="has no properties of its images"):
        load(checkpoint)
    change(checkpoint, **{kind: FACTS | {"mean": ["0.5"]}})
    with pytest.raises(UserError, match="the checkpoint has no mean"):
        load(checkpoint)
    change(checkpoint, **{kind: FACTS})
    _, data = load(checkpoint)
    assert (data.name, data.mean, data.image_size) == ("theirs", [0.5], 28)
    with pytest.raises(UserError, match=r"--data\.root"):
        data.prepare_data()
    assert not (tmp_path / "cache").exists()
    assert not (tmp_path / "root").exists()
    assert not list(tmp_path.rglob("*ubyte*"))


class Rooted(Digits):
    """A dataset that cannot be built without a folder."""

    def __init__(self, root: str, image_size: int = 28):
        super().__init__(image_size=image_size)


def test_a_dataset_that_requires_a_folder_is_loaded_without_one(checkpoint):
    rooted = f"{__name__}.Rooted"
    change(checkpoint, datamodule_hyper_parameters={"_class_path": rooted, "image_size": 28})
    _, data = load(checkpoint, trust_classes=True)
    assert type(data).__name__ == "Rooted"


@DOORS
def test_a_module_in_the_current_folder_is_not_imported(checkpoint, tmp_path, monkeypatch, read):
    monkeypatch.setattr(
        "jsonargparse._stubs_resolver.stubs_resolver", None
    )  # as at the start of a process
    (tmp_path / "json.py").write_text("from pathlib import Path\nPath('imported').touch()")
    monkeypatch.chdir(tmp_path)
    layers = [{"class_path": "torch.nn.Linear", "init_args": {"in_features": 9, "out_features": 9}}]
    net = {"class_path": "torch.nn.ModuleList", "init_args": {"modules": layers}}
    stored = torch.load(checkpoint, weights_only=True)["hyper_parameters"]
    change(checkpoint, hyper_parameters=stored | {"net": net})
    with pytest.raises((UserError, RuntimeError)):  # its weights differ
        read(checkpoint)
    assert not (tmp_path / "imported").exists()


@DOORS
@pytest.mark.parametrize("size", [10**8, 10**12])
def test_a_network_much_larger_than_its_weights_is_not_built(checkpoint, tmp_path, read, size):
    layer = {"class_path": "torch.nn.Linear", "init_args": {"in_features": size, "out_features": 9}}
    stored = read(checkpoint).hparams  # jsonargparse has already looked for its stubs
    change(checkpoint, hyper_parameters=dict(stored) | {"net": layer})
    said = "larger than its weights|can't allocate"  # the machine would allow such an allocation
    with pytest.raises((UserError, ValueError, RuntimeError), match=said), watched(tmp_path):
        read(checkpoint)


@DOORS
def test_a_network_of_endless_modules_is_not_built(checkpoint, tmp_path, read):
    options = {"blocks": [10**6], "growth_rate": 1}
    net = {"class_path": "models.densenet.DenseNet", "init_args": options}
    stored = read(checkpoint).hparams
    change(checkpoint, hyper_parameters=dict(stored) | {"net": net})
    with pytest.raises((UserError, ValueError), match="larger than its weights"), watched(tmp_path):
        read(checkpoint)


def test_weights_larger_than_the_file_are_not_weights(checkpoint):
    state_dict = torch.load(checkpoint, weights_only=True)["state_dict"]
    name = next(iter(state_dict))
    large = torch.zeros(1).expand(10**12)
    change(checkpoint, state_dict=state_dict | {name: large})
    with pytest.raises(UserError, match="is damaged"):
        load(checkpoint)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path, weights: torch.save(weights, path), "weights alone"),
        (lambda path, weights: torch.save({"weights": weights}, path), "no state_dict"),
        (
            lambda path, weights: torch.save(weights, path, _use_new_zipfile_serialization=False),
            "before 1.6",
        ),
        (lambda path, weights: torch.save({"state_dict": 5}, path), "is damaged"),
        (lambda path, weights: path.mkdir(), "is a folder"),
        (lambda path, weights: os.mkfifo(path), "is not a file"),
        (lambda path, weights: None, "there is no checkpoint"),
    ],
)
def test_messages_about_other_files_are_true(checkpoint, tmp_path, write, said):
    weights = torch.load(checkpoint, weights_only=True)["state_dict"]
    write(tmp_path / "other.ckpt", weights)
    with pytest.raises(UserError, match=said):
        load(tmp_path / "other.ckpt")


def nested(depth):
    return [nested(depth - 1)] if depth else []


@pytest.mark.parametrize("part", ["hyper_parameters", "datamodule_hyper_parameters"])
@pytest.mark.parametrize(
    "value",
    [
        ["net"],
        {"net": {"class_path": "torch.nn.ModuleList", "init_args": {"modules": {"evil.Net"}}}},
        {"net": {1: "models.lenet.LeNet5"}},
        {"net": torch.zeros(1)},
        {"net": nested(100)},
    ],
    ids=["no dictionary", "a set", "a number as a name", "a tensor", "deep"],
)
def test_damaged_hyperparameters_are_reported(checkpoint, part, value):
    change(checkpoint, **{part: value})
    with pytest.raises(UserError, match="is damaged"):
        load(checkpoint)


def test_a_class_that_the_user_trusts_is_used(quickstart, tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(
        "from torch import nn\n\ndef net() -> nn.Module:\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    quickstart("--model.net", "own.net")
    path = tmp_path / "run" / "checkpoints" / "best.ckpt"
    with pytest.raises(UserError, match=r"own\.net"):
        load(path)
    assert load(path, trust_classes=True)[0](torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_a_trusted_module_that_was_not_imported_yet_is_used(quickstart, tmp_path, monkeypatch):
    (tmp_path / "myloss.py").write_text(
        "from lit_modules import LitClassifier\n\nclass LitOut(LitClassifier):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert quickstart("--model", "myloss.LitOut").status == 0
    monkeypatch.delitem(sys.modules, "myloss")
    path = tmp_path / "run" / "checkpoints" / "best.ckpt"
    with pytest.raises(UserError, match=r"myloss\.LitOut"):
        load(path)
    assert type(load(path, trust_classes=True)[0]).__module__ == "myloss"


def test_hyperparameters_are_plain_data(checkpoint):
    hyperparameters = torch.load(checkpoint, weights_only=True)["hyper_parameters"]
    assert json.loads(json.dumps(hyperparameters)) == hyperparameters


def test_a_network_built_in_python_is_not_reported_as_damaged(tmp_path):
    from lightning.pytorch import Trainer

    from datamodules import Digits

    trainer = Trainer(
        max_epochs=0, logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(LitClassifier(LeNet5()), Digits(image_size=28))
    trainer.save_checkpoint(tmp_path / "hand.ckpt")
    with pytest.raises(UserError, match="built in Python"):
        load(tmp_path / "hand.ckpt")
