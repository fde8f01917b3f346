"""The pictures of clothes that docs/photographs.md has figures of."""

import numpy as np
import pytest

from tools.read_clothes import BACKGROUNDS, draw_picture


@pytest.mark.parametrize("kind", BACKGROUNDS)
def test_a_thing_is_as_dark_as_the_product_was(kind):
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 8:20] = 200
    rng = np.random.default_rng(0)
    picture = np.array(draw_picture(kind, image, rng), int)
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    is_even = np.abs(border - np.median(border, 0)).mean() < 5
    assert is_even == (kind != "uneven")
    expected = 200 if kind == "black" else 255 - 200
    is_thing = np.abs(picture - expected).max(2) < 20
    rows, columns = (np.flatnonzero(is_thing.mean(axis) > 0.1) for axis in (1, 0))
    assert np.ptp(rows) / np.ptp(columns) == pytest.approx(20 / 12, rel=0.15)
    assert 0.9 * 200 * 20 / 28 < np.ptp(rows) < 1.1 * 800 * 20 / 28
