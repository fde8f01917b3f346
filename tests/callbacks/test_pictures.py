"""The content of pictures, in gray and in colour."""

import pytest
import torch
from torch import nn

from callbacks.mistakes import Mistakes
from callbacks.pictures import draw_confusion_matrix, draw_mistakes, first_filters, visible
from datamodules import Digits
from tests.datamodules.colours import Colours


@pytest.mark.parametrize("data", [Digits(), Digits(channels=3), Colours()])
def test_images_are_shown_before_normalisation(data):
    data.setup("fit")
    images = data.splits["train"].images[:5]
    shown = visible(data.preprocess_images(images, is_training=False), data)
    assert torch.allclose(shown, images / 255, atol=1e-6)  # a repeated channel is shown once


def test_mistakes_are_drawn_in_colour():
    data = Colours()
    data.setup("fit")
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1).expand(-1, -1, 32, 32)
    images = data.preprocess_images(red, is_training=False)
    one = torch.ones(1, dtype=torch.long)
    figure = draw_mistakes(Mistakes(torch.tensor([0.9]), one, one * 2, images), data)
    (drawn,) = figure.axes[0].get_images()
    assert drawn.get_array().mean((0, 1)).tolist() == pytest.approx([1, 0, 0], abs=1e-5)


def test_filters_are_in_colour_for_colour_images():
    convolution = nn.Conv2d(3, 2, 3, bias=False)
    with torch.no_grad():
        convolution.weight.zero_()[:, 0] = 1  # red
    grid = first_filters(nn.Sequential(convolution))
    red, *others = grid[:, 10, 10].tolist()
    assert red > max(others)
    gray = first_filters(nn.Sequential(nn.Conv2d(1, 2, 3)))
    assert torch.equal(gray[0], gray[2])


def test_many_classes_have_no_numbers_in_their_cells():
    number = 120
    figure = draw_confusion_matrix(
        torch.eye(number) * 7, tuple(f"class {i}" for i in range(number))
    )
    assert not figure.axes[0].texts
    assert max(figure.get_size_inches()) <= 16
