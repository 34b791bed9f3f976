"""Whatever a microscope or a camera writes comes back as it was when nothing is changed."""

import itertools
import re
import tracemalloc

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from PIL import Image

from deepblur.platform.system.errors import InputError
from deepblur.restoration.images.io import read_recording, recording_of, write_recording

H, W = 12, 20  # not square
DTYPES = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")


def values(dtype, *shape):
    """Distinct numbers that use the type's range."""
    rng = np.random.default_rng(1)
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return rng.normal(100, 30, shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def round_trip(path):
    """The recording, and what it becomes when it is written unchanged."""
    recording = read_recording(path)
    out = path.parent / "out" / path.name
    out.parent.mkdir(exist_ok=True)
    write_recording(out, recording.frames(), recording)
    assert not list(out.parent.glob(".*")), "no temporary file stays"
    again = read_recording(out)
    for name in ("format", "axes", "shape", "dtype", "labels", "channel_names", "rgb", "alpha", "bits", "pixel_um"):
        assert getattr(again, name) == getattr(recording, name), name
    return recording, out


def same_tiff(path, out):
    with tifffile.TiffFile(path) as a, tifffile.TiffFile(out) as b:
        assert a.series[0].axes == b.series[0].axes
        assert a.series[0].kind == b.series[0].kind
        assert a.byteorder == b.byteorder
        assert a.series[0].dtype == b.series[0].dtype
        one, two = a.pages.first, b.pages.first
        for name in ("photometric", "planarconfig", "extrasamples", "compression", "predictor"):
            assert getattr(one, name) == getattr(two, name), name
        for code in (282, 283, 296, 274, 305, 306, 315, 320, 34675, 50838):
            was, now = one.tags.get(code), two.tags.get(code)
            assert_array_equal(was and was.value, now and now.value)
        assert_array_equal(a.asarray(), b.asarray())


def written(path, array, **settings):
    tifffile.imwrite(path, array, **settings)
    recording, out = round_trip(path)
    same_tiff(path, out)
    return recording


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", "<>")
def test_every_type_of_value(tmp_path, dtype, order):
    pixels = values(dtype, H, W)
    recording = written(tmp_path / "a.tif", pixels, byteorder=order)
    assert (recording.axes, recording.shape, recording.dtype) == ("YX", (H, W), np.dtype(dtype))
    assert recording.bits == (0 if "f" in dtype else 8 * int(dtype[1]))
    assert_array_equal(recording.frame(0), pixels[None])
    assert recording.frame(0).dtype.isnative


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("axes", ["YX", "ZYX", "CYX", "TYX", "TZYX", "ZCYX", "TCYX", "TZCYX"])
def test_imagej_hyperstacks(tmp_path, axes, dtype):
    sizes = {"T": 2, "Z": 3, "C": 4, "Y": H, "X": W}
    pixels = values(dtype, *(sizes[a] for a in axes))
    recording = written(
        tmp_path / "a.tif", pixels, imagej=True, resolution=(1 / 0.065, 1 / 0.065),
        metadata={"axes": axes, "unit": "um", "spacing": 0.3, "finterval": 2.5, "Info": "by Ada\n", "min": 3, "max": 9},
    )  # fmt: skip
    assert (recording.axes, recording.shape) == (axes, pixels.shape)
    assert recording.channels == (4 if "C" in axes else 1)
    assert recording.length == np.prod([sizes[a] for a in axes if a in "TZ"], dtype=int)
    assert recording.pixel_um == pytest.approx(0.065)
    assert (recording.z_um, recording.interval_s) == (pytest.approx(0.3), pytest.approx(2.5))
    with tifffile.TiffFile(tmp_path / "a.tif") as a, tifffile.TiffFile(tmp_path / "out" / "a.tif") as b:
        assert a.imagej_metadata == b.imagej_metadata
        assert a.is_imagej
        assert b.series[0].dataoffset is not None, "ImageJ reads stacks that lie in one row only"


def test_imagej_ranges_luts_and_labels(tmp_path):
    lut = np.stack([np.arange(256), np.zeros(256), np.arange(256)[::-1]]).astype(np.uint8)
    written(
        tmp_path / "a.tif", values("u2", 2, 2, H, W), imagej=True,
        metadata={"axes": "ZCYX", "mode": "composite", "Ranges": (0.0, 9.0, 1.0, 8.0), "LUTs": [lut, lut],
                  "Labels": [f"plane {k}" for k in range(4)]},
    )  # fmt: skip
    with tifffile.TiffFile(tmp_path / "out" / "a.tif") as b:
        assert b.imagej_metadata["Ranges"] == (0.0, 9.0, 1.0, 8.0)
        assert_array_equal(b.imagej_metadata["LUTs"][1], lut)
        assert b.imagej_metadata["Labels"][3] == "plane 3"
        assert b.imagej_metadata["mode"] == "composite"


def test_a_palette_of_imagej_shows_intensities(tmp_path):
    lut = np.stack([np.arange(256)] * 3).astype(np.uint16) * 257
    pixels = values("u1", H, W)
    recording = written(tmp_path / "a.tif", pixels, imagej=True, colormap=lut)
    assert not recording.rgb
    assert_array_equal(recording.frame(0)[0], pixels)


@pytest.mark.parametrize("axes", ["YX", "CYX", "ZYX", "TCZYX", "CZYX", "CTZYX", "TZCYX", "YXS", "ZYXS", "CYXS"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_ome(tmp_path, axes, compression):
    sizes = {"T": 2, "Z": 3, "C": 2, "Y": H, "X": W, "S": 3}
    pixels = values("u2", *(sizes[a] for a in axes))
    names = ["DAPI", "GFP µ"][: 2 if "C" in axes and "S" not in axes else 0]
    channel = {"Channel": {"Name": names}} if names else {}
    photometric = "rgb" if "S" in axes else "minisblack"
    recording = written(
        tmp_path / "a.ome.tif", pixels, compression=compression, photometric=photometric, maxworkers=1,
        metadata={"axes": axes, "PhysicalSizeX": 65, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 65,
                  "PhysicalSizeYUnit": "nm", "TimeIncrement": 0.5, **channel},
    )  # fmt: skip
    assert recording.axes == axes
    assert recording.channel_names == tuple(names)
    assert recording.pixel_um == pytest.approx(0.065)
    assert recording.rgb == (axes in ("YXS", "ZYXS"))
    if axes == "CTZYX":
        assert recording.labels[1:4] == ("t=0, z=1", "t=0, z=2", "t=1, z=0")
        assert_array_equal(recording.frame(4), pixels[:, 1, 1])
    before, after = (tifffile.tiffcomment(f) for f in (tmp_path / "a.ome.tif", tmp_path / "out" / "a.ome.tif"))
    for name in ("PhysicalSizeXUnit", "TimeIncrement", "Name", "DimensionOrder"):
        assert re.findall(rf'{name}="[^"]*"', after) == re.findall(rf'{name}="[^"]*"', before), name
    (one,), (two,) = (re.findall('UUID="(urn:uuid:[-0-9a-f]{36})"', text) for text in (before, after))
    assert one != two, "two files are not one"


def test_what_ome_says_beside_the_pixels_is_kept(tmp_path):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, values("u2", 2, H, W), metadata={"axes": "ZYX"})
    xml = tifffile.tiffcomment(path)
    start = xml.index("<Image")
    extra = '<Instrument ID="Instrument:0"><Objective ID="Objective:0" LensNA="1.4" Model="Plan Apo λ"/></Instrument>'
    tifffile.tiffcomment(path, (xml[:start] + extra + xml[start:]).encode())
    round_trip(path)
    assert 'LensNA="1.4" Model="Plan Apo λ"' in tifffile.tiffcomment(tmp_path / "out" / "a.ome.tif")


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "zstd", "lzma"])
@pytest.mark.parametrize("predictor", [False, True])
def test_lossless_compression_is_kept(tmp_path, compression, predictor):
    predictor = predictor and compression not in (None, "packbits")
    for k, dtype in enumerate(("u1", "u2", "f4")):
        written(tmp_path / f"{k}.tif", values(dtype, 3, H, W), photometric="minisblack", compression=compression,
                predictor=predictor, metadata={"axes": "ZYX"}, maxworkers=1)  # fmt: skip


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "webp"])
def test_lossy_compression_becomes_lossless(tmp_path, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values("u1", 32, 32, 3), photometric="rgb", compression=compression, maxworkers=1)
    recording, out = round_trip(path)
    assert recording.rgb
    with tifffile.TiffFile(out) as tiff:
        assert tiff.pages.first.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
    assert_array_equal(tifffile.imread(out), tifffile.imread(path))


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("samples", [3, 4])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_colour_and_alpha(tmp_path, planar, samples, compression):
    pixels = values("u2", 2, H, W, samples)
    stored = pixels if planar == "contig" else np.moveaxis(pixels, -1, 1)
    recording = written(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, compression=compression,
                        maxworkers=1)  # fmt: skip
    assert (recording.length, recording.channels, recording.alpha, recording.rgb) == (2, 3, samples - 3, True)
    assert_array_equal(recording.frame(1), np.moveaxis(pixels[1, ..., :3], -1, 0))


