"""IN's readings: turned back, of one twin, in windows; and their standard deviation from the card."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from deepblur.operators import NoiseRange, ZernikeBlur, symmetries_of
from deepblur.platform.data.observations import Degradation
from deepblur.platform.data.sources import DeadLeaves
from deepblur.platform.data.store import open_store
from deepblur.platform.models import readings
from deepblur.platform.models.calibration import calibrate, signed_error
from deepblur.platform.models.model import BlindModel
from deepblur.platform.models.readings import conclude, identify, one_twin, read, window_px
from deepblur.platform.models.uncertainty import calibrated_std, fit_level
from deepblur.platform.system.errors import InputError, ModelError

LENS = ZernikeBlur(noll=(4, 5, 6, 7, 8), psf_size=15)
GAMMA = torch.tensor([[0.05, -0.08, 0.03, 0.06, -0.02]])


class Oracle(nn.Module):
    """Knows the sharp image and says the γ of the symmetry that it finds; every second answer is the twin."""

    min_size = 8

    def __init__(self, y):
        super().__init__()
        self.known = [(s.image(y), s.gamma(LENS, GAMMA)) for s in symmetries_of(LENS)]
        self.calls = 0

    def forward(self, images):
        found = []
        for image in images[:, None]:
            gamma = next(g for known, g in self.known if known.shape == image.shape and torch.equal(known, image))
            found.append(LENS.twin(gamma) if self.calls % 2 else gamma)
            self.calls += 1
        return torch.cat(found)


class Corner(nn.Module):
    """Reads the mean of its window, so that windows differ."""

    min_size, window_px = 8, 16

    def forward(self, images):
        return images.mean((1, 2, 3))[:, None].expand(-1, 5) * torch.tensor([1.0, 0, 0, 0, 0])


def model(identifier, card=None, operator=LENS):
    return BlindModel(operator, identifier, nn.Identity(), card or {})


def test_readings_are_turned_back_and_brought_to_one_twin(rng):
    y = torch.rand(1, 1, 20, 31, generator=rng)
    found = identify(model(Oracle(y)), y)
    assert_close(found.gamma, GAMMA[0], rtol=0, atol=1e-7)
    assert_close(found.std, torch.zeros(5), rtol=0, atol=1e-7)
    assert (found.views, found.calibrated) == (8, False)


def test_of_the_twins_the_answer_to_the_image_as_it_is_wins(draw):
    sides = (GAMMA + 0.01 * draw(8, 5).float())[None]
    sides[:, 1::2] = LENS.twin(sides[0, 1::2])[None]
    found = one_twin(LENS, sides)[0]
    assert_close(found, GAMMA.expand(8, 5), rtol=0, atol=0.04)
    even = torch.tensor(LENS.even)
    swapped = one_twin(LENS, torch.where(even, -sides, sides))[0]
    assert_close(swapped, torch.where(even, -found, found), rtol=0, atol=0)


def test_nothing_is_flipped_where_there_is_no_twin(draw):
    gamma = draw(2, 8, 5)
    defocused = ZernikeBlur(LENS.noll, psf_size=15, z_px=1.0, wavenumber=0.5)
    assert torch.equal(one_twin(defocused, gamma), gamma)
    assert torch.equal(one_twin(ZernikeBlur(noll=(7, 8)), gamma[..., :2]), gamma[..., :2])


def test_a_large_image_is_read_in_a_bounded_number_of_windows_that_reach_its_corners(rng, monkeypatch):
    monkeypatch.setattr(readings, "_AT_ONCE", 4)
    y = torch.rand(1, 1, 90, 70, generator=rng)
    found = read(model(Corner()), y, windows=12)
    assert found.gamma.shape == (len(found.corners), 8, 5)
    assert len(found.corners) <= 12
    assert {(0, 0), (90 - 16, 70 - 16)} <= set(found.corners)
    sign = found.gamma[0, 0, 0].sign()  # one twin for all
    for (row, column), gamma in zip(found.corners, found.gamma, strict=True):
        mean = y[..., row : row + 16, column : column + 16].mean()
        assert_close(gamma[:, 0], sign * mean.expand(8))
    parts = [conclude(model(Corner()), part) for part in found.windows()]
    assert_close(torch.stack([part.gamma for part in parts]), found.gamma.mean(1))
    assert len(read(model(Corner()), y, windows=1).corners) == 1


def test_the_card_decides_the_window_before_the_network(rng):
    assert window_px(model(Corner())) == 16
    assert window_px(model(Corner(), {"trained": {"crop_px": 24}})) == 24
    assert window_px(model(Corner(), {"trained": {"crop_px": "?"}})) == 16


def test_what_cannot_be_identified_is_refused(rng):
    y = torch.rand(1, 1, 20, 31, generator=rng)
    with pytest.raises(ModelError, match="no identification network"):
        identify(model(None), y)
    with pytest.raises(InputError, match="at least 8x8 pixels; got 7x31"):
        identify(model(Corner()), y[..., :7, :])
    with pytest.raises(InputError, match=r"\(1, 1, H, W\).*got \(2, 1, 20, 31\)"):
        identify(model(Corner()), y.expand(2, -1, -1, -1))


def test_the_fit_finds_the_floor_and_the_factor_of_errors_made_with_them(draw):
    spread = draw(4000, 2).abs().numpy() * 0.02
    std = np.sqrt(np.array([0.01, 0.03]) ** 2 + (np.array([2.0, 0.5]) * spread) ** 2)
    level = fit_level(spread, draw(4000, 2).numpy() * std, 1)
    assert level["floor_waves"] == pytest.approx([0.01, 0.03], rel=0.15)
    assert level["factor"][0] == pytest.approx(2.0, rel=0.15)
    known = calibrated_std({"levels": [level]}, torch.tensor([0.02, 0.02]), 9)
    assert known.tolist() == pytest.approx([math.hypot(0.01, 0.04), math.hypot(0.03, 0.01)], rel=0.15)


def test_the_level_of_as_many_windows_is_taken_and_a_strange_entry_says_nothing():
    levels = [{"windows": n, "floor_waves": [0.0], "factor": [float(n)]} for n in (1, 4)]
    spread = torch.tensor([0.01])
    stds = [float(calibrated_std({"levels": levels}, spread, n)) for n in (1, 3, 4, 36)]
    assert stds == pytest.approx([0.01, 0.01, 0.04, 0.04])
    for entry in (None, {}, {"levels": []}, {"levels": [{}]}, {"levels": [levels[0] | {"factor": [math.nan]}]}, "x",
                  {"levels": [levels[0] | {"factor": [1.0, 2.0]}]}):  # fmt: skip
        assert calibrated_std(entry, spread, 1) is None


def test_errors_are_those_towards_the_nearer_twin(draw):
    gamma = 0.1 * draw(6, 5)
    error = 0.001 * draw(6, 5)
    twins = torch.cat([LENS.twin(gamma[:3]), gamma[3:]]) + error
    assert_close(signed_error(LENS, twins, gamma), error, rtol=1e-6, atol=1e-12)


def test_a_calibration_is_reproducible_and_makes_identify_say_so(tmp_path, rng):
    store = open_store((DeadLeaves(count=2, side_px=64, seed=3),), tmp_path, progress=False)
    degradation = Degradation(operator=LENS, eta_waves=0.1, noise=NoiseRange((0, 0), (0, 0.01)), crop_px=16)
    entry = calibrate(Corner(), degradation, store, draws=8)
    assert entry == calibrate(Corner(), degradation, store, draws=8)
    assert [level["windows"] for level in entry["levels"]] == [1, 4]
    assert [level["draws"] for level in entry["levels"]] == [32, 8]
    y = torch.rand(1, 1, 20, 31, generator=rng)
    found = identify(model(Corner(), {"uncertainty": entry}), y)
    assert found.calibrated
    assert found.std[1] == pytest.approx(entry["levels"][1]["floor_waves"][1])  # no spread there: the floor
