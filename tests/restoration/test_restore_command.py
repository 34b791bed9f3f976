"""`deepblur restore`, `identify` and `simulate` as a user types them."""

import inspect
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from micro_registry import tikhonov_model
from PIL import Image
from places import ROOT
from skimage import data

from deepblur import cli
from deepblur.platform.optics.beads import Finding
from deepblur.platform.optics.measure import Settings
from deepblur.restoration.batch.calibrate import calibrate_files
from deepblur.restoration.batch.identify import identify_files
from deepblur.restoration.batch.psf import psf_file
from deepblur.restoration.batch.restore import restore_files
from deepblur.restoration.batch.simulate import simulate_file
from deepblur.restoration.batch.watch import watch_folders
from deepblur.restoration.options import EngineChoice, Options


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tikhonov_model(tmp_path_factory.mktemp("model") / "model", 0.05))


@pytest.fixture
def images(tmp_path):
    """A folder with three images of different kinds."""
    folder = tmp_path / "in"
    folder.mkdir()
    camera = data.camera()[100:190, 200:280]
    Image.fromarray(camera).save(folder / "grey.png")
    Image.fromarray(data.astronaut()[:80, 100:190]).save(folder / "colour.jpg", quality=95)
    stack = np.stack([camera, camera[::-1]]).astype(np.uint16) * 100
    tifffile.imwrite(folder / "series.tif", stack, imagej=True, metadata={"axes": "TYX"}, resolution=(10, 10))
    return folder


def call(*arguments):
    return cli.main([str(a) for a in arguments])


