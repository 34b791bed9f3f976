"""A PSF that one has: what is done to it, what cannot be one, and restoring with it without identification."""

import json

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from skimage import data

import deepblur
from deepblur import cli
from deepblur.operators import ZernikeBlur
from deepblur.platform.evaluation.metrics import psnr_db
from deepblur.platform.system.errors import InputError, ModelError
from deepblur.restoration.engines.measured_psf import measured_psf

LENS = ZernikeBlur()
GAMMA = torch.tensor([[0.05, -0.08, 0.08, 0.03, -0.05, 0.02, 0.05]])
PSF = LENS.psf(GAMMA)[0, 0].numpy()
POINT = np.pad(PSF / PSF.max(), ((9, 13), (14, 6)))


def bead(snr=60, offset=100.0, seed=0):
    """(53, 51) float, the image of a point, off centre, on a background, with noise."""
    noise = np.random.default_rng(seed).standard_normal(POINT.shape)
    return offset + 10 * (snr * POINT + noise)


@pytest.fixture(scope="module")
def sharp():
    return torch.from_numpy(data.camera()[60:230, 120:300] / 255).float()


@pytest.fixture(scope="module")
def blurry(sharp):
    y = LENS.forward(sharp[None, None], GAMMA)[0, 0]
    return y + 0.005 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))


