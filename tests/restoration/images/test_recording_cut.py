"""Of a file that was cut off, everything is there or it is refused: never fewer frames, never black ones."""

import re
import sys

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from PIL import Image
from places import TESTS
from test_recording import H, W, values

from deepblur.platform.system.errors import InputError
from deepblur.restoration.images.io import read_recording

sys.path.append(str(TESTS / "fuzz"))

import mutants

STACK = values("u2", 6, H, W)
BLACK = {"photometric": "minisblack"}


def one_directory(path):
    """As ImageJ writes: one directory, then all planes in a row."""
    tifffile.imwrite(path, STACK[0], metadata=None, description="ImageJ=1.54f\nimages=6\nslices=6\n", **BLACK)
    path.write_bytes(path.read_bytes()[: -STACK[0].nbytes] + STACK.tobytes())


def pages(path, **settings):
    with tifffile.TiffWriter(path, bigtiff=settings.pop("bigtiff", False)) as writer:
        for plane in STACK:
            writer.write(plane, metadata=None, contiguous=False, maxworkers=1, **BLACK, **settings)


MAKE = {
    "imagej.tif": lambda p: tifffile.imwrite(p, STACK, imagej=True, metadata={"axes": "TYX"}),
    "one directory.tif": one_directory,
    "ome.ome.tif": lambda p: tifffile.imwrite(p, STACK, metadata={"axes": "TYX"}, **BLACK),
    "packed.ome.tif": lambda p: tifffile.imwrite(p, STACK, metadata={"axes": "TYX"}, compression="zlib", **BLACK),
    "channels.ome.tif": lambda p: tifffile.imwrite(p, STACK.reshape(2, 3, H, W), metadata={"axes": "CTYX"}, **BLACK),
    "shaped.tif": lambda p: tifffile.imwrite(p, STACK, metadata={"axes": "ZYX"}, **BLACK),
    "shaped packed.tif": lambda p: tifffile.imwrite(p, STACK, metadata={"axes": "ZYX"}, compression="lzw", **BLACK),
    "pages.tif": pages,
    "packed.tif": lambda p: pages(p, compression="zlib"),
    "big.tif": lambda p: pages(p, bigtiff=True),
    "tiles.tif": lambda p: pages(p, tile=(16, 16)),
    "strips.tif": lambda p: pages(p, rowsperstrip=5),
}
PICTURES = sorted(name for name in mutants.seeds(16) if not name.startswith("bool"))


def cuts(size):
    return sorted({int(size * part) for part in np.linspace(0.02, 0.98, 25)} | {size - 1, size - 4, size - 8})


def check(path, whole):
    """Cut the file in many places."""
    before = read_recording(path)
    frames = [before.frame(k) for k in range(before.length)]
    said = set()
    for size in cuts(len(whole)):
        path.write_bytes(whole[:size])
        try:
            now = read_recording(path)
            held = list(now.frames())
            assert (now.axes, now.shape) == (before.axes, before.shape), f"cut at {size} of {len(whole)}"
            for frame, expected in zip(held, frames, strict=True):
                assert_array_equal(frame, expected, err_msg=f"cut at {size} of {len(whole)}")
        except InputError as error:
            said.add(re.sub(r"\d+", "N", str(error)))
    name = re.sub(r"\d+", "N", str(path))
    assert all(sentence.startswith(name) and "\n" not in sentence for sentence in said)
    return said


@pytest.mark.parametrize("name", MAKE)
def test_a_stack_that_is_cut_off_is_refused_or_whole(tmp_path, name):
    path = tmp_path / name
    MAKE[name](path)
    said = check(path, path.read_bytes())
    assert any("is cut short (N bytes of at least N); copy it again" in sentence for sentence in said), said


@pytest.mark.parametrize("name", PICTURES)
def test_any_file_that_is_cut_off_is_refused_or_whole(tmp_path, name):
    (tmp_path / name).write_bytes(mutants.seeds(16)[name])
    assert check(tmp_path / name, mutants.seeds(16)[name])


