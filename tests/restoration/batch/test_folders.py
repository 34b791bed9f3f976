"""`--recursive`: folders are searched below, results have the images' folders, and no link leads elsewhere."""

import json
import os
from pathlib import Path

import pytest
import tifffile
from micro_registry import tikhonov_model
from skimage import data

from deepblur import cli
from deepblur.restoration.batch.inputs import IS_LINK, items_of

CAMERA = data.camera()


def image(path, at=100):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, CAMERA[at : at + 64, 150:214])


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_results_mirror_the_folders_of_the_images(here, capsys):
    for k, name in enumerate(("in/a.tif", "in/monday/a.tif", "in/monday/deep/down/b.tif", "in/.hidden/c.tif")):
        image(name, 60 * k)
    model = str(tikhonov_model(here / "model", 0.05))
    for status in ("done", "kept"):  # the results lie among the images
        given = ["in", "--recursive", "-o", "in/out", "--model", model, "--no-pictures", "--json"]
        assert cli.main(["restore", *given]) == 0
        said = json.loads(capsys.readouterr().out)
        folders = [(entry["folder"], entry["status"]) for entry in said["images"]]
        assert folders == [(f"in/out{below}", status) for below in ("", "/monday", "/monday/deep/down")]
        assert [entry["path"] for entry in said["left_out"]] == ["in/.hidden"]
    assert Path("in/out/monday/deep/down/b_restored.tif").is_file()
    assert cli.main(["identify", "in", "--recursive", "-o", "psf", "--model", model, "--no-pictures"]) == 0
    assert Path("psf/monday/a_psf.tif").is_file()


def test_no_link_leads_out_of_the_folder_or_round_in_it(here):
    image("in/below/a.tif")
    image("secret/b.tif")
    os.symlink("../../secret/b.tif", "in/below/out.tif")
    os.symlink("../../secret", "in/below/away")
    os.symlink("..", "in/below/up")
    os.symlink("a.tif", "in/below/same.tif")
    found = items_of([Path("in")], recursive=True)
    assert [str(item.path) for item in found.items] == ["in/below/a.tif", "in/below/same.tif"]
    assert {(path.name, reason) for path, reason in found.left_out} == {(n, IS_LINK) for n in ("away", "out.tif", "up")}


def test_a_folder_below_that_may_not_be_read_is_refused_as_such(here, monkeypatch):
    image("in/a.tif")
    Path("in/closed").mkdir()
    listed = Path.iterdir

    def iterdir(path):
        if path.name == "closed":  # root, as whom tests may run, is refused nothing
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert [item.path for item in items_of([Path("in")], recursive=True).items] == [Path("in/a.tif"), Path("in/closed")]
