"""A training step never waits for the GPU, tested with simulated GPU tensors."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.running import ROOT
from training.cli import TrainingCLI

COPIES = {
    torch.ops.aten._to_copy.default: lambda copy, source, *_: (source, copy),
    torch.ops.aten.copy_.default: lambda copy, target, source, *_: (source, target),
}


class RefuseWaiting(TorchDispatchMode):
    """Refuses synchronous copies between devices.

    Tensors without content refuse the other kinds of waiting by themselves: `item`, conditions and
    selections by a mask need to know what is in them.
    """

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if function in COPIES:
            source, target = COPIES[function](result, *args)
            if source.device != target.device:
                assert kwargs.get("non_blocking") or True in args[2:], f"{function} waits"
        return result


@pytest.fixture
def replaced_parameters():
    """Lets `Module.to` replace parameters by simulated ones."""
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    yield
    torch.__future__.set_overwrite_module_params_on_conversion(False)


@pytest.mark.usefixtures("data_root", "replaced_parameters")
@pytest.mark.parametrize("name", ["lenet", "resnet18", "googlenet"])
def test_a_step_does_not_wait_for_the_gpu(name):
    """From the batch in memory to the loss; the rest of a step is in torch."""
    cli = TrainingCLI(["--config", str(ROOT / "configs" / f"{name}.yaml")])
    model, data = cli.model, cli.datamodule
    model.trainer = data.trainer = cli.trainer
    cli.trainer.strategy.connect(model)
    cli.trainer.training = True
    split = data.splits["train"]
    with FakeTensorMode(allow_non_fake_inputs=True) as pretend:
        model.to("cuda")
        data.preprocessing.to("cuda")
        batch = [pretend.from_tensor(part[:8]) for part in (split.images, split.labels)]
        with RefuseWaiting():
            batch = data.transfer_batch_to_device(batch, torch.device("cuda"), 0)
            batch = data.on_after_batch_transfer(batch, 0)
            loss = model.training_step(batch, batch_idx=1)
        assert loss.device.type == "cuda"
