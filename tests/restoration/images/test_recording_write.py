"""A result appears whole or not at all, whatever happens on the way."""

import errno
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from PIL import Image

from deepblur.platform.system import whole_files as output_file
from deepblur.platform.system.errors import InputError, OutputError
from deepblur.platform.system.whole_files import replacing
from deepblur.restoration.images.io import read_recording, write_recording

PIXELS = np.random.default_rng(0).integers(0, 255, (3, 12, 20), np.uint8)


@pytest.fixture(params=["tif", "ome.tif", "packed.tif", "png", "jpg"])
def recording(request, tmp_path):
    path = tmp_path / f"a.{request.param}"
    if "tif" in request.param:
        compression = "zlib" if "packed" in request.param else None
        tifffile.imwrite(path, PIXELS, photometric="minisblack", compression=compression, metadata={"axes": "ZYX"})
    else:
        Image.fromarray(PIXELS[0]).save(path)
    return read_recording(path)


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def failing(recording, error):
    yield from list(recording.frames())[:-1]
    raise error


@pytest.mark.parametrize(
    "error", [InputError("bad frame"), KeyboardInterrupt(), MemoryError(), OSError(errno.ENOSPC, "mine"), SystemExit(1)]
)
def test_an_error_of_the_frames_passes_unchanged_and_leaves_no_file(recording, out, error):
    with pytest.raises(type(error)) as caught:
        write_recording(out / "b.tif", failing(recording, error), recording)
    assert caught.value is error
    assert list(out.iterdir()) == []


def test_an_older_result_survives_a_failure(recording, out):
    (out / "b.tif").write_text("older")
    with pytest.raises(KeyboardInterrupt):
        write_recording(out / "b.tif", failing(recording, KeyboardInterrupt()), recording)
    assert (out / "b.tif").read_text() == "older"
    assert len(list(out.iterdir())) == 1


def test_a_file_may_be_replaced_by_its_own_restoration(recording):
    write_recording(recording.path, recording.frames(), recording)
    assert read_recording(recording.path).shape == recording.shape
    assert len(list(recording.path.parent.iterdir())) == 1


def test_frames_that_do_not_fit_are_refused(recording, out):
    frames = list(recording.frames())
    for wrong in (frames[:-1], [*frames, frames[0]], [f[:, 1:] for f in frames], [f.astype(float) for f in frames]):
        with pytest.raises(ValueError, match=r"frame 1 is|frames for|frame \d is"):
            write_recording(out / "b.tif", wrong, recording)
        assert list(out.iterdir()) == []


def test_a_full_disk_is_one_sentence(recording, out, monkeypatch):
    def full(fd):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"b.tif: could not be written, because the disk of .*out is full .*room"):
        write_recording(out / "b.tif", recording.frames(), recording)
    assert list(out.iterdir()) == []


def test_room_is_looked_for_before_anything_is_written(out, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(OutputError, match=r"is full \(0.0 MB free\)"), replacing(out / "b", needed_bytes=1001):
        raise AssertionError("nothing may be written")


def test_a_disk_that_fills_up_while_tifffile_writes(tmp_path, out, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS, photometric="minisblack")
    recording = read_recording(path)
    real = tifffile.FileHandle.write

    def write(self, buffer):
        if self.tell() > 500:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(self, buffer)

    monkeypatch.setattr(tifffile.FileHandle, "write", write)
    with pytest.raises(OutputError, match="is full"):
        write_recording(out / "b.tif", recording.frames(), recording)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere/b.tif", "because there is no folder .*nowhere; create it"),
        ("file/b.tif", "because .*file is no folder; choose another name"),
        ("folder", "because that is a folder"),
        ("x" * 300 + ".tif", "its name is too long for this disk"),
    ],
)
def test_a_place_that_takes_no_file_is_named(recording, out, name, reason):
    (out / "file").touch()
    (out / "folder").mkdir()
    with pytest.raises(OutputError, match=reason) as caught:
        write_recording(out / name, recording.frames(), recording)
    assert str(caught.value).startswith(str(out / name))
    assert {file.name for file in out.iterdir()} == {"file", "folder"}


@pytest.mark.parametrize(
    ("code", "reason"),
    [(errno.EACCES, "does not let you; choose a folder"), (errno.EROFS, "is read-only"), (errno.EIO, "error of the d")],
)
def test_a_folder_that_refuses(out, monkeypatch, code, reason):
    def refuse(source, target):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(output_file.os, "replace", refuse)
    with pytest.raises(OutputError, match=reason), replacing(out / "b") as file:
        file.write(b"x")
    assert list(out.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_permission(recording, out):
    out.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="does not let you"):
            write_recording(out / "b.tif", recording.frames(), recording)
    finally:
        out.chmod(0o700)


def test_a_large_recording_is_bigtiff(tmp_path, monkeypatch):
    from deepblur.restoration.images import tiff_write as recording_tiff_write

    monkeypatch.setattr(recording_tiff_write, "_BIG_BYTES", 100)
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="minisblack")
    recording = read_recording(tmp_path / "a.tif")
    write_recording(tmp_path / "b.tif", recording.frames(), recording)
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        assert tiff.is_bigtiff
        assert np.array_equal(tiff.asarray(), PIXELS)