def test_alpha_is_kept_when_colours_change(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", values("u1", H, W, 4), photometric="rgb")
    Image.fromarray(values("u1", H, W, 4)).save(tmp_path / "a.png")
    Image.fromarray(values("u1", H, W, 2)).save(tmp_path / "b.png")
    for name in ("a.tif", "a.png", "b.png"):
        recording = read_recording(tmp_path / name)
        write_recording(tmp_path / f"out-{name}", (f // 2 for f in recording.frames()), recording)
        again = read_recording(tmp_path / f"out-{name}")
        assert_array_equal(again.kept(0), recording.kept(0))
        assert_array_equal(again.frame(0), recording.frame(0) // 2)


def test_grey_with_alpha_and_grey_with_more_channels(tmp_path):
    for extra, channels in (("unassalpha", 1), ("unspecified", 2)):
        recording = written(tmp_path / f"{extra}.tif", values("u1", H, W, 2), photometric="minisblack",
                            planarconfig="contig", extrasamples=[extra])  # fmt: skip
        assert (recording.channels, recording.alpha) == (channels, 2 - channels)


def test_white_is_zero(tmp_path):
    pixels = values("u2", H, W)
    recording = written(tmp_path / "a.tif", pixels, photometric="miniswhite")
    assert_array_equal(recording.frame(0)[0], 65535 - pixels)


@pytest.mark.parametrize("code", range(1, 9))
def test_frames_are_upright_and_files_keep_their_turn(tmp_path, code):
    pixels = values("u1", H, W)
    exif = Image.Exif()
    exif[0x0112] = code
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    expected = np.asarray(Image.open(tmp_path / "a.png").transpose(Image.Transpose.ROTATE_270)) if code == 6 else None
    recording = written(tmp_path / "a.tif", pixels, extratags=[(274, "H", 1, code, True)])
    png, out = round_trip(tmp_path / "a.png")
    assert recording.shape == png.shape == ((W, H) if code > 4 else (H, W))
    assert_array_equal(png.frame(0), recording.frame(0))
    if expected is not None:
        assert_array_equal(recording.frame(0)[0], expected)
    with Image.open(out) as image:
        assert image.getexif()[0x0112] == code
        assert_array_equal(np.asarray(image), pixels)


def test_printers_colours_in_tiff_become_rgb(tmp_path):
    Image.fromarray(values("u1", H, W, 3)).convert("CMYK").save(tmp_path / "a.tif", dpi=(300, 300))
    recording, out = round_trip(tmp_path / "a.tif")
    assert recording.rgb
    assert_array_equal(tifffile.imread(out), np.moveaxis(recording.frame(0), 0, -1))


def test_twelve_bits_in_a_row(tmp_path):
    pixels = values("u2", H, W) >> 4
    tifffile.imwrite(tmp_path / "a.tif", pixels, bitspersample=12, photometric="minisblack")
    recording = read_recording(tmp_path / "a.tif")
    assert (recording.bits, recording.dtype) == (12, np.uint16)
    write_recording(tmp_path / "b.tif", recording.frames(), recording)
    assert_array_equal(tifffile.imread(tmp_path / "b.tif"), pixels)


def test_a_pyramid_and_a_thumbnail_leave_the_image(tmp_path):
    pixels = values("u1", 64, 64)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(pixels, subifds=1, photometric="minisblack", metadata=None)
        writer.write(pixels[::2, ::2], subfiletype=1, photometric="minisblack", metadata=None)
        writer.write(pixels[::4, ::4], subfiletype=1, photometric="minisblack", metadata=None)
    recording, out = round_trip(tmp_path / "a.tif")
    assert recording.length == 1
    assert_array_equal(tifffile.imread(out), pixels)


def test_pages_of_unknown_meaning(tmp_path):
    recording = written(tmp_path / "a.tif", values("u1", 3, H, W), photometric="minisblack", metadata=None)
    assert recording.labels == ("page=0", "page=1", "page=2")


def test_memory_holds_one_frame(tmp_path):
    frame = values("u2", 512, 512)
    for name, compression in (("raw.tif", None), ("packed.tif", "zlib")):
        tifffile.imwrite(tmp_path / name, itertools.repeat(frame, 40), shape=(40, 512, 512), dtype="u2",
                         photometric="minisblack", compression=compression, maxworkers=1)  # fmt: skip
        tracemalloc.start()
        recording = read_recording(tmp_path / name)
        write_recording(tmp_path / "out.tif", recording.frames(), recording)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 12 * frame.nbytes, "the stack has 40"


def test_channels_that_run_slowest_wait_on_disk_not_in_memory(tmp_path):
    frame = values("u1", 256, 256)
    shape = (2, 60, 256, 256)
    tifffile.imwrite(tmp_path / "a.ome.tif", itertools.repeat(frame, 120), shape=shape, dtype="u1",
                     photometric="minisblack", metadata={"axes": "CZYX"})  # fmt: skip
    recording = read_recording(tmp_path / "a.ome.tif")
    tracemalloc.start()
    write_recording(tmp_path / "b.ome.tif", recording.frames(), recording)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30 * frame.nbytes


def test_an_array_is_a_recording(tmp_path):
    pixels = values("u2", H, W, 3, 2)
    recording = recording_of(pixels, "YXCT")
    assert (recording.length, recording.channels, recording.labels) == (2, 3, ("t=0", "t=1"))
    assert_array_equal(recording.frame(1), np.moveaxis(pixels[..., 1], -1, 0))
    assert recording_of(values("u1", H, W, 3), "YXS").rgb
    with pytest.raises(InputError, match="axes 'YX' do not fit an array of shape"):
        recording_of(pixels)
