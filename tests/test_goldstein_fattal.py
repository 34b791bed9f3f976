"""Goldstein–Fattal: each step's own law, then the whole method."""

import torch
from skimage import data
from torch.nn.functional import conv2d

from deepblur.baselines import goldstein_fattal


def test_a_seed_fixes_the_result_and_another_makes_other_tries():
    sharp = torch.from_numpy(data.camera()[100:246, 180:326] / 255.0).float()
    blurry = conv2d(sharp[None, None], torch.full((1, 1, 1, 5), 0.2))[0, 0]
    first, same, other = (goldstein_fattal(blurry, 9, seed, tries=3, inner=30) for seed in (1, 1, 2))
    assert torch.equal(first.psf, same.psf)
    assert torch.equal(first.image, same.image)
    assert not torch.equal(first.psf, other.psf)
    assert first.image.shape == blurry.shape
    assert first.psf.shape == (9, 9)
