"""No result replaces what was not made for its image, and nothing that was given is left out without a word."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from micro_registry import tikhonov_model
from PIL import Image
from skimage import data

from deepblur import cli
from deepblur.platform.export.export import SUMMARY, _complete_or_as_it_was
from deepblur.platform.system.errors import OutputError
from deepblur.restoration.batch import restoring
from deepblur.restoration.batch.calibrate import _beads_pictures
from deepblur.restoration.batch.inputs import items_of
from deepblur.restoration.batch.ownership import CALIBRATED, RESTORED, Item, claimed, kept

CAMERA = data.camera()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tikhonov_model(tmp_path_factory.mktemp("model") / "model", 0.05))


@pytest.fixture
def restore(model, tmp_path, monkeypatch, capsys):
    """restore(*arguments) → (exit code, the JSON), with the temporary folder as the current one."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, command="restore"):
        code = cli.main([command, *map(str, arguments), "--model", model, "--no-pictures", "--json"])
        return code, json.loads(capsys.readouterr().out)

    return call


def image(path, at=100, side=64):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = CAMERA[at : at + side, 150 : 150 + side]
    if path.suffix == ".png":
        Image.fromarray(pixels).save(path)
    else:
        tifffile.imwrite(path, pixels)
    return path


def results(said):
    """input → the restored pixels, each read from where the JSON says."""
    found = {}
    for entry in said["images"]:
        file = Path(entry["folder"]) / entry["files"]["image"]
        found[entry["input"]] = np.asarray(Image.open(file)) if file.suffix == ".png" else tifffile.imread(file)
    return found


def differ(found):
    return len({value.tobytes() for value in found.values()}) == len(found)


def statuses(said):
    return [entry["status"] for entry in said["images"]]


def test_folders_with_the_same_names_keep_their_structure_below_the_output(restore):
    for k, name in enumerate(("day1/a.tif", "day2/a.tif", "day2/below/a.tif")):
        image(name, 100 + 60 * k)
    given = ("day1", "day2", "day2/below", "-o", "out")
    code, said = restore(*given)
    assert code == 0
    assert len(results(said)) == 3
    assert differ(results(said))
    assert [entry["folder"] for entry in said["images"]] == ["out/day1", "out/day2", "out/day2/below"]
    assert statuses(restore(*given)[1]) == ["kept"] * 3
    assert statuses(restore(*given, "--again")[1]) == ["done"] * 3
    assert len(list(Path("out").rglob("*_restored.tif"))) == 3


def test_files_that_are_named_one_by_one_keep_their_folders_too(restore):
    for k in (1, 2):
        image(f"day{k}/a.tif", 100 * k)
    _, said = restore("day1/a.tif", "day2/a.tif", "-o", "out")
    assert differ(results(said))
    _, said = restore("day1/a.tif", "day1/../day1/a.tif", "day1", "-o", "alone")  # one file, named three times
    assert [entry["files"]["image"] for entry in said["images"]] == ["a_restored.tif"]
    assert Path("alone/a_restored.tif").is_file()


def test_two_commands_into_one_folder(restore):
    for k in (1, 2, 3):
        image(f"day{k}/a.tif", 100 * k)
    first = [restore(f"day{k}", "-o", "out")[1] for k in (1, 2, 3)]
    again = [restore(f"day{k}", "-o", "out")[1] for k in (3, 1, 2)]
    assert differ({k: v for said in first for k, v in results(said).items()})
    assert [said["images"][0]["files"]["image"] for said in first] == [f"a{n}_restored.tif" for n in ("", "-2", "-3")]
    assert [statuses(said) for said in again] == [["kept"]] * 3
    assert [said["images"][0]["input"] for said in again] == ["day3/a.tif", "day1/a.tif", "day2/a.tif"]
    image("day2/a.tif", 50)  # a new image of the old name replaces the results of that name alone
    before = Path("out/a_restored.tif").read_bytes(), Path("out/a-3_restored.tif").read_bytes()
    assert restore("day2", "-o", "out")[1]["images"][0]["files"]["image"] == "a-2_restored.tif"
    assert (Path("out/a_restored.tif").read_bytes(), Path("out/a-3_restored.tif").read_bytes()) == before
    assert len(list(Path("out").glob("*_restored.tif"))) == 3


