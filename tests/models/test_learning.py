"""One network of each family learns 256 images by heart; `learning.py` tries them all."""

import pytest

from tests.models.learning import STEPS, steps_to_learn


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lenet.LeNet5", {}),
        ("alexnet.AlexNet", {}),
        ("vgg.vgg11", {"batch_norm": True}),  # without takes minutes
        ("nin.NiN", {}),
        ("googlenet.GoogLeNet", {}),
        ("resnet.resnet18", {}),
        ("densenet.DenseNet", {}),
        ("densenet.densenet121", {}),
    ],
)
def test_learns_256_images_by_heart(name, options):
    steps, accuracy = steps_to_learn(name, **options)
    assert accuracy >= 0.99
    assert steps <= STEPS
