import pytest
import torch
from torch.nn.functional import cross_entropy

from lit_modules import LitClassifier, LitGoogLeNet
from models.googlenet import GoogLeNet
from models.lenet import LeNet5


@pytest.mark.parametrize(("weight", "smoothing"), [(0.3, 0.0), (0.7, 0.1)])
def test_the_loss_equals_the_papers(weight, smoothing):
    module = LitGoogLeNet(GoogLeNet(), label_smoothing=smoothing, aux_weight=weight)
    assert LitGoogLeNet(GoogLeNet()).aux_weight == 0.3
    heads, labels = torch.randn(3, 8, 10), torch.arange(8)
    main, aux1, aux2 = (cross_entropy(h, labels, label_smoothing=smoothing) for h in heads)
    torch.testing.assert_close(
        module.loss(tuple(heads), labels), main + weight * aux1 + weight * aux2
    )


def test_a_network_without_heads_is_refused():
    labels = torch.zeros(2).long()
    with pytest.raises(TypeError, match="LeNet5 returns no auxiliary logits"):
        LitGoogLeNet(LeNet5()).loss(torch.randn(2, 10), labels)
    with pytest.raises(TypeError, match=r"GoogLeNet returns auxiliary logits.*LitGoogLeNet"):
        LitClassifier(GoogLeNet()).loss(tuple(torch.randn(3, 2, 10)), labels)


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match="aux_weight must be at least 0"):
        LitGoogLeNet(GoogLeNet(), aux_weight=-1.0)


def test_the_command_line_refuses_the_wrong_pair_in_one_line(quickstart, tmp_path):
    ended = quickstart("--model", "lit_modules.LitGoogLeNet")
    assert ended.status == 2
    assert "LeNet5 returns no auxiliary logits" in ended.err
    assert len(ended.err.splitlines()) == 1
    ended = quickstart("--model.net", "models.googlenet.GoogLeNet", "--data.image_size", "32")
    assert ended.status == 2
    assert "LitGoogLeNet" in ended.err
    assert not (tmp_path / "run").exists()
