"""A stream inside a TIFF that is larger than the tags say is refused before it is decoded, whatever its codec."""

import struct

import imagecodecs
import numpy as np
import pytest
import tifffile

from deepblur.platform.data.image_file import read_grey
from deepblur.platform.data.tiff_streams import stream_shape
from deepblur.platform.system.errors import InputError, UnreadableImageError
from deepblur.restoration.images.io import read_recording

SIDE = 64
CODECS = {
    "jpeg8": 7, "jpeg2k": 34712, "jpegxl": 50002, "jpegxr": 34934, "webp": 50001, "png": 34933, "lerc": 34887,
}  # fmt: skip


def pixels(codec, side, dtype=np.uint8):
    grey = np.random.default_rng(0).integers(0, 200, (side, side)).astype(dtype)
    return np.stack([grey] * 3, -1) if codec == "webp" else grey


def stream_in_tiff(path, codec, side, dtype=np.uint8):
    """A TIFF of SIDE x SIDE pixels by its tags, and side x side by its stream."""
    data = bytes(getattr(imagecodecs, f"{codec}_encode")(pixels(codec, side, dtype)))
    samples = 3 if codec == "webp" else 1
    bits = 8 * np.dtype(dtype).itemsize
    tags = [(256, SIDE), (257, SIDE), (258, bits), (259, CODECS[codec]), (262, 2 if samples == 3 else 1), (273, 0)]
    tags += [(277, samples), (278, SIDE), (279, len(data))]
    start = 8 + 2 + 12 * len(tags) + 4
    out = b"II*\0" + struct.pack("<IH", 8, len(tags))
    for code, value in tags:
        out += struct.pack("<HHII", code, 4, 1, start if code == 273 else value)
    path.write_bytes(out + struct.pack("<I", 0) + data)
    return path


@pytest.mark.parametrize("codec", CODECS)
def test_a_stream_of_another_size_than_the_tags_is_not_decoded(codec, tmp_path):
    path = stream_in_tiff(tmp_path / "liar.tif", codec, 100)
    with pytest.raises(InputError, match=r"liar.tif: holds .* data of 100x100.* where its tags leave room for"):
        read_recording(path).frame(0)


@pytest.mark.parametrize("codec", CODECS)
def test_a_stream_of_the_right_size_is_read(codec, tmp_path):
    path = stream_in_tiff(tmp_path / "honest.tif", codec, SIDE)
    assert read_recording(path).frame(0).shape[1:] == (SIDE, SIDE)


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_says_the_size_of_its_stream(codec):
    data = bytes(getattr(imagecodecs, f"{codec}_encode")(pixels(codec, 300)))
    assert (stream_shape(data, CODECS[codec], np.uint8, {}) or ())[:2] == (300, 300)


def test_training_images_are_held_to_it_too(tmp_path):
    path = stream_in_tiff(tmp_path / "liar.tif", "jpegxl", 100, np.uint16)
    with pytest.raises(UnreadableImageError, match=r"liar.tif: holds JPEGXL data of 100x100 values"):
        read_grey(path)


def test_tiles_and_strips_of_every_codec_pass(tmp_path):
    image = np.random.default_rng(0).integers(0, 200, (100, 130), dtype=np.uint8)
    for compression in ("jpeg", "jpeg2000", "jpegxl", "jpegxr", "png", "lerc"):
        for cut in ({"tile": (32, 48)}, {"rowsperstrip": 32}):
            path = tmp_path / "cut.tif"
            tifffile.imwrite(path, image, photometric="minisblack", compression=compression, **cut)
            assert read_recording(path).frame(0).shape == (1, 100, 130)
