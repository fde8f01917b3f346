"""One network of each family learns 256 images by heart; `learning.py` tries them all."""

import pytest

from tests.models.learning import STEPS, steps_to_learn


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("lenet.LeNet5", "alexnet.AlexNet", "vgg.vgg11", "nin.NiN", "googlenet.GoogLeNet"),
        *("resnet.resnet18", "densenet.DenseNet", "densenet.densenet121"),
    ],
)
def test_learns_256_images_by_heart(name):
    steps, accuracy = steps_to_learn(name)
    assert accuracy >= 0.99
    assert steps <= STEPS
