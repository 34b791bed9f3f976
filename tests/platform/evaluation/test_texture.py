"""Texture measures on patterns whose values are known, against scikit-image, and on photographs."""

import numpy as np
import pytest
import skimage.data
import torch
from skimage.filters import sobel
from torch.testing import assert_close

from deepblur.platform.evaluation.texture import edge_density, local_std


def values(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def ramp(slope, *, rows=20, columns=26):
    """(1, 1, rows, columns), rising by `slope` per pixel in both directions."""
    return slope * (torch.arange(rows, dtype=torch.float64)[:, None] + torch.arange(columns))[None, None]


@pytest.mark.parametrize("level", [0.0, 0.7])
def test_a_constant_image_has_neither(level):
    image = torch.full((2, 1, 12, 15), level)
    assert_close(local_std(image), values(0, 0))
    assert_close(edge_density(image), values(0, 0))


def test_a_chequerboard_of_even_windows_has_the_deviation_of_its_two_levels():
    image = 0.2 + 0.6 * (torch.arange(12)[:, None] + torch.arange(16)).remainder(2).double()[None, None]
    assert_close(local_std(image, 4), values(0.3))


def test_a_ramp_has_the_deviation_of_its_window():
    one_axis = (9**2 - 1) / 12  # variance of nine steps
    assert_close(local_std(ramp(0.03), 9), values(0.03 * np.sqrt(2 * one_axis)))


def test_the_local_deviation_is_the_mean_over_windows(draw):
    images = 5 + draw(3, 1, 11, 14)
    windows = images.unfold(2, 5, 1).unfold(3, 5, 1).flatten(-2)
    assert_close(local_std(images, 5), windows.std(-1, correction=0).mean((1, 2, 3)))


def test_an_edge_is_steeper_than_the_threshold():
    slope = 0.05 / np.sqrt(2)
    assert_close(edge_density(torch.cat([ramp(1.01 * slope), ramp(0.99 * slope)])), values(1, 0))
    step = torch.zeros(1, 1, 10, 22)
    step[..., 11:] = 1
    assert_close(edge_density(step), values(2 / 20))  # a step is seen from both sides


def test_the_gradient_is_scikit_images(draw):
    image = draw(1, 1, 17, 21)
    gradient = sobel(image[0, 0].numpy())[1:-1, 1:-1] / np.sqrt(2)  # there a ramp of a per pixel has √2·a
    fraction = (gradient > 0.3).mean()
    assert 0.1 < fraction < 0.9
    assert_close(edge_density(image, 0.3), values(fraction))


def test_photographs_are_told_apart_alone_and_in_a_batch():
    photographs = [skimage.data.moon(), skimage.data.camera()[150:], skimage.data.coins()]  # dust, a man, metal
    images = torch.from_numpy(np.stack([p[:200, :200] / 255 for p in photographs])).float()[:, None]
    for measure in (local_std, edge_density):
        found = measure(images)
        assert_close(found, torch.cat([measure(images[i : i + 1]) for i in range(3)]))
        assert (found.diff() > 0).all()


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda: local_std(torch.zeros(1, 1, 8, 20)), r"at least 9x9 pixels; got \(1, 1, 8, 20\)"),
        (lambda: edge_density(torch.zeros(1, 1, 2, 20)), r"at least 3x3 pixels"),
        (lambda: edge_density(torch.zeros(1, 3, 9, 9)), r"got \(1, 3, 9, 9\); average the channels"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(act, text):
    with pytest.raises(ValueError, match=text):
        act()
