"""Zeiss CZI, written by Zeiss's own library: read plane by plane, restored as OME-TIFF with what the file stated."""

from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from skimage import data

from deepblur.platform.system.errors import InputError
from deepblur.restoration.batch.restore import restore_files
from deepblur.restoration.formats.czi import czi_facts
from deepblur.restoration.formats.files import open_image, positions_of, write_image
from deepblur.restoration.images.io import read_recording
from deepblur.restoration.options import EngineChoice

pytest.importorskip("bioio_czi", reason="needs pip install 'deepblur[formats]'")
czi = pytest.importorskip("pylibCZIrw.czi", reason="comes with bioio-czi")

STACK = np.random.default_rng(0).integers(0, 4000, (3, 2, 2, 40, 56)).astype(np.uint16)
METADATA = """<ImageDocument><Metadata><Information><Image>
<ObjectiveSettings><RefractiveIndex>{index}</RefractiveIndex><ObjectiveRef Id="Objective:1"/></ObjectiveSettings>
<Dimensions><T><Positions><Interval><Start>0</Start><Increment>1.5</Increment></Interval></Positions></T><Channels>
<Channel Id="Channel:0" Name="DAPI"><EmissionWavelength>450</EmissionWavelength></Channel>
<Channel Id="Channel:1" Name="GFP"><EmissionWavelength>520</EmissionWavelength></Channel>
</Channels></Dimensions></Image>
<Instrument><Objectives><Objective Id="Objective:0"><LensNA>0.8</LensNA></Objective>
<Objective Id="Objective:1"><LensNA>1.4</LensNA><Immersion>Oil</Immersion></Objective></Objectives></Instrument>
</Information><Scaling><Items><Distance Id="X"><Value>6.5E-08</Value></Distance><Distance Id="Y"><Value>6.5E-08</Value>
</Distance><Distance Id="Z"><Value>5E-07</Value></Distance></Items></Scaling></Metadata></ImageDocument>"""


def write(path, stack=STACK):
    with czi.create_czi(str(path)) as file:
        for t, c, z in np.ndindex(stack.shape[:3]):
            file.write(stack[t, c, z][..., None], plane={"T": t, "C": c, "Z": z})
        names = {c: ("DAPI", "GFP")[c] for c in range(stack.shape[1])}
        file.write_metadata(document_name="cells", channel_names=names, scale_x=6.5e-8, scale_y=6.5e-8, scale_z=5e-7)
    return path


def test_frames_and_metadata_are_those_of_the_file(tmp_path):
    found = open_image(write(tmp_path / "cells.czi"))
    assert (found.axes, found.shape, found.dtype) == ("TZCYX", (3, 2, 2, 40, 56), "uint16")
    assert (found.length, found.channels, found.labels[3]) == (6, 2, "t=1, z=1")
    for k, frame in enumerate(found.frames()):
        np.testing.assert_array_equal(frame, STACK[k // 2, :, k % 2])
    assert found.channel_names == ("DAPI", "GFP")
    assert (found.pixel_um, found.pixel_height_um, found.z_um) == pytest.approx((0.065, 0.065, 0.5))


def test_the_content_decides_not_the_suffix(tmp_path):
    assert open_image(write(tmp_path / "cells.tif")).format == "czi"


def test_the_lens_and_the_light_of_each_channel_are_read():
    facts = czi_facts(ElementTree.fromstring(METADATA.format(index="1.515")), 2)
    assert (facts["na"], facts["index"], facts["emission_nm"]) == (1.4, 1.515, (450.0, 520.0))
    assert (facts["channel_names"], facts["interval_s"]) == (("DAPI", "GFP"), 1.5)
    facts = czi_facts(ElementTree.fromstring(METADATA.format(index="unknown")), 3)
    assert (facts["na"], facts["index"]) == (1.4, 1.518)
    assert "emission_nm" not in facts


def test_a_result_is_an_ome_tiff_that_states_the_same(tmp_path):
    before = open_image(write(tmp_path / "cells.czi"))
    facts = czi_facts(ElementTree.fromstring(METADATA.format(index="1.515")), 2)
    for name, value in facts.items():
        object.__setattr__(before, name, value)
    write_image(tmp_path / "a.ome.tif", (4095 - frame for frame in before.frames()), before)
    after = read_recording(tmp_path / "a.ome.tif")
    assert (after.axes, after.shape, after.dtype) == (before.axes, before.shape, before.dtype)
    for name, value in facts.items():
        assert getattr(after, name) == value, name
    for old, new in zip(before.frames(), after.frames(), strict=True):
        np.testing.assert_array_equal(new, 4095 - old)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        assert (tiff.series[0].axes, tiff.is_ome) == ("TZCYX", True)


def test_colours_stay_colours(tmp_path):
    colours = data.astronaut()[:64, :80]
    with czi.create_czi(str(tmp_path / "slide.czi")) as file:
        file.write(np.ascontiguousarray(colours))
    before = open_image(tmp_path / "slide.czi")
    assert (before.axes, before.shape, before.rgb) == ("YXS", (64, 80, 3), True)
    write_image(tmp_path / "a.ome.tif", before.frames(), before)
    after = read_recording(tmp_path / "a.ome.tif")
    assert after.rgb
    np.testing.assert_array_equal(np.moveaxis(after.frame(0), 0, -1), before.source.read((slice(None),) * 3))
    assert set(map(tuple, before.frame(0).reshape(3, -1).T)) in (
        set(map(tuple, colours.reshape(-1, 3))),
        set(map(tuple, colours[..., ::-1].reshape(-1, 3))),
    )


def test_tiles_are_joined(tmp_path):
    with czi.create_czi(str(tmp_path / "a.czi")) as file:
        for k in range(2):
            file.write(STACK[k, 0, 0][..., None], location=(56 * k, 0), scene=0)
    found = open_image(tmp_path / "a.czi")
    assert found.shape == (40, 112)
    np.testing.assert_array_equal(found.frame(0)[0], np.concatenate([STACK[0, 0, 0], STACK[1, 0, 0]], axis=1))


def test_scenes_that_the_metadata_do_not_name_are_not_lost_in_silence(tmp_path):
    with czi.create_czi(str(tmp_path / "a.czi")) as file:
        for k in range(2):
            file.write(STACK[k, 0, 0][..., None], location=(500 * k, 0), scene=k)
    with pytest.raises(InputError, match=r"a.czi: holds 2 scenes, but its metadata names 1; save each"):
        positions_of(tmp_path / "a.czi")
    with pytest.raises(InputError, match="holds 2 scenes"):
        open_image(tmp_path / "a.czi", 0)


def test_a_file_that_is_cut_short_is_refused_in_one_sentence(tmp_path):
    path = write(tmp_path / "a.czi")
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(InputError, match=r"a.czi: ") as caught:
        list(open_image(path).frames())
    assert "\n" not in str(caught.value)


def test_a_batch_restores_and_keeps(tmp_path):
    photograph = data.camera()[100:196, 150:246].astype(np.uint16)
    write(tmp_path / "in.czi", np.stack([photograph, photograph + 9])[:, None, None])
    engine = EngineChoice(psf=np.pad(np.full((3, 3), 1 / 9, np.float32), 2), restorer="wiener")
    found = restore_files([tmp_path], tmp_path / "out", engine=engine, pictures=False)
    assert found.images[0]["files"]["image"] == "in_restored.ome.tif"
    assert read_recording(tmp_path / "out" / "in_restored.ome.tif").shape[:1] == (2,)
    found = restore_files([tmp_path], tmp_path / "out", engine=engine, pictures=False)
    assert found.images[0]["status"] == "kept"
