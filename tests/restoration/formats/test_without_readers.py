"""What is said where the readers of the extra are not installed; these tests need none of them."""

import sys

import pytest

from deepblur.platform.system.errors import InputError
from deepblur.restoration.batch.inputs import items_of
from deepblur.restoration.batch.watch import _Watch
from deepblur.restoration.formats.files import open_image
from deepblur.restoration.formats.kinds import kind_of


def zarr(folder):
    (folder / "0").mkdir(parents=True)
    (folder / ".zattrs").write_text('{"multiscales": [{"datasets": [{"path": "0"}]}]}')
    (folder / "0" / ".zarray").write_text('{"shape": [40, 40], "compressor": null, "filters": null}')
    (folder / "0" / "0.0").write_bytes(bytes(1600))
    return folder


def starting_with(start, at=0):
    def make(path):
        path.write_bytes((bytes(at) + start).ljust(600, b"\0"))
        return path

    return make


FILES = [
    (zarr, "a.zarr", "bioio_ome_zarr"),
    (starting_with(b"ZISRAWFILE"), "a.czi", "bioio_czi"),
    (starting_with(b"\xda\xce\xbe\x0a"), "a.nd2", "bioio_nd2"),
    (starting_with(b"\x70\0\0\0"), "a.lif", "bioio_lif"),
    (starting_with(b"\xa0\xc0", 96), "a.dv", "bioio_dv"),
    (starting_with(b"MAP ", 208), "a.mrc", "mrcfile"),
    (starting_with(b"SIMPLE  =  T"), "a.fits", "astropy.io.fits"),
]


@pytest.mark.parametrize(("make", "name", "module"), FILES, ids=[name for _, name, _ in FILES])
def test_a_sentence_names_the_extra(tmp_path, monkeypatch, make, name, module):
    path = make(tmp_path / name)
    monkeypatch.setitem(sys.modules, module, None)
    assert [item.path for item in items_of([tmp_path]).items] == [path]
    with pytest.raises(
        InputError, match=rf"{name}: is .*, whose reader is not installed; pip install 'deepblur\[formats"
    ):
        open_image(path)


def test_a_picture_is_none_of_them_whatever_its_bytes_say(tmp_path):
    for start in (b"II*\0", b"\x89PNG"):
        path = starting_with(start.ljust(96, b"\0") + b"\xa0\xc0")(tmp_path / "a.tif")
        assert kind_of(path) == ""


def test_a_watched_folder_waits_for_all_chunks_and_takes_every_position(tmp_path):
    plate, out = tmp_path / "in" / "plate.zarr", tmp_path / "out"
    for name in "01":
        zarr(plate / name)
    (plate / ".zattrs").write_text('{"bioformats2raw.layout": 3}')
    watch = _Watch([tmp_path / "in"], out, False, 10)
    assert watch.complete(0).items == ()
    (plate / "1" / "0" / "0.1").write_bytes(bytes(1600))  # deep below the folder, whose own time stays
    assert watch.complete(10).items == ()
    assert [item.name for item in watch.complete(20).items] == ["plate_position0", "plate_position1"]
    assert watch.complete(40).items == ()
