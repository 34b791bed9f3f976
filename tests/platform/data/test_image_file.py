"""Every kind of file that a folder may hold: read by the stated rule, or refused in one sentence with its name."""

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageOps

from deepblur.platform.data.image_file import read_grey
from deepblur.platform.system.errors import UnreadableImageError

RAMP = np.arange(12 * 20, dtype=np.uint8).reshape(12, 20)  # not square, no symmetry
COLOUR = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], -1)
LUMA = COLOUR @ [0.299, 0.587, 0.114] / 255


def tiff(path, values, **kwargs):
    tifffile.imwrite(path, values, **kwargs)
    return read_grey(path)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
def test_eight_bit_grey_is_exact(tmp_path, suffix):
    Image.fromarray(RAMP).convert("RGB" if suffix == "webp" else "L").save(tmp_path / f"a.{suffix}", lossless=True)
    grey = read_grey(tmp_path / f"a.{suffix}")
    assert grey.dtype == np.float32
    assert grey.flags.c_contiguous
    assert_array_equal(np.rint(grey * 255), RAMP)


def test_colour_becomes_luminance(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    assert_allclose(read_grey(tmp_path / "a.png"), LUMA, atol=1.1 / 255)


def test_an_alpha_channel_is_ignored(tmp_path):
    for mode, values in [("LA", RAMP), ("RGBA", COLOUR)]:
        image = Image.fromarray(values)
        image.putalpha(Image.fromarray(255 - RAMP))
        assert image.mode == mode
        image.save(tmp_path / f"{mode}.png")
        Image.fromarray(values).save(tmp_path / f"{mode}-opaque.png")
        assert_array_equal(read_grey(tmp_path / f"{mode}.png"), read_grey(tmp_path / f"{mode}-opaque.png"))


def test_a_palette_is_looked_up(tmp_path):
    paletted = Image.fromarray(COLOUR).quantize(64)
    paletted.save(tmp_path / "a.png", transparency=bytes(range(64)))
    paletted.convert("RGB").save(tmp_path / "b.png")
    assert_array_equal(read_grey(tmp_path / "a.png"), read_grey(tmp_path / "b.png"))


def test_cmyk_jpeg_and_tiff(tmp_path):
    for name in ("a.jpg", "a.tif"):
        Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / name)
        assert abs(read_grey(tmp_path / name) - LUMA).mean() < 0.06  # JPEG of a saw-toothed picture


def test_one_bit(tmp_path):
    Image.fromarray(RAMP > 100).save(tmp_path / "a.png")
    assert_array_equal(read_grey(tmp_path / "a.png"), (RAMP > 100).astype(np.float32))
    Image.fromarray(RAMP > 100).save(tmp_path / "a.tif", compression="group4")
    assert_array_equal(read_grey(tmp_path / "a.tif"), (RAMP > 100).astype(np.float32))


