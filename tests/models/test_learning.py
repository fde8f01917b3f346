"""One network of each family learns 64 images by heart; `learning.py` tries them all."""

import pytest

from models.initialization import init_weights
from tests.models.learning import LEARNED, steps_to_learn


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("lenet.LeNet5", "alexnet.AlexNet", "vgg.vgg11", "nin.NiN", "googlenet.GoogLeNet"),
        *("resnet.resnet18", "densenet.DenseNet", "densenet.densenet121"),
    ],
)
def test_learns_64_images_by_heart(name):
    _, accuracy = steps_to_learn(name)
    assert accuracy >= LEARNED


@pytest.mark.slow
def test_a_network_that_starts_wrong_does_not():
    """NiN from Kaiming's start alone, where classes are dead."""
    _, accuracy = steps_to_learn("nin.NiN", lambda net: net.apply(init_weights))
    assert accuracy < 0.8