def snr_db(psf):
    """Of a PSF against the true one, at the best shift."""
    side = max(len(psf), len(PSF)) + 8
    one, true = (np.pad(p, ((side - len(p)) // 2, (side - len(p) + 1) // 2)) for p in (psf, PSF))
    at = [np.roll(one, (i, j), (0, 1)) for i in range(-4, 5) for j in range(-4, 5)]
    return -10 * np.log10(min(((moved - true) ** 2).sum() for moved in at) / (true**2).sum())


def test_a_finished_psf_is_taken_as_it_is():
    found = measured_psf(PSF)
    assert np.array_equal(found.psf, PSF)
    assert found.done == "taken as it is"


@pytest.mark.parametrize(("snr", "least_db"), [(20, 13), (60, 19), (500, 28)])
def test_the_image_of_a_point_becomes_a_psf(snr, least_db):
    found = measured_psf(bead(snr))
    assert found.psf.shape[0] == found.psf.shape[1] <= 53
    assert found.psf.shape[0] % 2 == 1
    assert found.psf.min() >= 0
    assert abs(found.psf.sum() - 1) < 1e-5
    rows, columns = np.indices(found.psf.shape) - len(found.psf) // 2
    assert max(abs((found.psf * rows).sum()), abs((found.psf * columns).sum())) < 0.6
    assert snr_db(found.psf) > least_db
    for words in ("background of ", "set to 0", "recentred by ", "cut to ", "normalised"):
        assert words in found.done


def test_tails_are_no_background():
    found = measured_psf(1000 * PSF)
    assert "background" not in found.done
    assert snr_db(found.psf) > 40


def test_photons_that_are_counted_have_a_background_where_it_is_low():
    counts = np.random.default_rng(0).poisson(3 + 400 * POINT).astype(np.uint16)
    found = measured_psf(counts)
    assert "background of 3 subtracted" in found.done
    assert snr_db(found.psf) > 13


def test_the_sharpest_plane_of_a_stack_counts(tmp_path):
    blunt = ZernikeBlur(noll=(4,), psf_size=53).psf(torch.tensor([[0.25]]))[0, 0].numpy()[:, 1:52]
    stack = np.stack([100 + 4e3 * blunt, bead(300), 100 + 4e3 * blunt[::-1]]).astype(np.uint16)
    tifffile.imwrite(tmp_path / "bead.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    found = measured_psf(tmp_path / "bead.tif")
    assert found.done.startswith("z=1, the sharpest of 3 planes, taken, ")
    assert snr_db(found.psf) > 25


def test_psf_size_cuts_it():
    found = measured_psf(PSF, 15)
    assert found.psf.shape == (15, 15)
    assert "cut to 15x15 pixels (" in found.done
    assert abs(found.psf.sum() - 1) < 1e-5


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("rgb", [False, True])
def test_any_type_of_file_will_do_and_grey_that_is_stored_as_colour(kind, rgb, tmp_path):
    values = bead(60, 50).clip(0) / 4
    values = np.rint(values).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", np.stack([values] * 3, -1) if rgb else values,
                     photometric="rgb" if rgb else "minisblack")  # fmt: skip
    assert snr_db(measured_psf(str(tmp_path / "a.tif")).psf) > 15


TWO = bead(100) + 10 * 60 * np.roll(POINT, (18, 18), (0, 1))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.ones((15, 15)), "every pixel has the value 1"),
        (np.full((15, 15), np.nan), "NaN"),
        (PSF > 0.01, "booleans"),
        (PSF * 1j, "complex"),
        (PSF.ravel(), r"got an array of shape \(961,\)"),
        (np.zeros((1500, 40)), "at most 1023 pixels a side"),
        (PSF[:2], "at least 3 px"),
        (-PSF, "go further down"),
        (PSF - 0.3 * np.roll(PSF, (7, 7), (0, 1)), "of its light in negative values"),
        (np.random.default_rng(0).standard_normal((41, 41)), "nothing stands out of its background"),
        (bead(4), "nothing stands out of its background"),
        (TWO, "2 separate peaks"),
        (bead()[:, 30:], "lies at the border"),
        (np.add.outer(np.arange(41.0), np.arange(41.0)), "goes on to the border"),
    ],
)
def test_what_cannot_be_a_psf_is_refused_in_one_sentence(image, words):
    with pytest.raises(InputError, match=words) as refused:
        measured_psf(image)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: path.touch(), "empty"),
        (lambda path: path.write_bytes(b"II*\0 and no more"), "has no page"),
        (lambda path: Image.fromarray(data.astronaut()[:64, :64]).save(path), "has colours"),
        (lambda path: tifffile.imwrite(path, np.zeros((2, 64, 64)) + bead()[0, 0], imagej=False,
                                       metadata={"axes": "CYX"}), "has 2 channels"),
        (lambda path: path.mkdir(), "folder"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_in_one_sentence(write, words, tmp_path):
    write(tmp_path / "a.tif")
    with pytest.raises(InputError, match=words) as refused:
        measured_psf(tmp_path / "a.tif")
    assert "a.tif" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("restorer", ["auto", "deblur", "tv", "wiener", "richardson-lucy"])
def test_a_given_psf_is_removed_without_identification(restorer, sharp, blurry):
    found = deepblur.restore(blurry.numpy(), psf=PSF, restorer=restorer)
    truth = sharp[None, None, 15:-15, 15:-15]
    before, after = (float(psnr_db(torch.as_tensor(y)[None, None], truth, 15)) for y in (blurry, found.image))
    assert after > before + 3
    assert found.report.verdict == ("doubtful" if restorer == "deblur" else "good")
    assert found.gamma is None
    assert np.array_equal(found.psf, PSF)
    assert found.report.notes == ("the PSF of the array: taken as it is",)
    described = found.report.as_json()
    assert described["restorer"] == restorer.replace("auto", "tv")
    assert described["psf"]["done"] == "taken as it is"
    assert described["options"]["psf"] == "array"
    assert ("weights" in described) == (restorer == "deblur")


def test_a_wrong_psf_is_called_wrong(blurry):
    other = ZernikeBlur(noll=(4,)).psf(torch.tensor([[0.2]]))[0, 0].numpy()
    assert deepblur.restore(blurry.numpy(), psf=other, restorer="wiener").report.verdict == "poor"


def test_a_network_has_seen_other_psfs_and_not_any_noise(blurry):
    noisy = blurry + 0.5 * torch.randn(blurry.shape, generator=torch.Generator().manual_seed(1))
    report = deepblur.restore(noisy.numpy(), psf=PSF, model="compact", scale="range:0,1").report
    assert report.restorer == "deblur"
    assert report.verdict == "doubtful"
    for words in ("is above the", "was trained for lenses of the cutoff 0.2"):
        assert any(words in flag for flag in report.blurs[0].flags)


def test_channels_that_have_one_psf_are_doubted_unless_they_share_it(blurry):
    two = np.stack([blurry.numpy()] * 2)
    apart, shared = (
        deepblur.restore(two, axes="CYX", psf=PSF, restorer="wiener", channels=channels).report
        for channels in ("auto", "shared")
    )
    assert "each wavelength has its own" in apart.sentence
    assert (apart.verdict, shared.verdict) == ("doubtful", "good")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "l0"}, "nothing is identified; leave out --method l0, or --psf"),
        ({"cutoff": 0.2, "eta": 0.1}, "leave out --eta 0.1, --cutoff 0.2, or --psf"),
        ({"optics": "scope.safetensors"}, "leave out --optics scope.safetensors, or --psf"),
        ({"model": "compact", "restorer": "tv"}, "--restorer tv takes no model; leave out --model compact"),
    ],
)
def test_what_a_given_psf_makes_void_is_one_sentence(options, words, blurry):
    with pytest.raises(ModelError, match=words):
        deepblur.restore(blurry.numpy(), psf=PSF, **options)


