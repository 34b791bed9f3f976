"""MRC, written by mrcfile, and DeltaVision, written by mrc: stacks and volumes become OME-TIFF."""

import numpy as np
import pytest

from deepblur.platform.system.errors import InputError
from deepblur.restoration.formats.files import open_image, write_image
from deepblur.restoration.images.io import read_recording

mrcfile = pytest.importorskip("mrcfile", reason="needs pip install 'deepblur[formats]'")
mrc = pytest.importorskip("mrc", reason="comes with bioio-dv")

STACK = np.random.default_rng(0).integers(-300, 4000, (3, 40, 56)).astype(np.int16)


def write(path, values=STACK, volume=False):
    with mrcfile.new(path) as file:
        file.set_data(values)
        file.voxel_size = (650, 650, 5000)  # in Ångström
        if values.ndim == 3:
            file.set_volume() if volume else file.set_image_stack()
    return path


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "float32", "float16"])
def test_values_of_every_type_are_read_and_written(tmp_path, dtype):
    values = (STACK % 100).astype(dtype)
    before = open_image(write(tmp_path / "a.mrc", values))
    assert (before.axes, before.shape) == ("IYX", (3, 40, 56))
    assert before.dtype == ("float32" if dtype == "float16" else dtype)
    write_image(tmp_path / "a.ome.tif", before.frames(), before)
    after = read_recording(tmp_path / "a.ome.tif")
    assert (after.length, after.pixel_um) == (3, pytest.approx(0.065))
    for frame, plane in zip(after.frames(), values, strict=True):
        np.testing.assert_array_equal(frame[0], plane)


def test_a_volume_has_planes_and_their_distance(tmp_path):
    found = open_image(write(tmp_path / "a.mrc", volume=True))
    assert (found.axes, found.labels[2], found.z_um) == ("ZYX", "z=2", pytest.approx(0.5))
    single = open_image(write(tmp_path / "b.mrc", STACK[0]))
    assert (single.axes, single.length) == ("YX", 1)


def test_complex_values_and_half_a_file_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"a.mrc: holds complex64, no intensity"):
        open_image(write(tmp_path / "a.mrc", STACK.astype(np.complex64)))
    path = write(tmp_path / "b.mrc")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"b.mrc: ") as caught:
        open_image(path)
    assert "\n" not in str(caught.value)


def test_deltavision_states_its_lens_and_the_light_of_each_channel(tmp_path):
    stack = np.random.default_rng(1).integers(0, 4000, (2, 4, 40, 56)).astype(np.int16)
    about = {"dx": 0.065, "dy": 0.065, "dz": 0.5, "wave": [457, 528, 0, 0, 0], "LensNum": 10612}
    mrc.save(stack, str(tmp_path / "a.dv"), zAxisOrder="wz", metadata=about)
    before = open_image(tmp_path / "a.dv")
    assert (before.format, before.axes, before.shape, before.dtype) == ("dv", "ZCYX", (4, 2, 40, 56), "int16")
    assert (before.na, before.index, before.emission_nm) == (1.42, 1.518, (457.0, 528.0))
    assert (before.pixel_um, before.z_um) == (pytest.approx(0.065), 0.5)
    write_image(tmp_path / "a.ome.tif", before.frames(), before)
    after = read_recording(tmp_path / "a.ome.tif")
    assert (after.na, after.index, after.emission_nm, after.axes[-4:]) == (1.42, 1.518, (457.0, 528.0), "ZCYX")
    for k, frame in enumerate(after.frames()):
        np.testing.assert_array_equal(frame, stack[:, k])
