"""A frame that does not fit into memory goes over the disk, and comes out as it would have in memory."""

import errno
import os
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from test_recording import values
from torch.testing import assert_close

from deepblur.operators import noise, noise_std_of
from deepblur.platform.system.errors import InputError, OutputError
from deepblur.restoration.batch.calibrate import read_stack
from deepblur.restoration.channels import channels_of
from deepblur.restoration.engines.engine import IdentifiedBlur
from deepblur.restoration.engines.training_free import TrainingFreeEngine
from deepblur.restoration.images import scratch
from deepblur.restoration.images.io import read_recording, recording_of, write_recording
from deepblur.restoration.images.scratch import Scratch
from deepblur.restoration.memory import ShareError, share_of, tile_for, with_room
from deepblur.restoration.options import Options
from deepblur.restoration.session import Session

H, W = 70, 101
SIZE = (H, W)
TIFFS = {
    "strips": (values("u2", H, W), {"compression": "zlib", "rowsperstrip": 7}),
    "one strip": (values("u2", H, W), {"compression": "lzw", "rowsperstrip": H}),
    "plain": (values("f4", H, W), {}),
    "big-endian": (values("u2", H, W), {"byteorder": ">"}),
    "tiles": (values("f4", H, W), {"compression": "zlib", "tile": (32, 48), "predictor": True}),
    "rgb": (values("u1", H, W, 3), {"photometric": "rgb", "compression": "zlib"}),
    "alpha": (values("u1", H, W, 4), {"photometric": "rgb", "extrasamples": ["unassalpha"], "tile": (32, 32)}),
    "planar": (values("u2", 3, H, W), {"photometric": "rgb", "planarconfig": "separate", "compression": "zlib"}),
    "channels": (values("u2", 2, 3, H, W), {"metadata": {"axes": "TCYX"}, "compression": "zstd"}),
    "channels slowest": (values("u2", 3, 2, H, W), {"metadata": {"axes": "CTYX"}, "compression": "zlib"}),
    "imagej": (values("u2", 3, H, W), {"imagej": True}),
    "turned": (values("u1", H, W, 3), {"photometric": "rgb", "extratags": [(274, 3, 1, 6, True)], "rowsperstrip": 9}),
    "white is zero": (values("u1", H, W), {"photometric": "miniswhite", "compression": "zlib"}),
    "palette": (values("u1", H, W), {"photometric": "palette", "compression": "zlib",
                                     "colormap": values("u2", 3, 256)}),
    "cmyk": (values("u1", 4, H, W), {"photometric": "separated", "planarconfig": "separate", "compression": "zlib"}),
    "jpeg": (values("u1", 128, 160, 3), {"photometric": "ycbcr", "compression": "jpeg", "tile": (64, 64)}),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(scratch, "_BAND_VALUES", 1000)


def save(path, name):
    array, settings = TIFFS[name]
    tifffile.imwrite(path, array, **{"photometric": "minisblack", **settings})
    return path


@pytest.mark.parametrize("name", TIFFS)
def test_a_frame_read_in_parts_is_the_frame(name, tmp_path):
    whole = read_recording(save(tmp_path / "image.tif", name))
    parts = replace(whole, scratch=Scratch(tmp_path), last={})
    for index in range(whole.length):
        for there, here in ((whole.frame, parts.frame), (whole.kept, parts.kept)):
            assert np.array_equal(there(index), here(index))
            assert there(index).dtype == here(index).dtype
    assert [path.name for path in tmp_path.iterdir()] == ["image.tif"]  # the arrays have no names


@pytest.mark.parametrize("name", TIFFS)
def test_a_frame_written_in_parts_gives_the_same_file(name, tmp_path):
    whole = read_recording(save(tmp_path / "image.tif", name))
    parts = replace(whole, scratch=Scratch(tmp_path), last={})
    for file, recording in (("whole.tif", whole), ("parts.tif", parts)):
        write_recording(tmp_path / file, recording.frames(), recording)
    assert (tmp_path / "parts.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()


class Oracle(TrainingFreeEngine):
    """Knows the PSF: the tests are about what lies around it."""

    def identify(self, y):
        bump = torch.hann_window(11, periodic=False)[1:-1]
        return IdentifiedBlur(bump.outer(bump) / bump.outer(bump).sum())


@pytest.fixture
def engine():
    return Oracle("l0", "wiener", psf_size=9, eta_waves=0.15, cutoff=0.2)


@pytest.mark.parametrize("channels", ["shared", "each"])
@pytest.mark.parametrize("tile", [None, 256])
def test_the_result_is_that_of_memory(channels, tile, engine, tmp_path):
    scene = np.random.default_rng(0).integers(100, 4000, (2, 3, 300, 420)).astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "image.tif", scene, photometric="minisblack", metadata={"axes": "TCYX"}, compression="zlib"
    )
    results = []
    for folder in (None, tmp_path):
        recording = replace(read_recording(tmp_path / "image.tif"), scratch=Scratch(folder), last={})
        options = Options(channels=channels, tile_px=tile)
        session = Session(engine, recording, options, channels_of(recording, channels))
        results.append((np.stack([frame.copy() for frame in session.frames()]), session))
    (memory, there), (disk, here) = results
    assert np.array_equal(memory, disk)
    assert there.tiles == here.tiles == (12 if tile else 1)
    assert [blur.as_json() for blur in there.blurs] == [blur.as_json() for blur in here.blurs]
    assert here.first[0].shape == (3, 300, 420)
    identified = [list(Session(engine, s.recording, s.options, s.channels).identified()) for s in (there, here)]
    assert [b.as_json() for bs in identified[0] for b in bs] == [b.as_json() for bs in identified[1] for b in bs]


def test_a_frame_goes_over_the_disk_where_memory_has_no_room(engine, tmp_path, monkeypatch):
    monkeypatch.setattr("deepblur.restoration.memory.held_bytes", lambda: 400 * 2**20)
    small = recording_of(values("u2", H, W))
    assert with_room(small, engine, Options(max_memory_gib=2.0), tmp_path) is small
    large = recording_of(np.broadcast_to(np.uint16(0), (8000, 8000)))
    assert with_room(large, engine, Options(max_memory_gib=2.0), tmp_path).scratch.folder == tmp_path
    assert with_room(large, engine, Options(max_memory_gib=16.0), tmp_path) is large
    four = recording_of(np.broadcast_to(np.uint16(0), (4, 6000, 6000)), "CYX")
    assert with_room(four, engine, Options(max_memory_gib=2.0), tmp_path).scratch.on_disk


def test_what_is_stored_in_one_piece_is_refused_by_its_header(engine, tmp_path):
    side = 9000
    Image.new("RGB", (side, side)).save(tmp_path / "large.png")
    with pytest.raises(InputError, match=r"large.png: 9000x9000 pixels .* need .* GiB; --max-memory allows"):
        with_room(read_recording(tmp_path / "large.png"), engine, Options(max_memory_gib=1.6), tmp_path)


def test_a_full_disk_is_said_before_anything_is_written(tmp_path, monkeypatch):
    def none_left(file, start, length):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", none_left)
    with pytest.raises(OutputError, match=r"a large frame could not be kept on its disk.* is full"):
        Scratch(tmp_path).empty(SIZE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("steps", [None, 20])
def test_the_noise_of_a_large_image_is_the_median_of_all_of_it(draw, steps, monkeypatch):
    image = draw(120, 131).float()
    image = image if steps is None else (image * steps).round() / steps  # many details of one magnitude
    expected = noise_std_of(image)
    monkeypatch.setattr(noise, "_AT_ONCE", 1000)
    assert_close(noise_std_of(image), expected, rtol=1e-4, atol=0)
    assert noise_std_of(torch.zeros(60, 70)) == 0


def test_a_stack_that_must_be_held_whole_is_refused_by_its_header(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "beads.tif", values("u2", 3, H, W), photometric="minisblack")
    free = type("Memory", (), {"available": 1000})
    monkeypatch.setattr("deepblur.restoration.images.recording.psutil.virtual_memory", lambda: free)
    monkeypatch.setattr("deepblur.restoration.images.recording.Recording.frame", lambda *_: pytest.fail("read"))
    with pytest.raises(InputError, match=r"beads.tif: all its frames at once need .* GiB.* take a part of it"):
        read_stack(tmp_path / "beads.tif")


def test_a_share_of_the_memory_decides_about_nothing(tmp_path):
    engine = TrainingFreeEngine("spectral", "tv", psf_size=31, eta_waves=0.15, cutoff=0.2)
    everything = Options(max_memory_gib=4.0)
    small, large = (recording_of(np.zeros((side, side), np.uint8)) for side in (600, 9000))
    share = share_of(everything, 1)
    assert share.max_memory_gib < 4.0
    assert with_room(small, engine, share, tmp_path) is small
    assert tile_for(engine, torch.zeros(1, 600, 600), share) == tile_for(engine, torch.zeros(1, 600, 600), everything)
    tight = share_of(everything, 1000)
    for refused in (
        lambda: with_room(large, engine, tight, tmp_path),
        lambda: tile_for(engine, torch.zeros(1, 600, 600), tight),
    ):
        with pytest.raises(ShareError, match="more than a share of"):
            refused()
    assert repr(share) == repr(everything).replace("4.0", repr(share.max_memory_gib))  # it is no part of any key
