"""The default precision of a training."""

import pytest
import torch
import yaml

from tests.conftest import QUICKLY
from training.precision import usual_precision

FAMILIES = {"lenet": "models.lenet.LeNet5", "resnet": "models.resnet.resnet18"}


@pytest.fixture
def processor(monkeypatch):
    """Simulates a processor with these capabilities."""

    def believe(*capabilities, torch_uses="AVX512"):
        monkeypatch.setattr(
            torch.cpu, "get_capabilities", lambda: dict.fromkeys(capabilities, True)
        )
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: torch_uses)
        monkeypatch.setattr("training.precision.best_device", lambda: torch.device("cpu"))

    return believe


@pytest.mark.parametrize(
    ("capabilities", "net", "options", "precision"),
    [
        (["avx512_bf16"], "resnet", (), "bf16-mixed"),
        (["amx_bf16"], "resnet", (), "bf16-mixed"),
        (["avx512_f", "avx2"], "resnet", (), "32-true"),
        (["avx512_bf16"], "lenet", (), "32-true"),  # too small to gain from it
        (["avx512_bf16"], "resnet", ("--trainer.precision", "32-true"), "32-true"),
        ([], "resnet", ("--trainer.precision", "bf16-mixed"), "bf16-mixed"),
    ],
)
def test_a_processor(train, processor, tmp_path, capabilities, net, options, precision):
    processor(*capabilities)
    ended = train(
        *(*QUICKLY, "--run_dir", "run", "--model.net", FAMILIES[net], "--data.image_size", 28),
        *("--trainer.limit_train_batches", 1, "--trainer.limit_val_batches", 1),
        *("--trainer.limit_test_batches", 1, "--data.batch_size", 4, *options),
    )
    assert ended.status == 0, ended.err
    assert f", {precision}, seed 1" in ended.out
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["trainer"]["precision"] == precision


def test_a_processor_that_torch_may_not_use_fully(processor):
    processor("avx512_bf16", torch_uses="AVX2")
    assert usual_precision("cpu", 10**9) == "32-true"


@pytest.mark.parametrize("has_bf16", [True, False])
def test_a_gpu(monkeypatch, processor, has_bf16):
    processor()
    monkeypatch.setattr("training.precision.best_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    assert usual_precision("auto", 1) == ("bf16-mixed" if has_bf16 else "32-true")
    assert usual_precision("cpu", 10**9) == "32-true"
