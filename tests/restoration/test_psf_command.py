"""`deepblur psf`: the PSF of a lens as a file, which `restore --psf` takes as it is."""

import json

import numpy as np
import pytest
import tifffile
import torch

from deepblur import cli
from deepblur.operators import ZernikeBlur
from deepblur.restoration.batch.psf import psf_file
from deepblur.restoration.engines.measured_psf import measured_psf


def call(*arguments):
    return cli.main([str(a) for a in arguments])


def test_the_file_holds_the_psf_of_the_lens_and_restore_takes_it_as_it_is(tmp_path, capsys):
    out = tmp_path / "new" / "psf.tif"
    assert call("psf", "--cutoff", 0.15, "--noll", 4, 11, "--gamma", 0.05, -0.1, "-o", out) == 0
    said = capsys.readouterr().out
    assert f"-> {out}: 41x41 pixels" in said
    assert "primary spherical" in said
    stored = tifffile.imread(out)
    assert stored.dtype == np.float32
    expected = ZernikeBlur(noll=(4, 11), cutoff=0.15, psf_size=41).psf(torch.tensor([[0.05, -0.1]]).double())[0, 0]
    assert np.abs(stored - expected.numpy()).max() < 1e-7
    assert sorted(file.name for file in out.parent.iterdir() if file.name[0] != ".") == [
        "psf.png", "psf.tif", "psf_report.json",
    ]  # fmt: skip
    found = measured_psf(out)
    assert found.done == "taken as it is"
    assert np.abs(found.psf - stored).max() < 1e-7


def test_a_lens_without_aberrations_has_the_strehl_ratio_one_and_marechal_holds_for_small_ones(tmp_path):
    ideal = psf_file(tmp_path / "a.tif", cutoff=0.2, pictures=False)
    assert ideal["strehl"] == 1
    assert [mode["waves"] for mode in ideal["gamma"]] == [0] * 7
    assert 0.02 < ideal["outside"] < 0.04
    small = psf_file(tmp_path / "b.tif", cutoff=0.2, noll=(5, 8), gamma=(0.03, 0.02), pictures=False)
    assert abs(small["strehl"] - np.exp(-((2 * np.pi) ** 2) * (0.03**2 + 0.02**2))) < 0.01


def test_only_its_own_file_is_replaced(tmp_path, capsys):
    line = ("psf", "--cutoff", 0.2, "-o", tmp_path / "psf.tif", "--json")
    assert call(*line) == 0
    assert json.loads(capsys.readouterr().out)["files"]["psf"] == "psf.tif"
    assert call(*line, "--psf-size", 21, "--no-pictures") == 0
    assert tifffile.imread(tmp_path / "psf.tif").shape == (21, 21)
    assert not (tmp_path / "psf.png").exists()
    tifffile.imwrite(tmp_path / "bead.tif", np.ones((9, 9), np.float32))
    before = (tmp_path / "bead.tif").read_bytes()
    capsys.readouterr()
    assert call("psf", "--cutoff", 0.2, "-o", tmp_path / "bead.tif") == 6
    assert "was not made by this command; choose another name" in capsys.readouterr().err
    assert (tmp_path / "bead.tif").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ((), 2, "say --cutoff"),
        (("--cutoff", "nan"), 2, "a cutoff is at least 0.001"),
        (("--na", 1.2, "--wavelength-nm", 520), 2, "was told, but you did not say the pixel size; say --pixel-nm too"),
        (("--cutoff", 0.6), 2, "lies in (0, 0.5]"),
        (("--cutoff", 0), 2, "a cutoff is at least 0.001"),
        (("--cutoff", 0.2, "--gamma", 0.1), 2, "each of the 7 modes"),
        (("--cutoff", 0.2, "--noll", 4, "--gamma", 1e9), 2, "--gamma is a number up to 100"),
        (("--cutoff", 0.2, "--psf-size", 30), 2, "odd sides"),
        (("--cutoff", 0.2, "--psf-size", 9999), 2, "--psf-size is at most 1023"),
        (("--cutoff", 0.2, "-o", "psf.png"), 6, "end the name with .tif"),
    ],
)
def test_what_is_no_lens_is_refused_in_one_sentence(options, code, words, tmp_path, capsys):
    assert call("psf", "-o", tmp_path / "psf.tif", *options) == code
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not list(tmp_path.glob("*.tif"))


def test_the_lens_can_be_said_in_its_own_words_and_the_file_says_the_pixel(tmp_path):
    report = psf_file(tmp_path / "a.tif", na=1.2, wavelength_nm=520, pixel_nm=65, pictures=False)
    assert report["cutoff"] == pytest.approx(0.15)
    assert report["optics"]["na"] == {"value": 1.2, "from": "told"}
    assert measured_psf(tmp_path / "a.tif").pixel_um == pytest.approx(0.065)