@pytest.mark.parametrize(("peak", "scale"), [(200, 255), (1000, 1023), (4000, 4095), (16000, 16383), (60000, 65535)])
def test_deep_integers_are_divided_by_the_range_that_holds_them(tmp_path, peak, scale):
    deep = (RAMP.astype(np.uint16) * (peak // 239)).astype(np.uint16)
    deep[-1, -1] = peak
    Image.fromarray(deep).save(tmp_path / "a.png")
    for grey in (
        read_grey(tmp_path / "a.png"),
        tiff(tmp_path / "a.tif", deep),
        tiff(tmp_path / "b.tif", deep.astype(">u2")),
    ):
        assert_allclose(grey, deep / scale, atol=1e-6)


def test_deep_colour_and_planar_tiff(tmp_path):
    deep = COLOUR.astype(np.uint16) * 257
    assert_allclose(tiff(tmp_path / "a.tif", deep, photometric="rgb"), LUMA, atol=1e-6)
    planar = np.moveaxis(deep, -1, 0)
    assert_allclose(tiff(tmp_path / "b.tif", planar, photometric="rgb", planarconfig="separate"), LUMA, atol=1e-6)


def test_white_is_zero_tiff_is_inverted(tmp_path):
    deep = RAMP.astype(np.uint16) * 257
    assert_allclose(tiff(tmp_path / "a.tif", deep, photometric="miniswhite"), 1 - RAMP / 255, atol=1e-6)


def test_lzw_tiff_of_any_depth(tmp_path):
    depths: list[np.ndarray] = [RAMP, RAMP.astype(np.uint16) * 257, RAMP.astype(np.float32) / 255]
    for k, values in enumerate(depths):
        Image.fromarray(values).save(tmp_path / f"{k}.tif", compression="tiff_lzw")
        assert_allclose(read_grey(tmp_path / f"{k}.tif"), RAMP / 255, atol=1e-6)


def test_float_tiff_is_kept_within_the_unit_range_and_scaled_beyond(tmp_path):
    unit = RAMP.astype(np.float32) / 300
    assert_allclose(tiff(tmp_path / "a.tif", unit), unit, atol=1e-7)
    assert_allclose(tiff(tmp_path / "b.tif", unit * 5000), unit / unit.max(), atol=1e-6)
    assert_allclose(tiff(tmp_path / "c.tif", unit - 0.01), np.clip(unit - 0.01, 0, None), atol=1e-7)
    assert_allclose(tiff(tmp_path / "d.tif", RAMP.astype(np.int32) * 1000), RAMP / 239, atol=1e-6)


def test_the_first_page_counts(tmp_path):
    pages = np.stack([RAMP, 255 - RAMP])
    assert_array_equal(tiff(tmp_path / "a.tif", pages, photometric="minisblack"), RAMP / np.float32(255))
    deep = pages.astype(np.uint16) * 257
    assert_allclose(tiff(tmp_path / "b.tif", deep, photometric="minisblack"), RAMP / 255, atol=1e-6)


@pytest.mark.parametrize("code", range(1, 9))
def test_the_cameras_rotation_is_undone(tmp_path, code):
    exif = Image.Exif()
    exif[0x0112] = code
    Image.fromarray(RAMP).save(tmp_path / "a.png", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    assert_array_equal(np.rint(read_grey(tmp_path / "a.png") * 255), expected)
    deep = tiff(tmp_path / "a.tif", RAMP.astype(np.uint16) * 257, extratags=[(274, "H", 1, code, True)])
    assert_array_equal(np.rint(deep * 255), expected)


def cut_jpeg(path):
    Image.fromarray(COLOUR).resize((200, 200)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_tiff(path):
    tifffile.imwrite(path, RAMP.astype(np.float32))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zero_area(path):
    Image.fromarray(RAMP).save(path)
    data = bytearray(path.read_bytes())
    data[16:20] = bytes(4)  # the width in the header
    path.write_bytes(data)


BAD = {
    "truncated.jpg": (cut_jpeg, "not a readable image"),
    "truncated.tif": (cut_tiff, "not a readable image"),
    "text.png": (lambda p: p.write_text("hello"), r"not a readable image .*replace or remove it"),
    "text.tif": (lambda p: p.write_text("hello"), "not a readable image"),
    "empty.jpg": (lambda p: p.touch(), "not a readable image"),
    "missing.jpg": (lambda p: None, "there is no such file"),
    "zero.png": (zero_area, "not a readable image"),
    "line.png": (lambda p: Image.fromarray(RAMP[:1]).save(p), "is 1x20, but both sides need at least 8 px"),
    "nan.tif": (
        lambda p: tifffile.imwrite(p, np.where(RAMP == 7, np.nan, 1).astype(np.float32)),
        "1 pixels are NaN or",
    ),
    "inf.tif": (lambda p: tifffile.imwrite(p, np.where(RAMP < 2, np.inf, 1).astype(np.float32)), "2 pixels are NaN or"),
    "standardised.tif": (lambda p: tifffile.imwrite(p, RAMP / 100.0 - 1), "run from -1 to 1.39, .* add an offset"),
    "complex.tif": (lambda p: tifffile.imwrite(p, RAMP.astype(np.complex64)), "complex64 are no intensities"),
    "bomb.png": (lambda p: Image.new("1", (40_000, 10_000)).save(p), "not a readable image .*exceeds limit"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_in_one_sentence_that_names_it(tmp_path, name):
    make, reason = BAD[name]
    make(tmp_path / name)
    with pytest.raises(UnreadableImageError, match=reason) as caught:
        read_grey(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(caught.value)
