"""Dead leaves have the statistics that make them worth training on."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from deepblur.platform.data.dead_leaves import dead_leaves


def test_the_power_spectrum_falls_as_that_of_photographs(rng):
    side = 128
    grey = dead_leaves(16, (side, side), rng)[:, 0]
    window = torch.hann_window(side)
    power = torch.fft.fft2((grey - grey.mean((1, 2), keepdim=True)) * window[:, None] * window).abs().square().mean(0)
    axis = torch.fft.fftfreq(side)
    frequency = (axis[:, None].square() + axis.square()).sqrt()
    edges = np.geomspace(0.02, 0.4, 9)
    bands = [power[(frequency >= a) & (frequency < b)].mean().item() for a, b in pairwise(edges)]
    slope = np.polyfit(np.log(np.sqrt(edges[1:] * edges[:-1])), np.log(bands), 1)[0]
    assert -2.6 < slope < -1.9


def test_pictures_fill_the_grey_range_and_have_soft_edges(rng):
    grey = dead_leaves(4, (60, 90), rng, shading=0.0)
    assert grey.shape == (4, 1, 60, 90)
    assert grey.dtype == torch.float32
    assert 0 <= grey.min() < 0.05
    assert 0.95 < grey.max() <= 1
    assert abs(grey.mean() - 0.5) < 0.1
    flat = (grey[..., 1:] == grey[..., :-1]).float().mean()
    assert 0.2 < flat < 0.8  # flat insides, averaged rims


def test_a_generator_decides_everything():
    first, again, other = (dead_leaves(2, (40, 40), torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"min_radius_px": 20}, r"0 < min_radius_px < max_radius_px; got 20 and 10\.\d* for 32x40 pixels"),
        ({"min_radius_px": 0}, "got 0 and"),
        ({"shading": -0.1}, "at least 0; got -0.1"),
    ],
)
def test_impossible_discs_are_refused(rng, keywords, text):
    with pytest.raises(ValueError, match=text):
        dead_leaves(1, (32, 40), rng, **keywords)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_draws_as_fast_as_it_trains():
    rng = torch.Generator("cuda").manual_seed(0)
    grey = dead_leaves(16, (256, 256), rng)
    assert grey.device.type == "cuda"
    assert abs(grey.mean().item() - 0.5) < 0.1
