"""Nikon ND2 and Leica LIF at the interface of bioio's readers: a stand-in, for nothing writes such files.

What is held here is what we ask of a reader and make of its answers; that the real readers answer so is their word.
"""

import sys
from types import ModuleType, SimpleNamespace
from typing import ClassVar
from xml.etree import ElementTree

import numpy as np
import pytest

from deepblur.platform.system.errors import InputError
from deepblur.restoration.formats.files import open_image, positions_of, write_image
from deepblur.restoration.images.io import read_recording

dask = pytest.importorskip("dask.array", reason="needs pip install 'deepblur[formats]'")

STACK = np.random.default_rng(0).integers(0, 4000, (3, 2, 40, 56)).astype(np.uint16)
NIKON = """<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Instrument ID="Instrument:0">
<Objective ID="Objective:0" LensNA="1.45" Immersion="Oil"/></Instrument><Image ID="Image:0">
<ObjectiveSettings ID="Objective:0"/><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="56" SizeY="40"
SizeZ="1" SizeC="2" SizeT="3" PhysicalSizeX="0.065" PhysicalSizeY="0.065" TimeIncrement="500" TimeIncrementUnit="ms">
<Channel ID="Channel:0:0" Name="DAPI" EmissionWavelength="450"/>
<Channel ID="Channel:0:1" Name="GFP" EmissionWavelength="520"/></Pixels></Image></OME>"""
LEICA = """<LMSDataContainerHeader><Element><Children><Element Name="a"><Data><Image><Attachment>
<ATLCameraSettingDefinition NumericalAperture="1.4" RefractionIndex="1.518"/>
<WideFieldChannelInfo EmissionWavelength="450"/><WideFieldChannelInfo EmissionWavelength="520"/></Attachment>
</Image></Data>
</Element><Element Name="b"><Data><Image/></Data></Element></Children></Element></LMSDataContainerHeader>"""


class Standin:
    """What is asked of a reader; the second scene has twice the values."""

    asked: ClassVar[list] = []

    def __init__(self, path):
        self.scenes = ("a", "b")
        self.ome_metadata = SimpleNamespace(to_xml=lambda: NIKON)
        self.metadata = ElementTree.fromstring(LEICA)
        self.physical_pixel_sizes = SimpleNamespace(X=0.1, Y=0.1, Z=None)
        self.channel_names = ["DAPI", "GFP"]
        self.set_scene(0)

    def set_scene(self, number):
        self.data = STACK[:, :, None] * (number + 1)
        self.dims = SimpleNamespace(order="TCZYX", shape=self.data.shape)
        self.dtype = self.data.dtype
        self.dask_data = dask.from_array(self.data, chunks=(1, 1, 1, 40, 56))

    def get_image_data(self, order, **at):
        self.asked.append((order, at))
        return self.data[tuple(at.get(axis, 0 if axis not in order else slice(None)) for axis in "TCZYX")]

    def get_image_dask_data(self, order, **at):
        return dask.from_array(self.get_image_data(order, **at))


@pytest.fixture(params=[("nd2", b"\xda\xce\xbe\x0a"), ("lif", b"\x70\0\0\0")], ids=["nd2", "lif"])
def file(request, tmp_path, monkeypatch):
    kind, start = request.param
    module = ModuleType(f"bioio_{kind}")
    module.Reader = Standin
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(Standin, "asked", [])
    path = tmp_path / f"cells.{kind}"
    path.write_bytes(start + bytes(60_000))
    return path


def test_every_position_is_an_image_of_its_own(file):
    assert positions_of(file) == 2
    with pytest.raises(InputError, match=r"cells.*: holds 2 images; save the one that is meant"):
        open_image(file)
    second = open_image(file, 1)
    assert (second.axes, second.shape, second.dtype) == ("TCYX", (3, 2, 40, 56), "uint16")
    np.testing.assert_array_equal(second.frame(2), 2 * STACK[2])
    assert second.notes == ("image 2 of 2 in the file: b",)


def test_one_plane_at_a_time_is_asked_for(file):
    open_image(file, 0).frame(1)
    assert [(order, at["T"], at["C"]) for order, at in Standin.asked] == [
        ("CYX", 1, slice(0, 1)),
        ("CYX", 1, slice(1, 2)),
    ]


def test_optics_and_sizes_go_into_the_result(file, tmp_path):
    before = open_image(file, 0)
    nikon = file.suffix == ".nd2"
    assert (before.na, before.index) == ((1.45 if nikon else 1.4), 1.518)
    assert (before.emission_nm, before.channel_names) == ((450.0, 520.0), ("DAPI", "GFP"))
    assert (before.pixel_um, before.interval_s) == ((0.065, 0.5) if nikon else (0.1, None))
    write_image(tmp_path / "a.ome.tif", before.frames(), before)
    after = read_recording(tmp_path / "a.ome.tif")
    for name in ("na", "index", "emission_nm", "channel_names", "pixel_um", "interval_s", "dtype", "length"):
        assert getattr(after, name) == getattr(before, name), name


def test_a_number_that_no_lens_has_does_not_count(file, monkeypatch):
    monkeypatch.setitem(globals(), "LEICA", LEICA.replace('"1.4"', '"14"'))
    monkeypatch.setitem(globals(), "NIKON", NIKON.replace('"1.45"', '"14.5"'))
    assert open_image(file, 0).na is None
