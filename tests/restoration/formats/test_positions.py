"""An OME-TIFF of several positions of a stage: each is an image of its own, read and written as if it lay alone."""

import json

import numpy as np
import pytest
import tifffile
from skimage import data

from deepblur import cli
from deepblur.platform.system.errors import InputError
from deepblur.restoration.formats.files import open_image, positions_of, write_image

CAMERA = data.camera()
SIDE = {"PhysicalSizeX": 0.1, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.1, "PhysicalSizeYUnit": "µm"}


def series(k):
    """(2, 104 + 8 k, 80) uint8, two times."""
    return np.stack([CAMERA[40 * k : 104 + 48 * k, at : at + 80] for at in (100, 200)])


@pytest.fixture
def file(tmp_path):
    """Three positions, each of another size."""
    path = tmp_path / "stage.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        for k in range(3):
            writer.write(series(k), metadata={"axes": "TYX", "Name": f"Position {k}", **SIDE})
    return path


def test_each_position_is_an_image(file, tmp_path):
    assert positions_of(file) == 3
    for k in range(3):
        recording = open_image(file, k)
        assert (recording.axes, recording.shape, recording.pixel_um) == ("TYX", series(k).shape, 0.1)
        assert recording.notes == ()
        assert np.array_equal([frame[0] for frame in recording.frames()], series(k))
        write_image(tmp_path / f"{k}.ome.tif", (frame // 2 for frame in recording.frames()), recording, k)
        with tifffile.TiffFile(tmp_path / f"{k}.ome.tif") as written:
            assert [(one.axes, one.shape, one.name) for one in written.series] == [
                ("TYX", series(k).shape, f"Position {k}")
            ]
            assert np.array_equal(written.asarray(), series(k) // 2)
        assert open_image(tmp_path / f"{k}.ome.tif").pixel_um == 0.1


def test_one_image_and_others_are_no_positions(tmp_path):
    tifffile.imwrite(tmp_path / "one.ome.tif", series(0), metadata={"axes": "TYX"})
    tifffile.imwrite(tmp_path / "plain.tif", series(0))
    (tmp_path / "no.tif").write_bytes(b"II*\0")
    assert [positions_of(tmp_path / name) for name in ("one.ome.tif", "plain.tif", "no.tif")] == [1, 1, 1]


def test_where_one_image_is_meant_the_file_is_refused(file):
    with pytest.raises(InputError, match=r"holds 3 images \(2x1x1x104x80, .*save the one that is meant"):
        open_image(file)


def test_restored_one_by_one_under_names_of_their_own(file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = [
        "restore",
        "stage.ome.tif",
        "-o",
        "out",
        "--method",
        "spectral",
        "--cutoff",
        "0.2",
        "--restorer",
        "wiener",
    ]
    assert cli.main([*command, "--no-pictures", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)["images"]
    assert [entry["position"] for entry in entries] == [0, 1, 2]
    for k, entry in enumerate(entries):
        assert entry["files"]["image"] == f"stage_position{k}_restored.ome.tif"
        assert tifffile.imread(f"out/stage_position{k}_restored.ome.tif").shape == series(k).shape
    assert cli.main([*command, "--no-pictures", "--json"]) == 0
    assert [entry["status"] for entry in json.loads(capsys.readouterr().out)["images"]] == ["kept"] * 3


def test_a_position_that_is_cut_off_fails_alone(file, tmp_path):
    whole = file.read_bytes()
    text = tifffile.TiffFile(file).ome_metadata
    damaged = text.replace('IFD="5"', 'IFD="9"') if 'IFD="5"' in text else text.replace('IFD="4"', 'IFD="9"')
    assert len(damaged) == len(text)
    file.write_bytes(whole.replace(text.encode(), damaged.encode()))
    assert positions_of(file) == 3
    assert open_image(file, 0).shape == series(0).shape
    with pytest.raises(InputError, match="is cut short"):
        open_image(file, 2)
