"""OME-Zarr: written by bioio's own writer, read, restored and written back as what it was."""

import json
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from skimage import data

from deepblur.platform.system.errors import InputError
from deepblur.restoration.batch.inputs import items_of
from deepblur.restoration.batch.restore import restore_files
from deepblur.restoration.formats.files import content_hash, open_image, positions_of, write_image
from deepblur.restoration.options import EngineChoice

writers = pytest.importorskip("bioio_ome_zarr.writers", reason="needs pip install 'deepblur[formats]'")

STACK = np.random.default_rng(0).integers(0, 4000, (3, 2, 2, 40, 56)).astype(np.uint16)
AXES = {"axes_names": ["t", "c", "z", "y", "x"], "axes_types": ["time", "channel", "space", "space", "space"]}


def write(folder, stack=STACK, version=3, chunks=(1, 1, 1, 20, 28), units=("second", None, "micrometer"), side=0.065):
    """A pyramid of two levels, as a microscope's software leaves it."""
    half = (*stack.shape[:-2], stack.shape[-2] // 2, stack.shape[-1] // 2)
    writer = writers.OMEZarrWriter(
        str(folder),
        level_shapes=[stack.shape, half],
        dtype=stack.dtype,
        chunk_shape=chunks,
        zarr_format=version,
        channels=[writers.Channel(label=name, color="00FF00") for name in ("DAPI", "GFP")[: stack.shape[1]]],
        axes_units=[*units, units[2], units[2]],
        physical_pixel_size=[2.0, 1.0, 0.5, side, side],
        **AXES,
    )
    with warnings.catch_warnings():  # of dask, about chunks that it divides
        warnings.simplefilter("ignore")
        writer.write_full_volume(stack)
    return folder


def change(file, edit):
    said = json.loads(file.read_text())
    edit(said)
    file.write_text(json.dumps(said))


@pytest.mark.parametrize("version", [2, 3])
def test_frames_and_metadata_are_those_of_the_file(tmp_path, version):
    found = open_image(write(tmp_path / "cells.ome.zarr", version=version))
    assert (found.axes, found.shape, found.dtype, found.length, found.channels) == (
        "TCZYX",
        STACK.shape,
        "uint16",
        6,
        2,
    )
    assert found.labels[3] == "t=1, z=1"
    for k, frame in enumerate(found.frames()):
        np.testing.assert_array_equal(frame, STACK[k // 2, :, k % 2])
    assert found.channel_names == ("DAPI", "GFP")
    assert (found.pixel_um, found.pixel_height_um, found.z_um, found.interval_s) == (0.065, 0.065, 0.5, 2.0)
    assert found.bits == 16
    assert not found.rgb


def test_units_count_and_without_one_nothing_is_known(tmp_path):
    found = open_image(write(tmp_path / "a.zarr", units=("millisecond", None, "nanometer"), side=65.0))
    assert (found.pixel_um, found.interval_s) == (pytest.approx(0.065), 0.002)
    found = open_image(write(tmp_path / "b.zarr", units=(None, None, None), side=1.0))
    assert (found.pixel_um, found.interval_s) == (None, None)


@pytest.mark.parametrize("version", [2, 3])
def test_what_is_written_is_an_image_of_the_same_kind(tmp_path, version):
    before = open_image(write(tmp_path / "a.ome.zarr", version=version, chunks=(3, 2, 2, 40, 56)))
    (tmp_path / "b.ome.zarr").mkdir()
    (tmp_path / "b.ome.zarr" / "older").write_text("")
    write_image(tmp_path / "b.ome.zarr", (4095 - frame for frame in before.frames()), before)
    after = open_image(tmp_path / "b.ome.zarr")
    assert (after.axes, after.shape, after.channel_names) == (before.axes, before.shape, before.channel_names)
    assert (after.pixel_um, after.z_um, after.interval_s) == (before.pixel_um, before.z_um, before.interval_s)
    for old, new in zip(before.frames(), after.frames(), strict=True):
        np.testing.assert_array_equal(new, 4095 - old)
    name = ".zgroup" if version == 2 else "zarr.json"
    assert json.loads((tmp_path / "b.ome.zarr" / name).read_text())["zarr_format"] == version
    assert after.source.pieces == (1, 1, 1, 40, 56)
    assert not (tmp_path / "b.ome.zarr" / "older").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ome.zarr", "b.ome.zarr"]
    write_image(tmp_path / "c.ome.zarr", (4095 - frame for frame in before.frames()), before)
    assert content_hash(tmp_path / "b.ome.zarr").digest() == content_hash(tmp_path / "c.ome.zarr").digest()


def test_a_failure_leaves_the_older_result(tmp_path):
    before = open_image(write(tmp_path / "a.ome.zarr"))
    (tmp_path / "b.ome.zarr").mkdir()

    def failing():
        yield before.frame(0)
        raise InputError("bad frame")

    with pytest.raises(InputError, match="bad frame"):
        write_image(tmp_path / "b.ome.zarr", failing(), before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ome.zarr", "b.ome.zarr"]
    assert list((tmp_path / "b.ome.zarr").iterdir()) == []


def test_memory_holds_a_frame_and_no_more_than_its_chunks(tmp_path):
    found = open_image(write(tmp_path / "a.zarr", chunks=(1, 1, 1, 20, 28)))
    read = []
    source = found.source
    object.__setattr__(source, "read", lambda index, real=source.read: read.append(index) or real(index))
    found.frame(2)
    assert [index[:3] for index in read] == [(1, slice(0, 1), 0), (1, slice(1, 2), 0)]
    assert found.source.at_once_bytes() < 4 * STACK[0, 0, 0].nbytes


def batch(images, out, **more):
    return restore_files(images, out, engine=EngineChoice(psf=point(), restorer="wiener"), pictures=False, **more)


def point():
    psf = np.zeros((7, 7), np.float32)
    psf[2:5, 2:5] = 1 / 9
    return psf


def photograph(channels=1):
    crop = data.camera()[100:196, 150:246].astype(np.uint16)
    return np.stack([np.stack([crop + 100 * t + c for c in range(channels)]) for t in range(2)])[:, :, None]


def test_a_folder_is_restored_and_kept_the_second_time(tmp_path):
    write(tmp_path / "in" / "cells.ome.zarr", photograph())
    tifffile.imwrite(tmp_path / "in" / "other.tif", photograph()[0, 0, 0])
    out = tmp_path / "out"
    found = batch([tmp_path / "in"], out)
    assert [entry["status"] for entry in found.images] == ["done", "done"]
    assert found.left_out == []
    assert found.images[0]["files"]["image"] == "cells_restored.ome.zarr"
    restored = open_image(out / "cells_restored.ome.zarr")
    assert restored.shape == (2, 1, 1, 96, 96)
    assert restored.frame(0).std() > photograph()[0].std()
    stamp = (out / "cells_restored.ome.zarr").stat().st_mtime_ns
    again = batch([tmp_path / "in"], out)
    assert [entry["status"] for entry in again.images] == ["kept", "kept"]
    assert (out / "cells_restored.ome.zarr").stat().st_mtime_ns == stamp
    with pytest.raises(InputError, match=r"there is no image in .*cells_restored.ome.zarr"):
        items_of([out])
    shutil.rmtree(out / "cells_restored.ome.zarr")
    assert batch([tmp_path / "in" / "cells.ome.zarr"], out).images[0]["status"] == "done"
    chunk = next(path for path in (tmp_path / "in" / "cells.ome.zarr" / "0" / "c").rglob("*") if path.is_file())
    write(tmp_path / "in" / "cells.ome.zarr", photograph() + 7)
    assert chunk.is_file()
    assert batch([tmp_path / "in" / "cells.ome.zarr"], out).images[0]["status"] == "done"
    names = {path.name for path in out.iterdir() if "cells" in path.name}
    assert names == {"cells_restored.ome.zarr", "cells_psf.tif", "cells_report.json"}


def test_a_result_that_somebody_changed_is_not_replaced(tmp_path):
    write(tmp_path / "cells.ome.zarr", photograph())
    out = tmp_path / "out"
    batch([tmp_path / "cells.ome.zarr"], out)
    (out / "cells_restored.ome.zarr" / "notes.txt").write_text("mine")
    found = batch([tmp_path / "cells.ome.zarr"], out, again=True)
    assert found.images[0]["files"]["image"] == "cells-2_restored.ome.zarr"
    assert (out / "cells_restored.ome.zarr" / "notes.txt").read_text() == "mine"


BIOFORMATS = """<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Instrument ID="Instrument:0">
<Objective ID="Objective:0" LensNA="1.4" Immersion="Oil"/></Instrument>{}</OME>"""
IMAGE = """<Image ID="Image:{0}"><ObjectiveSettings ID="Objective:0"/><Pixels ID="Pixels:{0}" DimensionOrder="XYZCT"
Type="uint16" SizeX="96" SizeY="96" SizeZ="1" SizeC="1" SizeT="2"><Channel ID="Channel:{0}:0"
EmissionWavelength="{1}"/><MetadataOnly/></Pixels></Image>"""


def several(folder):
    """Two images, as bioformats2raw writes them."""
    for k in range(2):
        write(folder / str(k), photograph() + 50 * k, version=2)
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    (folder / ".zattrs").write_text('{"bioformats2raw.layout": 3}')
    (folder / "OME").mkdir()
    (folder / "OME" / ".zgroup").write_text('{"zarr_format": 2}')
    (folder / "OME" / ".zattrs").write_text('{"series": ["0", "1"]}')
    xml = BIOFORMATS.format("".join(IMAGE.format(k, (520, 600)[k]) for k in range(2)))
    (folder / "OME" / "METADATA.ome.xml").write_text(xml)
    return folder


def test_positions_are_read_one_by_one_with_their_optics(tmp_path):
    folder = several(tmp_path / "slide.zarr")
    assert positions_of(folder) == 2
    second = open_image(folder, 1)
    np.testing.assert_array_equal(second.frame(0), photograph()[0, :, 0] + 50)
    assert (second.na, second.index, second.emission_nm) == (1.4, 1.518, (600.0,))
    assert second.notes == ("image 2 of 2 in the folder: 1",)
    with pytest.raises(InputError, match=r"slide.zarr: holds 2 images; save the one that is meant"):
        open_image(folder)
    found = batch([folder], tmp_path / "out")
    assert [entry["files"]["image"] for entry in found.images] == [
        f"slide_position{k}_restored.ome.zarr" for k in range(2)
    ]
    assert [entry["position"] for entry in found.images] == [0, 1]
    assert open_image(tmp_path / "out" / "slide_position1_restored.ome.zarr").pixel_um == 0.065
    assert [entry["status"] for entry in batch([folder], tmp_path / "out").images] == ["kept", "kept"]


def test_wells_of_a_plate_are_positions(tmp_path):
    plate = tmp_path / "plate.zarr"
    for well in ("A/1", "B/2"):
        write(plate / well / "0", photograph(), version=2)
        (plate / well / ".zattrs").write_text('{"well": {"images": [{"path": "0"}]}}')
    (plate / ".zattrs").write_text('{"plate": {"wells": [{"path": "A/1"}, {"path": "B/2"}]}}')
    assert open_image(plate, 1).notes == ("image 2 of 2 in the folder: B/2/0",)


@pytest.mark.parametrize("version", [2, 3])
def test_a_codec_that_runs_code_is_refused_before_a_chunk_is_read(tmp_path, version):
    folder = write(tmp_path / "a.zarr", version=version)
    if version == 2:
        change(folder / "0" / ".zarray", lambda said: said.update(filters=[{"id": "pickle"}]))
    else:
        change(folder / "0" / "zarr.json", lambda said: said["codecs"].append({"name": "numcodecs.pickle"}))
    with pytest.raises(InputError, match=r"a.zarr: is packed by the codec '(numcodecs.)?pickle', which is not undone"):
        open_image(folder)


def test_links_and_places_outside_of_the_folder_are_refused(tmp_path):
    folder = write(tmp_path / "a.zarr")
    (folder / "0" / "c" / "9").symlink_to(tmp_path)
    with pytest.raises(InputError, match=r"a.zarr: holds '9', which is a link"):
        open_image(folder)
    plate = tmp_path / "plate.zarr"
    plate.mkdir()
    (plate / ".zattrs").write_text('{"plate": {"wells": [{"path": "../a.zarr"}]}}')
    with pytest.raises(InputError, match=r"plate.zarr: names '../a.zarr' as an image in it"):
        positions_of(plate)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda a: (a / "zarr.json").write_text("{"), "has zarr.json that is no JSON"),
        (lambda a: change(a / "zarr.json", lambda said: said.update(attributes={})), "without an image by OME's rules"),
        (lambda a: shutil.rmtree(a / "0"), "not a readable image"),
        (lambda a: change(a / "0" / "zarr.json", lambda said: said.update(shape=[900, 2, 900, 40, 560])), "claims"),
        (lambda a: os.truncate(next((a / "0" / "c").rglob("1/1/1/0/0")), 5), "not a readable image"),
    ],
)
def test_damage_is_said_in_one_sentence(tmp_path, edit, sentence):
    folder = write(tmp_path / "a.zarr")
    edit(folder)
    with pytest.raises(InputError, match=rf"a.zarr.*: .*{sentence}") as caught:
        list(open_image(folder).frames())
    assert "\n" not in str(caught.value)


def test_a_result_is_written_where_the_name_says_so(tmp_path):
    assert items_of([write(Path(tmp_path) / "cells.ome.zarr")]).items[0].name == "cells"
