"""What a file says beside its pixels stays with the restored ones, where it stays true."""

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from PIL import Image
from test_recording import H, W, round_trip, values

from deepblur.platform.system.errors import InputError
from deepblur.restoration.images.io import read_recording, write_recording

BLACK = {"photometric": "minisblack", "metadata": None}


def said(path):
    """Descriptions, programs and private tags of the pages."""
    with tifffile.TiffFile(path) as tiff:
        codes = [{t.code: t.value for t in page.tags if t.code >= 4864 or t.code == 305} for page in tiff.pages]
        return [page.description for page in tiff.pages], codes


def same_words(path):
    _, out = round_trip(path)
    assert said(out) == said(path)
    assert_array_equal(tifffile.imread(out), tifffile.imread(path))


@pytest.mark.parametrize(
    "tag",
    [
        (34118, 2, 0, "\r\n0\r\n1e-8\r\nAP_PIXEL_SIZE\r\nPixel Size = 9.766 nm\r\n", True),  # Zeiss SEM
        (34682, 2, 0, "[Scan]\r\nPixelWidth=1.5e-009\r\n", True),  # FEI
        (51023, 2, 0, "<RoperMetadata/>", True),
        (4869, 12, 1, -80.5, True),  # Andor's temperature
        (65000, 7, 4, b"\1\2\3\4", True),
        (42112, 2, 0, "<GDALMetadata/>", True),
    ],
)
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_what_a_manufacturer_adds(tmp_path, tag, compression):
    tifffile.imwrite(
        tmp_path / "a.tif", values("u1", H, W), extratags=[tag], compression=compression, maxworkers=1, **BLACK
    )
    same_words(tmp_path / "a.tif")
    assert tag[0] in said(tmp_path / "a.tif")[1][0]


@pytest.mark.parametrize("code", [330, 34665, 37724, 65420, 34412, 33628])
def test_what_says_where_and_how_the_old_pixels_lie_is_not_kept(tmp_path, code):
    tifffile.imwrite(tmp_path / "a.tif", values("u1", H, W), extratags=[(code, 4, 2, (8, 8), True)], **BLACK)
    try:
        recording = read_recording(tmp_path / "a.tif")
    except InputError:
        return
    write_recording(tmp_path / "b.tif", recording.frames(), recording)
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        assert code not in tiff.pages.first.tags


@pytest.mark.parametrize("settings", [{}, {"compression": "lzw"}, {"tile": (16, 16)}])
def test_each_page_says_its_own(tmp_path, settings):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for k in range(3):
            time = (51123, 2, 0, f'{{"ElapsedTime-ms": {k}}}', True)
            writer.write(values("u2", H, W) + k, contiguous=False, description=f"t={k / 10:.1f} s", extratags=[time],
                         maxworkers=1, **BLACK, **settings)  # fmt: skip
    same_words(tmp_path / "a.tif")


def test_each_page_of_an_ome_series_says_its_own(tmp_path):
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="{W}" SizeY="{H}" SizeZ="1" SizeC="1" '
        'SizeT="3">'
        '<TiffData/><Plane TheZ="0" TheT="1" TheC="0" DeltaT="0.5"/></Pixels></Image></OME>'
    )
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=False) as writer:
        for k in range(3):
            writer.write(values("u1", H, W), contiguous=False, description=f"page {k}" if k else xml, **BLACK)
    recording, out = round_trip(tmp_path / "a.ome.tif")
    assert recording.labels == ("t=0", "t=1", "t=2")
    assert said(out)[0][1:] == ["page 1", "page 2"]
    assert 'DeltaT="0.5"' in said(out)[0][0]


