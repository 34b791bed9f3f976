"""Pictures (PNG, JPEG, BMP, WebP) come back as they were when nothing is changed; palettes become colour."""

import numpy as np
import pytest
import tifffile
from imagecodecs import png_decode, png_encode
from numpy.testing import assert_array_equal
from PIL import Image
from test_recording import H, W, round_trip, values

from deepblur.restoration.images.io import read_recording, write_recording


def test_a_palette_becomes_colour(tmp_path):
    colours = values("u1", 3, 256).astype(np.uint16) * 257
    pixels = values("u1", 2, H, W)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="palette", colormap=colours, metadata=None)
    recording, out = round_trip(tmp_path / "a.tif")
    assert recording.rgb
    assert_array_equal(recording.frame(1), (colours >> 8).astype(np.uint8)[:, pixels[1]])
    assert tifffile.imread(out).shape == (2, H, W, 3)
    image = Image.fromarray(values("u1", H, W, 3)).quantize(16)
    image.save(tmp_path / "a.png", transparency=bytes(range(16)))
    picture, _ = round_trip(tmp_path / "a.png")
    assert_array_equal(np.moveaxis(np.concatenate([picture.frame(0), picture.kept(0)]), 0, -1), image_rgba(tmp_path))
    grey = Image.fromarray(pixels[0]).convert("P")
    grey.save(tmp_path / "grey.png")
    picture, _ = round_trip(tmp_path / "grey.png")
    assert_array_equal(picture.frame(0), pixels[:1])


def image_rgba(folder):
    with Image.open(folder / "a.png") as image:
        return np.asarray(image.convert("RGBA"))


@pytest.mark.parametrize("kind", ["png", "bmp", "webp"])
@pytest.mark.parametrize("samples", [1, 3])
def test_pictures_without_loss(tmp_path, kind, samples):
    pixels = values("u1", H, W, samples)
    path = tmp_path / f"a.{kind}"
    image = Image.fromarray(pixels[..., 0] if samples == 1 else pixels)
    (image.convert("RGB") if kind == "webp" else image).save(path, lossless=True, dpi=(300, 300))
    recording, out = round_trip(path)
    expected = np.broadcast_to(pixels, (H, W, 3)) if kind == "webp" else pixels
    assert_array_equal(np.moveaxis(recording.frame(0), 0, -1), expected)
    assert_array_equal(np.asarray(Image.open(out)), np.asarray(Image.open(path)))
    if kind != "webp":
        assert Image.open(out).info["dpi"] == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_png_of_sixteen_bits(tmp_path, samples):
    pixels = values("u2", H, W, samples)
    path = tmp_path / "a.png"
    path.write_bytes(png_encode(pixels))
    recording, out = round_trip(path)
    assert (recording.dtype, recording.bits, recording.alpha) == (np.uint16, 16, int(samples in (2, 4)))
    assert_array_equal(np.moveaxis(np.concatenate([recording.frame(0), recording.kept(0)]), 0, -1), pixels)
    assert out.read_bytes() == path.read_bytes()
    assert_array_equal(png_decode(out.read_bytes()).reshape(pixels.shape), pixels)
    colours = pixels.shape[-1] - recording.alpha
    anew = np.moveaxis(pixels[..., :colours], -1, 0).copy()  # as a restored frame lies in memory
    write_recording(out, [anew], recording)
    assert_array_equal(png_decode(out.read_bytes()).reshape(pixels.shape), pixels)


def test_what_a_png_says_is_kept(tmp_path):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Author", "Ada")
    Image.fromarray(values("u1", H, W, 3)).save(tmp_path / "a.png", dpi=(25400, 25400), pnginfo=info, icc_profile=b"i")
    recording, out = round_trip(tmp_path / "a.png")
    assert recording.pixel_um == pytest.approx(1)
    with Image.open(out) as image:
        assert image.info["Author"] == "Ada"
        assert image.info["icc_profile"] == b"i"
        assert image.info["dpi"] == pytest.approx((25400, 25400))


def test_jpeg(tmp_path):
    y, x = np.mgrid[:64, :48]
    smooth = np.stack([y * 3, x * 4, 200 - y], -1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x010F] = "Zeiss"
    for mode, channels in (("L", 1), ("RGB", 3), ("CMYK", 3)):
        Image.fromarray(smooth).convert(mode).save(tmp_path / f"{mode}.jpg", quality=98, exif=exif, comment=b"hi")
        recording, out = round_trip(tmp_path / f"{mode}.jpg")
        assert recording.channels == channels
        difference = read_recording(out).frame(0).astype(int) - recording.frame(0)
        assert abs(difference).mean() < 1
        with Image.open(out) as image:
            assert image.getexif()[0x010F] == "Zeiss"
            assert image.info["comment"] == b"hi"


def test_the_content_decides_not_the_suffix(tmp_path):
    Image.fromarray(values("u1", H, W)).save(tmp_path / "a.tif", "PNG")
    assert round_trip(tmp_path / "a.tif")[0].format == "png"