def test_names_that_become_alike(restore):
    for k, name in enumerate(("a.tif", "a.png", "a_tif.tif", "a.ome.tif")):
        image(f"in/{name}", 100 + 40 * k)
    code, said = restore("in", "-o", "out")
    assert code == 0
    assert len(results(said)) == 4
    assert differ(results(said))
    assert statuses(restore("in", "-o", "out")[1]) == ["kept"] * 4


def test_names_that_differ_in_case_where_the_disk_does_not(tmp_path):
    """On such a disk the other's report is found under this one's name."""
    first, second = Item(image(tmp_path / "A.tif"), "A"), Item(image(tmp_path / "a.tif", 200), "a")
    out = tmp_path / "out"
    out.mkdir()
    with claimed(out, first, RESTORED, "1") as place:
        place.path("psf", "_psf.tif").touch()
        place.finish({"format": RESTORED.format})
    for file in list(out.iterdir()):
        os.link(file, out / file.name.lower())
    with claimed(out, second, RESTORED, "2") as place:
        assert place.name == "a-2"


def test_links_to_one_file(restore):
    image("in/a.tif")
    os.symlink("a.tif", "in/b.tif")
    os.symlink("in", "other")
    _, said = restore("in", "other", "-o", "out")
    assert [entry["files"]["image"] for entry in said["images"]] == ["a_restored.tif", "b_restored.tif"]


def test_a_measured_psf_and_own_notes_beside_the_image_stay(restore):
    image("cells.tif")
    own = {"cells_psf.tif": b"measured", "cells_report.json": b'{"my": "own notes"}'}
    for name, content in own.items():
        Path(name).write_bytes(content)
    assert restore("cells.tif", "-o", ".")[0] == 0
    assert restore("cells.tif", "-o", ".")[1]["images"][0]["status"] == "kept"
    assert restore("cells.tif", "-o", ".", command="identify")[0] == 0
    for name, content in own.items():
        assert Path(name).read_bytes() == content
    assert Path("cells-2_restored.tif").is_file()


def test_a_result_that_was_changed_since_is_the_users(restore):
    image("cells.tif")
    restore("cells.tif", "-o", ".")
    Path("cells_psf.tif").write_bytes(b"measured")
    restore("cells.tif", "-o", ".", "--restorer", "tv")
    assert Path("cells_psf.tif").read_bytes() == b"measured"
    assert Path("cells-2_psf.tif").is_file()


def test_a_link_in_the_place_of_a_result_stays(restore):
    image("cells.tif")
    Path("thesis.tex").write_text("four years")
    Path("out").mkdir()
    os.symlink("../thesis.tex", "out/cells_gamma.csv")
    os.symlink("nowhere", "out/cells-2_restored.tif")
    assert restore("cells.tif", "-o", "out")[1]["images"][0]["files"]["image"] == "cells-3_restored.tif"
    assert Path("thesis.tex").read_text() == "four years"
    assert os.readlink("out/cells_gamma.csv") == "../thesis.tex"


def test_identify_and_restore_share_a_folder(restore):
    image("a.tif")
    image("a_identify.tif", 200)
    restore("a.tif", "a_identify.tif", "-o", "out")
    before = {file.name: file.read_bytes() for file in Path("out").iterdir()}
    for _ in range(2):
        code, said = restore("a.tif", "-o", "out", command="identify")
        assert code == 0
        assert said["images"][0]["files"]["psf"] == "a-2_psf.tif"
    assert {file.name: file.read_bytes() for file in Path("out").iterdir() if file.name in before} == before
    assert statuses(restore("a.tif", "a_identify.tif", "-o", "out")[1]) == ["kept", "kept"]