def test_scanimage_and_aperio(tmp_path):
    with tifffile.TiffWriter(tmp_path / "scanimage.tif") as writer:
        for k in range(2):
            about = f"frameNumbers = {k + 1}\nframeTimestamps_sec = {k * 0.033:.3f}\nSI.VERSION_MAJOR = 2020"
            writer.write(values("i2", H, W), contiguous=False, software="SI.LINE_FORMAT_VERSION = 1", description=about,
                         **BLACK)  # fmt: skip
    same_words(tmp_path / "scanimage.tif")
    about = "Aperio Image Library v12\r\n64x64 [0,0 64x64] (64x64) JPEG/RGB Q=30|AppMag = 20|MPP = 0.4990"
    tifffile.imwrite(tmp_path / "aperio.tif", values("u1", 64, 64, 3), photometric="rgb", metadata=None, tile=(64, 64),
                     description=about)  # fmt: skip
    same_words(tmp_path / "aperio.tif")


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4"])
def test_an_inverting_lut_of_imagej_leaves_the_values_plain(tmp_path, dtype):
    pixels = values(dtype, H, W)
    about = "ImageJ=1.54f\nmin=0.0\nmax=255.0\n"
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite", description=about, metadata=None)
    recording, out = round_trip(tmp_path / "a.tif")
    assert_array_equal(recording.frame(0)[0], pixels)
    with tifffile.TiffFile(out) as tiff:
        assert tiff.pages.first.photometric == tifffile.PHOTOMETRIC.MINISWHITE
    assert_array_equal(tifffile.imread(out), pixels)


def test_channels_behind_the_pixels(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", values("u1", H, W, 5), metadata={"axes": "YXC"}, photometric="minisblack")
    with pytest.raises(InputError, match=r"has axes YXC of sizes 12x20x5, but rows and columns .* in the order CYX"):
        read_recording(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", values("u1", H, W, 3), metadata={"axes": "YXC"}, photometric="rgb")
    recording = read_recording(tmp_path / "b.tif")
    assert recording.rgb
    write_recording(tmp_path / "c.tif", recording.frames(), recording)
    assert_array_equal(tifffile.imread(tmp_path / "c.tif"), values("u1", H, W, 3))


def ome(path):
    size = {"PhysicalSizeX": 0.1, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.2, "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(path, values("u1", H, W), ome=True, metadata={"axes": "YX", **size})


NOT_SQUARE = {
    "a.ome.tif": ome,
    "imagej.tif": lambda p: tifffile.imwrite(
        p, values("u1", H, W), imagej=True, resolution=(10, 5), metadata={"unit": "um"}
    ),
    "plain.tif": lambda p: tifffile.imwrite(
        p, values("u1", H, W), resolution=(1e5, 5e4), resolutionunit="CENTIMETER", metadata=None
    ),
    "turned.tif": lambda p: tifffile.imwrite(
        p, values("u1", W, H), resolution=(5e4, 1e5), resolutionunit="CENTIMETER", metadata=None,
        extratags=[(274, "H", 1, 6, True)],
    ),
    "a.png": lambda p: Image.fromarray(values("u1", H, W)).save(p, dpi=(254000, 127000)),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_SQUARE)
def test_pixels_that_are_not_square_are_said_to_be_so(tmp_path, name):
    NOT_SQUARE[name](tmp_path / name)
    recording = read_recording(tmp_path / name)
    assert recording.pixel_um == pytest.approx(0.1, rel=1e-3)
    assert recording.pixel_height_um == pytest.approx(0.2, rel=1e-3)
    assert any("its pixels are not square (0.1 x 0.2 µm, width x height)" in note for note in recording.notes)
    assert not recording.square


def test_the_psf_of_pixels_that_are_not_square_carries_both_sides(tmp_path):
    from deepblur.restoration.batch.outputs import resolution

    tifffile.imwrite(tmp_path / "psf.tif", np.ones((3, 3), "f4"), **resolution(0.1, 0.2))
    with tifffile.TiffFile(tmp_path / "psf.tif") as tiff:
        assert tiff.pages.first.resolution == (1e5, 5e4)
    assert resolution(0.1) == {"resolution": (1e5, 1e5), "resolutionunit": "CENTIMETER"}
