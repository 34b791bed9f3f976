"""FITS, written by astropy: rows of NaN say nothing, are filled to be restored, and are NaN again in the result."""

import numpy as np
import pytest
from skimage import data

from deepblur.platform.system.errors import InputError
from deepblur.restoration.batch.restore import restore_files
from deepblur.restoration.formats.files import open_image, write_image
from deepblur.restoration.options import EngineChoice, Options
from deepblur.restoration.pixels.filling import filled

fits = pytest.importorskip("astropy.io.fits", reason="needs pip install 'deepblur[formats]'")

SKY = np.random.default_rng(0).normal(100, 10, (3, 40, 56)).astype(np.float32)
KINDS = ["uint8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64"]


def rimmed(sky=SKY):
    sky = sky.copy()
    sky[..., :4, :] = np.nan
    sky[..., -3:] = np.nan
    return sky


@pytest.mark.parametrize("dtype", KINDS)
def test_values_of_every_type_come_back(tmp_path, dtype):
    stored = (SKY[0] * 2**6).astype(dtype) if dtype != "uint8" else SKY[0].astype(dtype)
    if dtype.startswith("uint") and dtype != "uint8":
        stored[0, 0] = np.iinfo(dtype).max
    fits.writeto(tmp_path / "a.fits", stored)
    found = open_image(tmp_path / "a.fits")
    assert (found.axes, found.shape, found.dtype) == ("YX", (40, 56), dtype)
    np.testing.assert_array_equal(found.frame(0)[0], stored)
    write_image(tmp_path / "b.fits", found.frames(), found)
    with fits.open(tmp_path / "b.fits") as file:
        file.verify("exception")
        np.testing.assert_array_equal(file[0].data, stored)
    assert (tmp_path / "b.fits").stat().st_size == (tmp_path / "a.fits").stat().st_size


def test_a_rim_of_nan_is_filled_and_comes_back(tmp_path):
    header = fits.Header({"OBJECT": "M 31", "CRVAL1": 10.68})
    fits.writeto(tmp_path / "a.fits", rimmed(), header)
    found = open_image(tmp_path / "a.fits")
    assert (found.length, found.labels[2]) == (3, "page=2")
    blank = np.isnan(rimmed()[1])
    np.testing.assert_array_equal(found.frame(1)[0], filled(SKY[1], blank))
    np.testing.assert_array_equal(found.frame(1)[0][~blank], SKY[1][~blank])
    assert found.notes == (
        f"{np.isnan(rimmed()).sum()} of {SKY.size} pixels are NaN: filled from their surroundings to be restored, and "
        "NaN in the result",
    )
    write_image(tmp_path / "b.fits", (2 * frame for frame in found.frames()), found)
    with fits.open(tmp_path / "b.fits") as file:
        np.testing.assert_array_equal(file[0].data, 2 * rimmed())
        assert (file[0].header["OBJECT"], file[0].header["CRVAL1"]) == ("M 31", 10.68)


def test_blanks_and_scales_of_integers_are_what_they_stand_for(tmp_path):
    image = fits.PrimaryHDU(np.arange(40 * 56, dtype=np.int16).reshape(40, 56))
    image.header["BLANK"] = 5
    image.writeto(tmp_path / "a.fits")
    found = open_image(tmp_path / "a.fits")
    assert found.dtype.kind == "f"
    assert found.notes[0].startswith("1 of 2240 pixels are NaN")
    write_image(tmp_path / "b.fits", found.frames(), found)
    with fits.open(tmp_path / "b.fits") as file:
        assert np.argwhere(np.isnan(file[0].data)).tolist() == [[0, 5]]
        assert "BLANK" not in file[0].header


@pytest.mark.parametrize("kind", [fits.ImageHDU, fits.CompImageHDU])
def test_the_first_image_counts_and_its_place_stays(tmp_path, kind):
    counts = (SKY[0] * 100).astype(np.uint16)
    units = [
        fits.PrimaryHDU(header=fits.Header({"TELESCOP": "Keck"})),
        kind(counts, name="SCI"),
        kind(counts, name="DQ"),
    ]
    fits.HDUList(units).writeto(tmp_path / "a.fits")
    found = open_image(tmp_path / "a.fits")
    assert found.notes == ("the first of 2 images in the file; the others are left out",)
    write_image(tmp_path / "b.fits", found.frames(), found)
    with fits.open(tmp_path / "b.fits") as file:
        file.verify("exception")
        assert (len(file), file[0].header["TELESCOP"]) == (2, "Keck")
        np.testing.assert_array_equal(file["SCI"].data, counts)


def test_a_batch_restores_what_is_there_and_keeps_it(tmp_path):
    sky = data.hubble_deep_field()[:96, :96, 0].astype(np.float32)
    fits.writeto(tmp_path / "sky.fits", rimmed(sky))
    engine = EngineChoice(psf=np.pad(np.full((3, 3), 1 / 9, np.float32), 2), restorer="wiener")
    found = restore_files([tmp_path], tmp_path / "out", engine=engine, pictures=False)
    assert found.images[0]["files"]["image"] == "sky_restored.fits"
    restored = fits.getdata(tmp_path / "out" / "sky_restored.fits")
    np.testing.assert_array_equal(np.isnan(restored), np.isnan(rimmed(sky)))
    assert np.nanstd(restored) > 0
    again = restore_files([tmp_path], tmp_path / "out", engine=engine, pictures=False)
    assert again.images[0]["status"] == "kept"
    trial = Options(region=(10, 10, 64, 64), crop=True)
    assert restore_files([tmp_path], tmp_path / "out", engine=engine, options=trial, pictures=False).exit_code == 0


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:9000]), ""),
        (lambda path: fits.HDUList([fits.PrimaryHDU()]).writeto(path, overwrite=True), "but no image; name a file"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"56", b"99999999", 1)), ""),
        (lambda path: fits.writeto(path, np.full((40, 56), np.inf), overwrite=True), "NaN or infinite"),
    ],
)
def test_damage_is_said_in_one_sentence(tmp_path, spoil, sentence):
    path = tmp_path / "a.fits"
    fits.writeto(path, SKY)
    spoil(path)
    with pytest.raises(InputError, match=rf"a.fits.*: .*{sentence}") as caught:
        list(open_image(path).frames())
    assert "\n" not in str(caught.value)
