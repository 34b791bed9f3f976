"""An OME-TIFF that is spread over several files is read whole, from its first file, or refused."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from test_recording import values

from deepblur import cli
from deepblur.platform.system.errors import InputError, PartOfSetError
from deepblur.restoration.images.io import read_recording, write_recording

H, W = 40, 48
NS = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
STACK = values("u2", 6, H, W)


def uuid(k):
    return f"urn:uuid:{k + 1}{k + 1}111111-1111-1111-1111-111111111111"


def pixels(data, t=1, c=1, order="XYCZT", inner=""):
    channels = "".join(f'<Channel ID="Channel:0:{k}" SamplesPerPixel="1"/>' for k in range(c))
    return (
        f'<Pixels ID="Pixels:0" DimensionOrder="{order}" Type="uint16" SizeX="{W}" SizeY="{H}" SizeZ="1" SizeC="{c}" '
        f'SizeT="{t}">{channels}{data}{inner}</Pixels>'
    )


def document(k, images):
    head = f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{NS}" UUID="{uuid(k)}">'
    return head + "".join(f'<Image ID="Image:{n}">{image}</Image>' for n, image in enumerate(images)) + "</OME>"


def place(name, k, ifd, **first):
    where = " ".join(f'First{axis}="{first.get(axis, 0)}"' for axis in "CTZ")
    return f'<TiffData {where} IFD="{ifd}" PlaneCount="1"><UUID FileName="{name}">{uuid(k)}</UUID></TiffData>'


def write(path, planes, xml):
    tifffile.imwrite(path, planes, description=xml.encode(), metadata=None, photometric="minisblack")


def in_two(folder, sizes=(3, 3), **axes):
    """A series of six in two files, as Micro-Manager splits it at 4 GB; returns their paths."""
    names = ["run.ome.tif", "run_1.ome.tif"]
    held = [(k, ifd) for k, size in enumerate(sizes) for ifd in range(size)]
    if "c" in axes:  # time runs slower than channels, and the border is in the middle of a time
        where = [{"T": n // 2, "C": n % 2} for n in range(6)]
    else:
        where, axes = [{"T": n} for n in range(6)], {"t": 6}
    data = "".join(place(names[k], k, ifd, **at) for (k, ifd), at in zip(held, where, strict=True))
    start = 0
    for k, size in enumerate(sizes):
        write(folder / names[k], STACK[start : start + size], document(k, [pixels(data, **axes)]))
        start += size
    return [folder / name for name in names]


def restored(path, out):
    """Written with other values, so that raw ones show."""
    recording = read_recording(path)
    write_recording(out, (frame // 2 for frame in recording.frames()), recording)
    return recording


def test_a_set_is_read_whole_from_its_first_file(tmp_path):
    first, second = in_two(tmp_path)
    recording = restored(first, tmp_path / "out.ome.tif")
    assert (recording.axes, recording.shape) == ("TYX", (6, H, W))
    assert recording.notes == ("one set with run_1.ome.tif",)
    assert_array_equal(np.concatenate(list(recording.frames())), STACK)
    assert_array_equal(tifffile.imread(tmp_path / "out.ome.tif"), STACK // 2)
    xml = tifffile.tiffcomment(tmp_path / "out.ome.tif")
    assert "run_1" not in xml
    assert uuid(0) not in xml
    with pytest.raises(PartOfSetError, match=r"run_1.ome.tif: is a part of the set that begins with run.ome.tif"):
        read_recording(second)


def test_a_border_between_the_channels_of_a_frame(tmp_path):
    first, _ = in_two(tmp_path, t=3, c=2)
    recording = restored(first, tmp_path / "out.ome.tif")
    assert (recording.axes, recording.shape) == ("TCYX", (3, 2, H, W))
    assert_array_equal(recording.frame(1), STACK[2:4])
    assert_array_equal(tifffile.imread(tmp_path / "out.ome.tif"), (STACK // 2).reshape(3, 2, H, W))


def test_a_file_for_each_plane(tmp_path):
    names = [f"a_T{k}.ome.tif" for k in range(6)]
    data = "".join(place(name, k, 0, T=k) for k, name in enumerate(names))
    for k, name in enumerate(names):
        write(tmp_path / name, STACK[k], document(k, [pixels(data, t=6)]))
    recording = restored(tmp_path / names[0], tmp_path / "out.ome.tif")
    assert_array_equal(tifffile.imread(tmp_path / "out.ome.tif"), STACK // 2)
    assert recording.length == 6


def test_positions_in_files_of_their_own(tmp_path):
    names = ["Pos0.ome.tif", "Pos1.ome.tif"]
    images = [pixels("".join(place(n, k, t, T=t) for t in range(3)), t=3) for k, n in enumerate(names)]
    for k, name in enumerate(names):
        write(tmp_path / name, STACK[3 * k : 3 * k + 3], document(k, images))
        restored(tmp_path / name, tmp_path / f"out_{name}")
        assert_array_equal(tifffile.imread(tmp_path / f"out_{name}"), STACK[3 * k : 3 * k + 3] // 2)
        xml = tifffile.tiffcomment(tmp_path / f"out_{name}")
        assert re.findall("<Image ID=[^>]*", xml) == [f'<Image ID="Image:{k}"']
        assert "FileName" not in xml


@pytest.mark.parametrize("name", ["run.companion.ome", "run.ome.tif"])
def test_metadata_in_a_file_of_their_own(tmp_path, name):
    names = ["run.ome.tif", "run_1.ome.tif"]
    data = "".join(place(names[t // 3], t // 3, t % 3, T=t) for t in range(6))
    whole = document(8, [pixels(data, t=6)])
    for k in (0, 1):
        binary = f'<?xml version="1.0"?><OME xmlns="{NS}" UUID="{uuid(k)}"><BinaryOnly MetadataFile="{name}" '
        xml = f'{binary}UUID="{uuid(8)}"/></OME>'
        write(
            tmp_path / names[k], STACK[3 * k : 3 * k + 3], xml if names[k] != name else document(k, [pixels(data, t=6)])
        )
    if name.endswith(".ome"):
        (tmp_path / name).write_text(whole)
    restored(tmp_path / names[0], tmp_path / "out.ome.tif")
    assert_array_equal(tifffile.imread(tmp_path / "out.ome.tif"), STACK // 2)
    assert "BinaryOnly" not in tifffile.tiffcomment(tmp_path / "out.ome.tif")
    with pytest.raises(PartOfSetError):
        read_recording(tmp_path / names[1])
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=rf"of which {name} is not in its folder|no such file"):
        read_recording(tmp_path / (names[0] if name.endswith(".ome") else names[1]))


def test_a_companion_that_holds_no_pixels_is_no_image(tmp_path):
    (tmp_path / "run.companion.ome").write_text(document(0, [pixels("<MetadataOnly/>")]))
    with pytest.raises(InputError, match="holds metadata and no pixels; name the image files beside it"):
        read_recording(tmp_path / "run.companion.ome")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda p: p.unlink(), "a set of files of which run_1.ome.tif is not in its folder; put the whole set there"),
        (lambda p: p.write_bytes(p.read_bytes()[:9000]), r"of which run_1.ome.tif is cut short \(\d+ bytes of"),
        (lambda p: p.write_text("hello"), "of which run_1.ome.tif is no TIFF"),
        (lambda p: write(p, STACK[3:], document(5, [])), "of which run_1.ome.tif is another file .its UUID is urn:uu"),
        (
            lambda p: tifffile.imwrite(p, STACK[3:].astype("u1"), photometric="minisblack", ome=False),
            "one holds uint8 .* uint16",
        ),
        (
            lambda p: tifffile.imwrite(p, STACK[3:5], photometric="minisblack", ome=False),
            "cut short .5 pages for 6 planes.",
        ),
    ],
)
def test_a_set_that_is_not_whole_is_refused(tmp_path, change, reason):
    first, second = in_two(tmp_path)
    change(second)
    with pytest.raises(InputError, match=reason) as caught:
        read_recording(first)
    assert str(caught.value).startswith(str(first))


@pytest.mark.parametrize("name", ["../run_1.ome.tif", "/etc/passwd", "a/b.tif", "..", "a\\b.tif"])
def test_no_file_of_another_folder_is_opened(tmp_path, name):
    data = place("run.ome.tif", 0, 0, T=0) + place(name, 1, 0, T=1)
    write(tmp_path / "run.ome.tif", STACK[0], document(0, [pixels(data, t=2)]))
    with pytest.raises(InputError, match="which is no file of its folder; save it again"):
        read_recording(tmp_path / "run.ome.tif")


def test_a_file_that_was_renamed_is_its_own(tmp_path):
    for k, head in enumerate((document(0, [pixels(place("old.ome.tif", 0, 0))]),) * 2):
        write(tmp_path / f"{k}.ome.tif", STACK[0], head if k else head.replace(f' UUID="{uuid(0)}"', "", 1))
        restored(tmp_path / f"{k}.ome.tif", tmp_path / "out.ome.tif")
        assert_array_equal(tifffile.imread(tmp_path / "out.ome.tif"), STACK[0] // 2)


def test_a_batch_reads_a_set_once_and_again_when_another_file_of_it_changes(tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    first, second = in_two(folder)

    def restore():
        fast = ["--method", "spectral", "--restorer", "wiener", "--no-pictures", "--psf-size", "15", "--json"]
        assert cli.main(["restore", str(folder), "-o", str(tmp_path / "out"), *fast]) == 0
        return json.loads(capsys.readouterr().out)["images"]

    images = restore()
    assert [(Path(image["input"]).name, image["status"]) for image in images] == [
        ("run.ome.tif", "done"),
        ("run_1.ome.tif", "part"),
    ]
    assert images[0]["image"]["shape"] == [6, H, W]
    assert images[1]["first"] == str(first)
    assert not list((tmp_path / "out").glob("run_1*"))
    assert [image["status"] for image in restore()] == ["kept", "part"]
    with second.open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\1\2\3\4")
    assert [image["status"] for image in restore()] == ["done", "part"]


def test_the_same_work_gives_the_same_file_and_other_work_another(tmp_path):
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, metadata={"axes": "TYX"}, photometric="minisblack")
    recording = read_recording(tmp_path / "a.ome.tif")
    for name, factor in (("b", 2), ("c", 2), ("d", 3)):
        write_recording(tmp_path / name, (frame // factor for frame in recording.frames()), recording)
    b, c, d = ((tmp_path / name).read_bytes() for name in "bcd")
    assert b == c
    found = {re.search(rb'OME [^>]*UUID="([^"]+)"', data).group(1) for data in (b, d)}
    assert len(found) == 2