def test_what_an_earlier_command_made_and_this_one_does_not_is_taken_away(restore, model, capsys):
    image("a.tif")
    assert "gamma" in restore("a.tif", "-o", "out")[1]["images"][0]["files"]
    options = ["--method", "l0", "--restorer", "wiener", "--no-pictures", "--psf-size", "9"]
    assert cli.main(["restore", "a.tif", "-o", "out", *options]) == 0
    assert not list(Path("out").glob("*_gamma.csv"))
    capsys.readouterr()
    assert restore("a.tif", "-o", "out")[1]["images"][0]["files"]["gamma"] == "a_gamma.csv"


def test_results_of_an_earlier_version_are_ours(restore):
    image("a.tif")
    restore("a.tif", "-o", "out")
    report = json.loads(Path("out/a_report.json").read_text())
    for name in ("source", "hashes"):
        del report[name]
    Path("out/a_report.json").write_text(json.dumps(report | {"version": 1}))
    assert restore("a.tif", "-o", "out")[1]["images"][0]["status"] == "kept"
    assert restore("a.tif", "-o", "out", "--again")[1]["images"][0]["files"]["image"] == "a_restored.tif"


def test_a_report_speaks_for_no_file_outside(restore):
    image("a.tif")
    restore("a.tif", "-o", "out")
    Path("thesis.tex").write_text("four years")
    report = json.loads(Path("out/a_report.json").read_text())
    report["files"] |= {"gamma": "../thesis.tex", "extra": "a_thesis.tex"}
    Path("out/a_report.json").write_text(json.dumps(report))
    Path("out/a_thesis.tex").write_text("four years")
    restore("a.tif", "-o", "out", "--restorer", "tv")
    assert Path("thesis.tex").read_text() == Path("out/a_thesis.tex").read_text() == "four years"


class Killed(BaseException):
    """What no handler of ours sees: the process is gone."""


@pytest.mark.parametrize("fresh", [True, False])
def test_a_killed_command_goes_on_under_its_own_name(restore, fresh, tmp_path, monkeypatch):
    image("a.tif")
    if not fresh:
        restore("a.tif", "-o", "out", "--restorer", "tv")

    def die(*_):
        shutil.copytree("out", "dead")
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(restoring, "write_psfs", die)
        with pytest.raises(Killed):
            restore("a.tif", "-o", "out")
    shutil.rmtree("out")
    Path("dead").rename("out")  # as it was at the moment of the death
    assert Path("out/a_restored.tif").is_file()
    if not fresh:  # a mixture of old and new is not taken for done
        assert restore("a.tif", "-o", "out", "--restorer", "tv")[1]["images"][0]["status"] == "done"
    assert restore("a.tif", "-o", "out")[1]["images"][0]["files"]["image"] == "a_restored.tif"
    assert not list(Path("out").glob(".*"))
    assert len(list(Path("out").glob("*_restored.tif"))) == 1


def test_a_failure_leaves_nothing_new_and_nothing_mixed(restore, monkeypatch):
    image("a.tif")

    def full(*_):
        raise OutputError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(restoring, "write_psfs", full)
        assert restore("a.tif", "-o", "out")[0] == 6
        assert list(Path("out").iterdir()) == []
    restore("a.tif", "-o", "out")
    with monkeypatch.context() as patch:
        patch.setattr(restoring, "write_psfs", full)
        assert restore("a.tif", "-o", "out", "--restorer", "tv")[0] == 6
    assert kept(Path("out"), Item(Path("a.tif"), "a"), RESTORED, "any") is None
    assert statuses(restore("a.tif", "-o", "out")[1]) == ["done"]


def test_what_simulate_made_is_known_by_its_truth(restore, tmp_path):
    image("in/cells.tif", side=96)
    Path("out").mkdir()
    Path("out/cells_sharp.tif").write_bytes(b"my own")
    for seed in ("1", "2"):
        assert cli.main(["simulate", "in/cells.tif", "-o", "out", "--seed", seed]) == 0
    assert Path("out/cells_sharp.tif").read_bytes() == b"my own"
    assert json.loads(Path("out/cells-2_truth.json").read_text())["noise"]["seed"] == 2
    assert not Path("out/cells-3_truth.json").exists()
    left = items_of([Path("out")])
    assert [item.path.name for item in left.items] == ["cells-2_blurry.tif", "cells-2_sharp.tif", "cells_sharp.tif"]
    assert [path.name for path, _ in left.left_out] == ["cells-2_true_psf.tif", "cells-2_truth.json"]