def test_one_psf_does_not_vary_and_is_not_larger_than_the_image(blurry):
    with pytest.raises(ValueError, match="leave out --varying, or --psf"):
        deepblur.restore(blurry.numpy(), psf=PSF, varying=True)
    with pytest.raises(InputError, match="151x151 pixels is larger than the image, 140x150; cut it with --psf-size"):
        deepblur.restore(blurry.numpy(), psf=np.pad(PSF, 60))


def test_the_command_restores_with_a_measured_psf_and_says_what_was_done(blurry, tmp_path, capsys):
    Image.fromarray((blurry.numpy().clip(0, 1) * 255).astype(np.uint8)).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "bead.tif", bead(100).astype(np.uint16))

    def restored(*more):
        line = ("restore", tmp_path / "a.png", "-o", tmp_path / "out", "--restorer", "wiener", "--json", *more)
        code = cli.main([str(word) for word in line])
        said = capsys.readouterr()
        return code, said.err, json.loads(said.out)["images"][0] if said.out else None

    code, said, report = restored("--psf", tmp_path / "bead.tif")
    assert (code, report["status"], report["verdict"]) == (0, "done", "good")
    assert "note: the PSF of bead.tif: background of " in said
    assert report["options"]["psf"] == str(tmp_path / "bead.tif")
    assert report["blurs"][0]["gamma"] == []
    assert (tmp_path / "out" / "a_overview.png").is_file()
    assert not (tmp_path / "out" / "a_gamma.csv").exists()
    assert np.array_equal(
        np.squeeze(tifffile.imread(tmp_path / "out" / "a_psf.tif")), measured_psf(tmp_path / "bead.tif").psf
    )
    assert restored("--psf", tmp_path / "bead.tif")[2]["status"] == "kept"
    tifffile.imwrite(tmp_path / "bead.tif", bead(100, seed=1).astype(np.uint16))
    assert restored("--psf", tmp_path / "bead.tif")[2]["status"] == "done"
    code, said, report = restored("--psf", tmp_path / "nothing.tif")
    assert (code, report) == (4, None)
    assert "nothing.tif: there is no such file" in said


def test_pixels_of_another_size_are_refused(blurry, tmp_path, capsys):
    tifffile.imwrite(tmp_path / "a.tif", blurry.numpy(), resolution=(1e5, 1e5), resolutionunit="CENTIMETER")
    tifffile.imwrite(tmp_path / "psf.tif", PSF, resolution=(2e5, 2e5), resolutionunit="CENTIMETER")
    line = ("restore", tmp_path / "a.tif", "-o", tmp_path / "out", "--psf", tmp_path / "psf.tif", "--no-pictures")
    assert cli.main([str(word) for word in (*line, "--restorer", "wiener")]) == 4
    assert "a pixel of the image is 0.1 µm wide, one of psf.tif 0.05 µm" in capsys.readouterr().err