def test_a_folder_is_restored_and_everything_lies_beside_it(images, tmp_path, model, capsys):
    out = tmp_path / "out"
    assert call("restore", images, "-o", out, "--model", model, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert [Path(entry["input"]).name for entry in said["images"]] == ["colour.jpg", "grey.png", "series.tif"]
    assert {entry["status"] for entry in said["images"]} == {"done"}
    assert sorted(file.name for file in out.iterdir()) == sorted(
        f"{name}_{rest}"
        for name, suffix in (("colour", ".jpg"), ("grey", ".png"), ("series", ".tif"))
        for rest in (
            f"restored{suffix}",
            "psf.tif",
            "psf.png",
            "gamma.csv",
            "wavefront.tif",
            "overview.png",
            "report.json",
        )
    )
    with tifffile.TiffFile(out / "series_restored.tif") as tiff:
        assert (tiff.series[0].axes, tiff.series[0].shape, tiff.is_imagej) == ("TYX", (2, 90, 80), True)
    assert tifffile.imread(out / "series_psf.tif").shape == (2, 31, 31)
    report = json.loads((out / "grey_report.json").read_text())
    assert [mode["name"] for mode in report["blurs"][0]["gamma"]] == [
        "defocus",
        "oblique astigmatism",
        "vertical astigmatism",
    ]
    assert report["verdict"] in ("good", "doubtful", "poor")
    lines = (out / "series_gamma.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 3


def test_typed_again_only_what_is_missing_is_done(images, tmp_path, model, capsys):
    def statuses(*more):
        call("restore", images, "-o", tmp_path / "out", "--model", model, "--no-pictures", "--json", *more)
        return [entry["status"] for entry in json.loads(capsys.readouterr().out)["images"]]

    assert statuses() == ["done"] * 3
    (tmp_path / "out" / "grey_psf.tif").unlink()
    assert statuses() == ["kept", "done", "kept"]
    Image.fromarray(data.camera()[200:290, 200:280]).save(images / "grey.png")
    assert statuses() == ["kept", "done", "kept"]
    assert statuses("--restorer", "tv") == ["done"] * 3
    assert statuses("--restorer", "tv", "--again") == ["done"] * 3
    assert statuses("--restorer", "deblur") == ["done"] * 3  # auto may take TV where the network is overtaxed


def test_results_beside_the_images_are_no_images(images, model, capsys):
    for _ in range(2):
        assert call("restore", images, "-o", images, "--model", model, "--no-pictures", "--json") == 0
        assert len(json.loads(capsys.readouterr().out)["images"]) == 3


def test_files_of_one_stem_do_not_overwrite_each_other(images, tmp_path, model):
    Image.fromarray(data.camera()[:90, :80]).save(images / "grey.jpg")
    assert call("restore", images, "-o", tmp_path / "out", "--model", model, "--no-pictures") == 0
    assert (tmp_path / "out" / "grey_png_restored.png").is_file()
    assert (tmp_path / "out" / "grey_jpg_restored.jpg").is_file()


def test_a_bad_image_costs_only_itself(images, tmp_path, model, capsys):
    (images / "empty.tif").touch()
    (images / "text.png").write_text("no image")
    tifffile.imwrite(images / "flat.tif", np.full((64, 64), 7, np.uint16))
    out = tmp_path / "out"
    assert call("restore", images, tmp_path / "missing.tif", "-o", out, "--model", model, "--no-pictures") == 4
    said = capsys.readouterr()
    errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 4
    for name in ("empty.tif", "text.png", "flat.tif", "missing.tif"):
        assert sum(name in line for line in errors) == 1
        assert not list(out.glob(f"{name.partition('.')[0]}_*"))
    assert said.out.count("_restored") == 3
    assert not list(out.glob(".*"))


@pytest.mark.parametrize(
    ("options", "code", "match"),
    [
        (("--scale", "percent"), 2, "percentile:LOW,HIGH"),
        (("--tile", "100"), 2, "at least 256 px"),
        (("--model", "models:/deepblur"), 5, "models:/deepblur"),
        (("--method", "l0", "--model", "here"), 5, "takes no model"),
        (("--device", "tpu"), 5, "got 'tpu'"),
    ],
)
def test_an_option_that_makes_no_sense_is_one_sentence(options, code, match, images, tmp_path, model, capsys):
    given = options if "--model" in options or "--method" in options else (*options, "--model", model)
    assert call("restore", images / "grey.png", "-o", tmp_path / "out", *given) == code
    said = capsys.readouterr().err
    assert match in said
    assert "Traceback" not in said
    assert not list((tmp_path / "out").glob("*_restored*"))


def test_a_place_that_cannot_be_written_to_is_one_sentence(images, tmp_path, model, capsys):
    (tmp_path / "file").touch()
    assert call("restore", images / "grey.png", "-o", tmp_path / "file" / "below", "--model", model) == 6
    assert "cannot be written to" in capsys.readouterr().err


DYING = """
import os, signal, sys
from pathlib import Path
from deepblur.cli import main
replace, finished = os.replace, []
def dying(old, new):
    if finished:  # an image is done, and the first file of the next is about to get its name
        os.kill(os.getpid(), signal.SIGKILL)
    replace(old, new)
    finished.extend([new] * str(new).endswith("_report.json"))
os.replace = dying
main(sys.argv[1:])
"""


def test_killed_at_a_bad_moment_the_same_command_goes_on_to_the_same_files(images, tmp_path, model):
    (images / "copy.png").write_bytes((images / "grey.png").read_bytes())

    def command(out):
        return ["restore", str(images), "-o", str(tmp_path / out), "--model", model, "--no-pictures"]

    line = [sys.executable, "-c", DYING, *command("out")]
    killed = subprocess.run(line, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    assert killed.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "out").glob("*_report.json"))) == 1
    for out in ("out", "undisturbed"):
        assert cli.main(command(out)) == 0
    names = sorted(file.name for file in (tmp_path / "undisturbed").iterdir())
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == names
    for name in names:
        if not name.endswith("_report.json"):  # which holds the seconds
            assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes(), name


def test_identify_measures_every_frame_and_simulate_makes_test_data(images, tmp_path, model, capsys):
    out = tmp_path / "out"
    options = ("--noll", 4, 5, 6, "--gamma", 0.1, 0, -0.05, "--read-std", 0.02, "--json")
    assert call("simulate", images / "series.tif", "-o", out, *options) == 0
    truth = json.loads(capsys.readouterr().out)
    assert [mode["waves"] for mode in truth["gamma"]] == [0.1, 0, -0.05]
    blurry, sharp = (tifffile.imread(out / truth["files"][kind]) for kind in ("blurry", "sharp"))
    assert blurry.shape == sharp.shape == (2, 60, 50)
    assert blurry.dtype == np.uint16
    stored = tifffile.imread(images / "series.tif")
    assert np.array_equal(sharp, stored[:, 15:-15, 15:-15])
    assert 0 < np.abs(blurry.astype(float) - sharp).mean() < 0.2 * np.ptp(stored)
    assert call("identify", out / "series_blurry.tif", "-o", out, "--model", model) == 0
    assert "defocus" in capsys.readouterr().out
    assert len((out / "series_blurry_gamma.csv").read_text().splitlines()) == 1 + 2 * 3
    assert (out / "series_blurry_gamma.png").is_file()
    assert tifffile.imread(out / "series_blurry_psf.tif").shape == (2, 31, 31)


