"""What counts as invented texture, and the study of ideal lenses in small."""

import math

import pandas as pd
import pytest
import torch

from deepblur.platform.experiment.main import main
from deepblur.studies.do_no_harm import FROM, STUDY, invented_texture


@pytest.fixture
def sharp():
    return torch.randn(96, 80, generator=torch.Generator().manual_seed(1))


def wave(frequency, amplitude=0.1, size=(96, 80)):
    return amplitude * torch.cos(2 * math.pi * frequency * torch.arange(size[1])).expand(size)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_sharp_image_and_what_is_left_of_it_is_not_invented(sharp, share):
    assert invented_texture(share * sharp + 0.2, sharp) < 1e-6


def test_contrast_beyond_the_truth_and_of_the_wrong_sign_is_invented(sharp):
    wrong = invented_texture(-sharp, sharp)
    assert wrong == pytest.approx(math.sqrt(1 - math.pi * FROM**2), rel=0.05)  # white: all that lies beyond the circle
    assert invented_texture(1.5 * sharp, sharp) == pytest.approx(0.5 * wrong, rel=1e-6)


def test_what_has_nothing_to_do_with_the_truth_is_invented_where_the_frequencies_are_high(sharp):
    high, low = (invented_texture(sharp + wave(frequency), sharp) for frequency in (0.3, 0.1))
    assert high == pytest.approx(0.1 / math.sqrt(2), rel=0.05)
    assert low < 0.01 * high
    noise = 0.05 * torch.randn(sharp.shape, generator=torch.Generator().manual_seed(2))
    smooth = wave(0.05)
    assert invented_texture(smooth + noise, smooth) == pytest.approx(0.05 * math.sqrt(1 - math.pi * FROM**2), rel=0.05)


def test_the_ideal_lens_leaves_no_wavefront_to_find(tmp_path, capsys):
    where = ["--local", "--tracking-uri", "none", "--runs", str(tmp_path), "--images", "1", "--noise", "clean:0:0"]
    assert main(STUDY, [*where, "--arms", "true + TV,spectral + TV,blurry"]) == 0
    (file,) = tmp_path.glob("studies/*/items.parquet")
    table = pd.read_parquet(file).set_index("arm")
    assert set(table.eta_waves) == {0.0}
    assert 0 < table.wavefront_error_waves["spectral + TV"] < 0.5
    assert table.wavefront_error_waves["true + TV"] == 0
    assert table.psnr_db["true + TV"] > table.psnr_db["blurry"]
    assert 0 < table.invented_texture["blurry"] < 1e-3
    log = capsys.readouterr().out
    assert "wavefront error (waves)" in log
    assert "invented texture" in log
