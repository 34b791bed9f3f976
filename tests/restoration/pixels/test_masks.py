"""Masks: pixels that say nothing are filled before a blur is read, and stay as they are."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import deepblur
from deepblur import cli
from deepblur.operators import ZernikeBlur
from deepblur.platform.system.errors import InputError
from deepblur.restoration.pixels.filling import filled
from deepblur.restoration.pixels.masks import Mask

LENS = ZernikeBlur()
GAMMA = torch.tensor([[0.05, -0.08, 0.08, 0.03, -0.05, 0.02, 0.05]])
PSF = LENS.psf(GAMMA)[0, 0].numpy()


@pytest.fixture(scope="module")
def burnt():
    """(image of 16 bit with a grid of lines burnt in, the same without, mask)."""
    scene = torch.from_numpy(data.camera()[100:330, 130:400] / 255.0)[None, None].float()
    clean = np.rint(LENS.forward(scene, GAMMA)[0, 0].numpy().clip(0, 1) * 40_000).astype(np.uint16)
    hidden = np.zeros(clean.shape, bool)
    hidden[20:24, 30:200] = hidden[100:160, 60:64] = hidden[150:170, 150:190] = True
    return np.where(hidden, 65_535, clean).astype(np.uint16), clean, hidden


def test_what_is_hidden_decides_nothing_and_stays(burnt):
    image, clean, hidden = burnt
    other = np.where(hidden, 7, clean).astype(np.uint16)
    found, same = (deepblur.restore(y, method="spectral", cutoff=0.2, restorer="wiener", mask=hidden)
                   for y in (image, other))  # fmt: skip
    assert np.array_equal(found.psf, same.psf)
    assert np.array_equal(found.image[hidden], image[hidden])
    assert np.array_equal(found.image[~hidden], same.image[~hidden])
    assert any(f"{hidden.sum()} pixels" in remark for remark in found.report.remarks)


def test_a_mask_saves_the_psf(burnt):
    image, _, hidden = burnt
    with_mask, without = (
        deepblur.restore(image, method="spectral", cutoff=0.2, restorer="wiener", **more).psf
        for more in ({"mask": hidden}, {})
    )
    error, ruined = (((psf - PSF) ** 2).sum() / (PSF**2).sum() for psf in (with_mask, without))
    assert error < 0.05 < ruined


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_filling_goes_on_from_the_surroundings(dtype):
    rows, columns = np.mgrid[:37, :50]
    ramp = (2.0 * rows + columns).astype(dtype)
    hidden = np.zeros(ramp.shape, bool)
    hidden[5:25, 10:30] = hidden[-3:] = True
    found = filled(np.where(hidden, 200, ramp).astype(dtype), hidden)
    assert found.dtype == dtype
    assert np.array_equal(found[~hidden], ramp[~hidden])
    assert np.abs(found.astype(float) - ramp)[5:25, 10:30].max() < 20  # of 122
    assert filled(ramp, np.zeros(ramp.shape, bool)) is ramp


def test_filling_takes_constants_as_they_are():
    hidden = np.random.default_rng(0).random((33, 20)) < 0.6
    assert np.allclose(filled(np.where(hidden, np.nan, 3.0), hidden), 3.0)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.ones((40, 50)), "marks 100 % of the pixels"),
        (np.zeros((40, 50, 3)), r"a mask is an array \(H, W\) of numbers; got \(40, 50, 3\)"),
        (np.full((40, 50), np.nan), "NaN or infinite"),
        (np.array([["a"]]), "of numbers"),
    ],
)
def test_what_is_no_mask_is_one_sentence(mask, words):
    with pytest.raises(InputError, match=words):
        Mask.of(mask)


def test_a_mask_has_the_size_of_the_image(burnt):
    with pytest.raises(InputError, match="the mask the array has 40x50 pixels and the image 200x240"):
        deepblur.restore(burnt[1], method="spectral", mask=np.zeros((40, 50)))


def test_the_command_notices_another_mask(burnt, tmp_path, capsys):
    image, _, hidden = burnt
    Image.fromarray(image[:100, :100]).save(tmp_path / "a.png")
    line = [
        "restore",
        tmp_path / "a.png",
        "-o",
        tmp_path / "out",
        "--psf",
        tmp_path / "psf.tif",
        "--restorer",
        "wiener",
    ]
    assert cli.main(["psf", "--cutoff", "0.2", "-o", str(tmp_path / "psf.tif")]) == 0
    capsys.readouterr()

    def restored(mask):
        Image.fromarray(mask[:100, :100].astype(np.uint8) * 255).save(tmp_path / "mask.png")
        more = ["--mask", tmp_path / "mask.png", "--no-pictures", "--json"]
        assert cli.main([str(word) for word in (*line, *more)]) == 0
        return json.loads(capsys.readouterr().out)["images"][0]

    less = hidden.copy()
    less[:30] = False
    assert [restored(mask)["status"] for mask in (less, less, hidden)] == ["done", "kept", "done"]
    with Image.open(tmp_path / "out" / "a_restored.png") as picture:
        stored = np.asarray(picture)
    seen = hidden[:100, :100]
    assert np.array_equal(stored[seen], image[:100, :100][seen])