@pytest.mark.parametrize("part", [0.9, 0.5])
@pytest.mark.parametrize("name", [name for name in MAKE if name not in ("tiles.tif",)])
def test_nine_tenths_of_a_file_are_said_to_be_cut_short(tmp_path, name, part):
    path = tmp_path / name
    MAKE[name](path)
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(InputError, match=r"is cut short \(.*\); copy it again"):
        read_recording(path)


def test_metadata_that_name_more_images_than_there_are(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[:3], metadata=None, description="ImageJ=1.54f\nimages=6\nframes=6\n", **BLACK)
    with pytest.raises(InputError, match=r"is cut short \(.*; copy it again"):
        read_recording(path)
    tifffile.imwrite(tmp_path / "b.ome.tif", STACK[:3], metadata={"axes": "TYX"}, **BLACK)
    xml = tifffile.tiffcomment(tmp_path / "b.ome.tif")
    tifffile.tiffcomment(tmp_path / "b.ome.tif", xml.replace('SizeT="3"', 'SizeT="6"').encode())
    with pytest.raises(InputError, match=r"is cut short \(3 pages for 6 planes\); copy it again"):
        read_recording(tmp_path / "b.ome.tif")
    twice = xml.replace('SizeT="3"', 'SizeT="2"').replace('SizeC="1"', 'SizeC="2"').replace('Count="3"', 'Count="2"')
    tifffile.imwrite(tmp_path / "c.ome.tif", STACK[:4], description=twice.encode(), metadata=None, **BLACK)
    with pytest.raises(InputError, match=r"is cut short \(2 planes of 4 that its OME-XML names\); copy it again"):
        read_recording(tmp_path / "c.ome.tif")


def test_metadata_that_name_fewer_images_than_there_are(tmp_path):
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, metadata={"axes": "TYX"}, **BLACK)
    xml = tifffile.tiffcomment(tmp_path / "a.ome.tif")
    for size in ('SizeT="6"', 'PlaneCount="6"'):
        xml = xml.replace(size, size.replace("6", "4"))
    tifffile.tiffcomment(tmp_path / "a.ome.tif", xml.encode())
    recording = read_recording(tmp_path / "a.ome.tif")
    assert recording.length == 4
    assert recording.notes == ("2 of 6 pages are no planes of this image by its OME-XML and are left out",)


def test_strips_that_lie_nowhere(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values("u1", 64, 64), rowsperstrip=8, compression="zlib", metadata=None)
    for code, value, reason in ((279, 0, "lacks the pixels of 1 of 8 strips or tiles"), (273, 2**31, "is cut short")):
        data = path.read_bytes()
        with tifffile.TiffFile(path, mode="r+") as tiff:
            tag = tiff.pages.first.tags[code]
            tag.overwrite([value, *tag.value[1:]])
        with pytest.raises(InputError, match=reason):
            read_recording(path)
        path.write_bytes(data)


def test_directories_in_a_circle(tmp_path):
    path = tmp_path / "a.tif"
    pages(path)
    with tifffile.TiffFile(path) as tiff:
        second, last = tiff.pages[1].offset, tiff.pages[5]
        at = last.offset + 2 + 12 * len(last.tags)
    data = bytearray(path.read_bytes())
    data[at : at + 4] = second.to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(InputError, match="leads in a circle after 6 pages; save it again"):
        read_recording(path)


def test_pillow_does_not_fill_up_what_is_missing(tmp_path):
    """Whatever another library switched on."""
    from PIL import ImageFile

    Image.fromarray(values("u1", 64, 64, 3)).save(tmp_path / "a.jpg")
    Image.fromarray(values("u1", 64, 64, 3)).save(tmp_path / "a.bmp")
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
    try:
        for name in ("a.jpg", "a.bmp"):
            path = tmp_path / name
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            with pytest.raises(InputError, match="truncated"):
                list(read_recording(path).frames())
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before
