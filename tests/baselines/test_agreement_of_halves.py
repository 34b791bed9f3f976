"""Agreement of PSFs: a measure that is symmetric and blind to a turn; halves of images that are large enough."""

import pytest
import torch
from torch.testing import assert_close

from deepblur.baselines import SpectralIdentifier
from deepblur.baselines.agreement import CEILING_DB, agreement_db, halves
from deepblur.operators import UniformGamma, ZernikeBlur


def test_agreement_is_symmetric_and_does_not_see_a_turn(rng):
    a, b = ZernikeBlur().psf(UniformGamma(0.1, 7).sample(2, rng))[:, 0]
    assert agreement_db(a, b) == pytest.approx(agreement_db(b, a))
    assert agreement_db(a, b.flip(0, 1)) == pytest.approx(agreement_db(a, b))
    assert agreement_db(a, a.flip(0, 1)) == agreement_db(a, a) == CEILING_DB
    assert 0 < agreement_db(a, b) < 30
    assert agreement_db(a, a + 0.1 * a) == pytest.approx(10 * torch.log10(torch.tensor(1.105 / 0.01)).item())


@pytest.mark.parametrize(("shape", "side"), [((128, 256), (128, 128)), ((300, 200), (150, 200)), ((257, 257), None)])
def test_halves_are_cut_across_the_longer_side_and_together_are_the_image(shape, side):
    y = torch.rand(shape)
    parts = halves(y, 64)
    assert parts is not None
    along = int(shape[1] > shape[0])
    assert_close(torch.cat(parts, along), y)
    assert side is None or parts[0].shape == side


@pytest.mark.parametrize("shape", [(255, 255), (127, 400)])
def test_small_images_are_not_halved(shape):
    assert halves(torch.rand(shape), 64) is None
    assert SpectralIdentifier(ZernikeBlur()).agreement_db(torch.rand(shape)) is None


def test_halves_of_one_blur_agree_and_those_of_two_blurs_less(rng):
    operator = ZernikeBlur(noll=(4, 5, 7))
    x = torch.randn(1, 1, 190, 350, generator=rng).cumsum(-1).cumsum(-2)
    x = (x - x.min()) / (x.max() - x.min())
    gamma = torch.tensor([[0.12, -0.1, 0.1], [0.0, 0.02, 0.0]])
    one, other = operator.forward(x.expand(2, -1, -1, -1), gamma)[:, 0]
    identifier = SpectralIdentifier(operator, starts=8)
    torn = torch.cat([one[:, :160], other[:, 160:]], 1)
    alike, unlike = identifier.agreement_db(one), identifier.agreement_db(torn)
    assert alike > unlike + 3
    assert identifier.agreement_db(one) == alike
