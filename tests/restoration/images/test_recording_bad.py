"""A file that is no image to restore is refused in one sentence that names it, before it costs memory."""

import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image
from test_recording import H, W, values

from deepblur.platform.system.errors import InputError
from deepblur.restoration.images.io import read_recording


def cut(path, part=0.5):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])


def save_tiff(array, after=None, **settings):
    def make(path):
        tifffile.imwrite(path, array, **settings)
        if after:
            after(path)

    return make


def taller(path):
    """A planar TIFF whose directory says that it has more rows than it has."""
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages.first.tags["ImageLength"].overwrite(200)


def two_images(path):
    with tifffile.TiffWriter(path) as writer:
        writer.write(values("u1", H, W), metadata=None)
        writer.write(values("u1", H, W + 1), metadata=None)


def save_picture(array, after=None, **settings):
    def make(path):
        Image.fromarray(array).save(path, **settings)
        if after:
            after(path)

    return make


def claim(side):
    """A small PNG that says it has side x side pixels."""

    def change(path):
        data = bytearray(path.read_bytes())
        data[16:24] = side.to_bytes(4, "big") * 2
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
        path.write_bytes(data)

    return save_picture(values("u1", 9, 9, 3), change)


def animate(path):
    frame = Image.fromarray(values("u1", H, W))
    frame.save(path, save_all=True, append_images=[Image.fromarray(255 - values("u1", H, W))])


def many_planes(path):
    tifffile.imwrite(path, values("u1", 2, H, W), metadata={"axes": "TYX"}, ome=True)
    xml = tifffile.tiffcomment(path)
    tifffile.tiffcomment(path, xml.replace('SizeT="2"', 'SizeT="2000000000"').encode())


BAD = {
    "missing.tif": (lambda p: None, "there is no such file; check its name"),
    "folder.tif": (lambda p: p.mkdir(), "is not a file"),
    "empty.tif": (lambda p: p.touch(), r"is empty \(0 bytes\)"),
    "text.tif": (lambda p: p.write_text("hello, world"), "is not an image that can be read"),
    "text.png": (lambda p: p.write_text("hello, world"), "reads TIFF, PNG, JPEG, BMP and WebP"),
    "gif.png": (lambda p: Image.fromarray(values("u1", H, W)).save(p, "GIF"), "is not an image that can be read"),
    "no page.tif": (lambda p: p.write_bytes(b"II*\0\0\0\0\0"), "not a readable image|has no page"),
    "bool.tif": (save_tiff(values("u1", H, W) > 100), "holds booleans"),
    "bool.png": (save_picture(values("u1", H, W) > 100), "holds booleans"),
    "complex.tif": (save_tiff(values("f4", H, W).astype("c8")), "holds complex64, no intensity; save the magnitude"),
    "5-D.tif": (save_tiff(values("u1", 2, 2, 2, 2, H, W), photometric="minisblack"), "has axes QQQQYX"),
    "narrow.tif": (save_tiff(values("u1", 3, 30)), "is 3x30, but both sides need at least 8 px"),
    "narrow.png": (save_picture(values("u1", 30, 7)), "is 30x7, but both sides need at least 8 px"),
    "two.tif": (two_images, r"holds 2 images that do not belong together \(12x20, 12x21"),
    "cut.tif": (save_tiff(values("u2", 64, 64), cut), "is cut short|not a readable image"),
    "cut stack.tif": (save_tiff(values("u2", 9, 64, 64), cut, photometric="minisblack"), "cut short|not a readable"),
    "taller.tif": (
        save_tiff(values("u1", 3, 64, 64), taller, photometric="rgb", planarconfig="separate"),
        r"is cut short \(12288 bytes of at least 38400\)",
    ),
    "cut.jpg": (save_picture(values("u1", 64, 64), cut), "not a readable image .*truncated"),
    "cut.png": (save_picture(values("u1", 64, 64), cut), r"is cut short \(\d+ bytes of at least \d+\)"),
    "bomb.png": (claim(20_000), "more than 178 megapixels; cut it into tiles"),
    "claim.png": (claim(13_000), r"claims 0.507 GB of pixels in \d+ bytes"),
    "animated.png": (animate, "has 2 frames; save them as a TIFF stack"),
    "planes.ome.tif": (many_planes, "names 2000000000 planes, more than fit"),
    "minus.tif": (save_tiff(values("i2", H, W), photometric="miniswhite"), "says that 0 is white, but int16"),
    "nan.tif": (save_tiff(np.where(values("u1", H, W) > 250, np.nan, 1).astype("f4")), r"\d+ pixels are NaN or infi"),
    "inf.tif": (save_tiff(np.full((2, H, W), np.inf), photometric="minisblack"), r"inf.tif \(page=0\): 240 pixels are"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_in_one_sentence_that_names_it(tmp_path, name, capfd, caplog):
    make, reason = BAD[name]
    path = tmp_path / name
    make(path)
    caplog.clear()
    with pytest.raises(InputError, match=reason) as caught:
        list(read_recording(path).frames())
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""
    assert not caplog.records


def test_a_tiff_that_claims_gigabytes_is_refused_before_any_is_allocated(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((8, 8), "f8"), compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for code in (256, 257, 278):
            tiff.pages.first.tags[code].overwrite(13_000)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"claims 1\.35 GB of pixels in \d+ bytes"):
        list(read_recording(path).frames())
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()