def test_an_export_does_not_replace_a_folder_with_files_of_others(tmp_path):
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / SUMMARY).write_text(json.dumps({"files": [{"file": "blind.onnx"}]}))
    (folder / "blind.onnx").touch()
    with _complete_or_as_it_was(folder) as fresh:
        (fresh / SUMMARY).write_text("{}")
    (folder / "notes.txt").write_text("mine")
    (folder / SUMMARY).write_text(json.dumps({"files": []}))
    with (
        pytest.raises(OutputError, match="no export; name a new or empty folder, or move notes"),
        _complete_or_as_it_was(folder),
    ):
        pass
    assert (folder / "notes.txt").read_text() == "mine"


def test_only_what_deepblur_made_is_left_out_and_all_of_it_is_said(restore, model, capsys):
    image("in/a.tif")
    restore("in", "-o", "in")
    for name in ("beads_psf.tif", "from_huygens_restored.tif", "scan_overview.tif", "sub/c.tif"):
        image(f"in/{name}", 200)
    image("b.tif").rename("in/b.stk")
    for name in ("d.oib", "e.vsi", ".hidden.tif"):
        (Path("in") / name).write_bytes(b"0")
    code, said = restore("in", "-o", "out")
    assert code == 0
    names = ["a.tif", "beads_psf.tif", "from_huygens_restored.tif", "scan_overview.tif"]
    assert [Path(entry["input"]).name for entry in said["images"]] == names
    reasons = {}
    for entry in said["left_out"]:
        reasons.setdefault(entry["reason"].split(";")[0].split(",")[0], []).append(Path(entry["path"]).name)
    assert reasons == {
        "hidden": [".hidden.tif"],
        "made by deepblur": ["a_gamma.csv", "a_psf.tif", "a_report.json", "a_restored.tif", "a_wavefront.tif"],
        "not .png": ["b.stk", "d.oib", "e.vsi"],
        "folders are searched below with --recursive only": ["sub"],
    }
    assert cli.main(["restore", "in", "-o", "out", "--model", model, "--no-pictures"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("left out, ")]
    assert len(lines) == 4
    assert [line for line in lines if "in/b.stk, in/d.oib, in/e.vsi" in line]
    assert "left out, 1 (hidden)" in lines


def test_a_folder_without_an_image_says_what_is_there(restore, capsys):
    Path("in").mkdir()
    Path("in/d.oib").touch()
    assert cli.main(["restore", "in", "-o", "out"]) == 4
    assert "there is no image in in (but d.oib)" in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_pipe_that_is_named_like_a_report_is_not_waited_for(tmp_path):
    image(tmp_path / "a.tif")
    os.mkfifo(tmp_path / "a_report.json")
    assert len(items_of([tmp_path]).items) == 1


def test_a_calibration_replaces_only_a_calibration(tmp_path):
    item = Item(tmp_path / "scope.safetensors", "scope")

    def calibrated():
        with claimed(tmp_path, item, CALIBRATED, "", ("_beads_a.png",)) as place:
            place.path("optics", ".safetensors").write_bytes(b"optics")
            place.finish({"format": CALIBRATED.format})

    calibrated()
    calibrated()
    for name in ("scope.safetensors", "scope_beads_a.png"):
        (tmp_path / name).write_bytes(b"mine")
        with pytest.raises(OutputError, match="was not made by this command; choose another name"):
            calibrated()
        assert (tmp_path / name).read_bytes() == b"mine"
        (tmp_path / name).write_bytes(b"optics")
        if name != "scope.safetensors":
            (tmp_path / name).unlink()
    calibrated()
    assert not list(tmp_path.glob(".*"))


def test_pictures_of_stacks_with_one_name_have_names_of_their_own():
    items = [Item(Path(f"day{k}/beads.tif"), "beads", Path(f"day{k}")) for k in (1, 2)]
    assert _beads_pictures(items) == {
        "day1/beads.tif": "_beads_1_beads.png",
        "day2/beads.tif": "_beads_2_beads.png",
    }
