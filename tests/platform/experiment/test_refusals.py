"""Numbers that make no sense, and files that may not be read or written: one sentence, the right exit code."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import tifffile
from micro_study import STUDY

from deepblur import cli
from deepblur.platform.data.sources import Folder
from deepblur.platform.experiment.main import main
from deepblur.platform.export.export import _complete_or_as_it_was
from deepblur.platform.registry import choice
from deepblur.platform.system.disk import denied
from deepblur.platform.system.errors import ModelError, OutputError

REFUSED = PermissionError(13, "Permission denied", "shut")
SAID = "shut cannot be read or written (permission denied); correct its permissions or name another"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--noise a:nan:0", "gain and read noise of at least 0"),
        ("--noise a:0:inf", "gain and read noise of at least 0"),
        ("--eta nan", "PSF complexities η ≥ 0"),
        ("--eta inf", "PSF complexities η ≥ 0"),
        ("--gpus nan", "--gpus and --wait-for-nodes at least 0"),
        ("--wait-for-nodes inf", "--gpus and --wait-for-nodes at least 0"),
        ("--hours nan", "--hours must be above 0; got nan"),
        ("--gpu-hours -1", "--gpu-hours must be above 0"),
        ("--images -1", "--images must be at least 1"),
    ],
)
def test_a_study_refuses_numbers_that_make_no_sense(options, message, tmp_path, capsys):
    assert main(STUDY, [*shlex.split(options), "--runs", str(tmp_path / "new")]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--gain 1e300", "--gain is a number up to 100; got 1e+300"),
        ("--read-std inf", "--read-std is a number up to 100; got inf"),
        ("--eta nan", "--eta is a number up to 100; got nan"),
        ("--noll 4 --gamma nan", "--gamma is a number up to 100; got nan"),
        ("--noll 1000000000", "--noll takes indices up to 500"),
    ],
)
def test_simulate_refuses_what_gives_nothing_but_infinity(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("a.tif", np.zeros((64, 64), np.uint8))
    assert cli.main(["simulate", "a.tif", "-o", "out", *shlex.split(options)]) == 2
    assert message in capsys.readouterr().err
    assert not list(Path("out").glob("*.tif"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--max-memory nan", "--max-memory is a number of GiB above 0; got nan"),
        ("--max-memory 1e400", "--max-memory is a number of GiB above 0; got inf"),
        ("--max-memory -1", "--max-memory is a number of GiB above 0; got -1"),
        ("--eta nan", "above 0 and at most 10 waves; got nan"),
        ("--eta 1e300", "above 0 and at most 10 waves; got 1e+300"),
        ("--psf-size 0", "an odd number of pixels from 3 to 1023; got 0"),
        ("--psf-size 30", "an odd number of pixels from 3 to 1023; got 30"),
        ("--psf-size 100001", "an odd number of pixels from 3 to 1023; got 100001"),
        ("--cutoff nan", "a cutoff is at least 0.001 cycles per pixel; got nan"),
        ("--cutoff 1e-300", "a cutoff is at least 0.001 cycles per pixel; got 1e-300"),
    ],
)
def test_restore_refuses_options_that_make_no_sense_before_it_looks_at_an_image(options, message, tmp_path, monkeypatch,
                                                                                capsys):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("a.tif", np.zeros((64, 64), np.uint8))
    assert cli.main(["restore", "a.tif", "-o", "out", "--method", "spectral", *shlex.split(options)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("options", ["--bead-um -1", "--ceiling nan", "--pixel-um 0", "--z-um inf", "--eigen-psfs 0"])
def test_calibrate_refuses_lengths_that_are_none(options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("a.tif", np.zeros((3, 64, 64), np.uint8), photometric="minisblack")
    assert cli.main(["calibrate", "a.tif", "-o", "x.safetensors", *shlex.split(options)]) == 2
    assert f"{options.split()[0]} must be above 0; got" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["it's", "a/b", "", "x" * 101, "a\nb"])
def test_a_registered_model_has_a_plain_name(name, capsys):
    assert cli.main(["models", "list", "--name", name, "--tracking-uri", "sqlite:///nowhere.db"]) == 2
    assert "a registered model is called by letters, digits" in capsys.readouterr().err


def refuse(*_args, **_more):
    raise REFUSED


def test_what_the_system_refuses_is_one_sentence():
    assert denied(REFUSED) == SAID
    assert denied(OSError("no more")) == "no more"


def test_a_study_that_may_not_write_its_results(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("deepblur.platform.experiment.run._ledger", refuse)
    assert main(STUDY, ["--local", "--runs", str(tmp_path), "--tracking-uri", "none"]) == 1
    assert capsys.readouterr().err == (
        f"error: the folder of results {tmp_path} cannot be written to (Permission denied); choose another one with "
        "--runs\n"
    )


def test_a_study_that_may_not_read_something(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("deepblur.platform.experiment.study.Plan.build", refuse)
    assert main(STUDY, ["--local", "--runs", str(tmp_path), "--tracking-uri", "none"]) == 1
    assert capsys.readouterr().err == f"error: {SAID}\n"


def test_folders_of_images_that_may_not_be_read_are_not_passed_over(tmp_path, monkeypatch):
    import os

    (tmp_path / "open").mkdir()
    (tmp_path / "shut").mkdir()
    real = os.scandir

    def scandir(path):
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ValueError, match=r"the folder .*shut cannot be read .Permission denied.; ask its owner"):
        Folder(str(tmp_path)).state()


def test_an_image_whose_name_is_not_utf_8_is_refused_by_name(tmp_path):
    (tmp_path / b"\xff.png".decode("utf-8", "surrogateescape")).write_bytes(b"")
    with pytest.raises(ValueError, match=r"the name of the image '\\udcff.png' in .* is not UTF-8; rename it"):
        Folder(str(tmp_path)).state()


def test_models_and_registries_that_may_not_be_read(monkeypatch, capsys):
    monkeypatch.setattr(choice, "_folder", refuse)
    with pytest.raises(ModelError, match="shut cannot be read or written"):
        choice.choose_model("shut")
    assert cli.main(["export", "shut", "-o", "out"]) == 5
    assert SAID in capsys.readouterr().err
    monkeypatch.setattr("deepblur.platform.registry.versions.open_registry", refuse)
    assert cli.main(["models", "list"]) == 5
    assert capsys.readouterr().err == f"error: {SAID}\n"


def test_an_export_into_a_folder_that_may_not_be_searched(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "exists", refuse)
    said = pytest.raises(OutputError, match=r"the export cannot be written to .* \(Permission denied\)")
    with said, _complete_or_as_it_was(tmp_path / "out"):
        pass


def test_a_record_that_may_not_be_read(monkeypatch, capsys):
    monkeypatch.setattr("deepblur.platform.reproduce.reproduce.read_run", refuse)
    assert cli.main(["reproduce", "0" * 32, "--json"]) == 2
    said = capsys.readouterr()
    assert json.loads(said.out)["verdict"] == f"error: {SAID}"
