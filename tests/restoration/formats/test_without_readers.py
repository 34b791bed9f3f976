"""What is said where the readers of the extra are not installed; these tests need none of them."""

import sys

import pytest

from deepblur.platform.system.errors import InputError
from deepblur.restoration.batch.inputs import items_of
from deepblur.restoration.formats.files import open_image


def zarr(folder):
    (folder / "0").mkdir(parents=True)
    (folder / ".zattrs").write_text('{"multiscales": [{"datasets": [{"path": "0"}]}]}')
    (folder / "0" / ".zarray").write_text('{"shape": [40, 40], "compressor": null, "filters": null}')
    (folder / "0" / "0.0").write_bytes(bytes(1600))
    return folder


def czi(path):
    path.write_bytes(b"ZISRAWFILE" + bytes(600))
    return path


@pytest.mark.parametrize(("make", "name", "module"), [(zarr, "a.zarr", "bioio_ome_zarr"), (czi, "a.czi", "bioio_czi")])
def test_a_sentence_names_the_extra(tmp_path, monkeypatch, make, name, module):
    path = make(tmp_path / name)
    monkeypatch.setitem(sys.modules, module, None)
    assert [item.path for item in items_of([tmp_path]).items] == [path]
    with pytest.raises(
        InputError, match=rf"{name}: is .*, whose reader is not installed; pip install 'deepblur\[formats"
    ):
        open_image(path)