def test_simulate_refuses_what_it_cannot_blur(images, tmp_path, capsys):
    assert call("simulate", images / "grey.png", "-o", tmp_path, "--gamma", 0.1) == 2
    assert "each of the 7 modes" in capsys.readouterr().err
    assert call("simulate", images / "grey.png", "-o", tmp_path, "--psf-size", 81) == 4
    assert "too few for a PSF of 81 px" in capsys.readouterr().err


@pytest.mark.parametrize(("planar", "shape"), [("contig", (34, 42, 3)), ("separate", (3, 34, 42))])
def test_simulate_takes_colours_of_any_order_without_their_alpha(tmp_path, planar, shape):
    pixels = np.random.default_rng(0).integers(0, 255, (64, 72, 4), np.uint8)
    stored = pixels if planar == "contig" else np.moveaxis(pixels, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar)
    assert call("simulate", tmp_path / "a.tif", "-o", tmp_path / "out") == 0
    with tifffile.TiffFile(tmp_path / "out" / "a_sharp.tif") as tiff:
        assert (tiff.pages.first.shape, tiff.pages.first.samplesperpixel) == (shape, 3)


def test_an_image_too_small_to_judge_the_blur_still_has_a_report(tmp_path, model):
    Image.fromarray(data.camera()[100:140, 200:240]).save(tmp_path / "a.png")
    assert call("restore", tmp_path / "a.png", "-o", tmp_path / "out", "--model", model, "--no-pictures") == 0
    report = json.loads((tmp_path / "out" / "a_report.json").read_text())
    assert report["blurs"][0]["residual"]["whiteness"] is None


def test_what_the_commands_call_serves_python_too(images, tmp_path, model, capsys):
    (images / "broken.png").write_bytes(b"no image")
    call("restore", images, "-o", tmp_path / "typed", "--model", model, "--no-pictures", "--json")
    typed = json.loads(capsys.readouterr().out)
    engine = EngineChoice(model=model)
    results = restore_files([str(images)], str(tmp_path / "called"), engine=engine, pictures=False)
    found = identify_files([images / "grey.png"], tmp_path / "called", engine=engine, pictures=False)
    truth = simulate_file(str(images / "grey.png"), str(tmp_path / "called"), gamma=(0.1,), noll=(4,))
    assert capsys.readouterr().out == ""
    assert (results.exit_code, found.exit_code, typed["exit_code"]) == (4, 0, 4)
    assert [entry["status"] for entry in results.images] == ["failed", "done", "done", "done"]
    for ours, theirs in zip(results.images, typed["images"], strict=True):
        assert ours.get("hashes") == theirs.get("hashes")
        assert ours.get("options") == theirs.get("options")
    assert found.images[0]["blurs"][0]["gamma"]
    assert (tmp_path / "called" / truth["files"]["blurry"]).is_file()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"scale": "none"}, "the intensity scale 'none'"),
        ({"channels": "two"}, "channels are auto, shared, each"),
        ({"tile_px": 100}, "tiles need at least 256 px"),
        ({"max_memory_gib": 0}, "--max-memory is a number of GiB above 0"),
    ],
)
def test_options_without_sense_are_refused_before_any_work(option, words):
    with pytest.raises(ValueError, match=words):
        Options(**option)


@pytest.mark.parametrize(
    ("words", "takers"),
    [
        ("restore a -o b", (restore_files, watch_folders, EngineChoice, Options)),
        ("identify a -o b", (identify_files, EngineChoice, Options)),
        ("simulate a -o b", (simulate_file,)),
        ("psf -o b", (psf_file,)),
        ("calibrate a -o b", (calibrate_files, Settings, Finding)),
    ],
)
def test_every_option_is_a_parameter_of_what_the_command_calls(words, takers):
    typed = vars(cli.parser().parse_args(words.split())).keys() - {"command", "json", "watch"}
    assert typed - {name for taker in takers for name in inspect.signature(taker).parameters} == set()
