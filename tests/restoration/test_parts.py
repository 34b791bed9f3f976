"""Regions: where the blur is read, and the part that is restored as it would be in the whole."""

import json

import numpy as np
import pytest
import tifffile
import torch
from micro_registry import tikhonov_model
from PIL import Image
from skimage import data

import deepblur
from deepblur import cli
from deepblur.operators import ZernikeBlur
from deepblur.platform.system.errors import InputError
from deepblur.restoration.engines.engine import IdentifiedBlur
from deepblur.restoration.engines.training_free import TrainingFreeEngine
from deepblur.restoration.frame import identify_frame, restore_frame
from deepblur.restoration.options import EngineChoice, Options, check_together

LENS = ZernikeBlur()
GAMMA = torch.tensor([[0.05, -0.08, 0.08, 0.03, -0.05, 0.02, 0.05]])
PSF = LENS.psf(GAMMA)[0, 0].numpy()
REGION = (120, 200, 70, 90)
PART = (slice(120, 190), slice(200, 290))


class Watching(TrainingFreeEngine):
    """Remembers what it was asked to read."""

    def __init__(self):
        super().__init__("spectral", "wiener", psf_size=31, eta_waves=0.15, cutoff=0.2)
        self.read = []

    def identify(self, y):
        self.read.append(y)
        return IdentifiedBlur(torch.from_numpy(PSF), GAMMA[0], torch.full((7,), 0.01), True)


@pytest.fixture(scope="module")
def blurry():
    scene = torch.from_numpy(data.camera()[:450, :500] / 255).float()
    y = LENS.forward(scene[None, None], GAMMA)[0, 0]
    return (y + 0.005 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))).numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tikhonov_model(tmp_path_factory.mktemp("model") / "model", 0.05)


@pytest.mark.parametrize("treat", [restore_frame, identify_frame])
def test_the_blur_is_read_in_the_region(treat, blurry):
    engine = Watching()
    done = treat(engine, blurry[None], Options(region=REGION))
    assert np.array_equal(engine.read[0], blurry[PART])
    if treat is restore_frame:
        whole = restore_frame(engine, blurry[None], Options())
        assert np.array_equal(done.channels, whole.channels)


@pytest.mark.parametrize("restorer", ["wiener", "richardson-lucy", "deblur"])
@pytest.mark.parametrize("region", [REGION, (0, 0, 64, 100), (340, 430, 80, 40)])
def test_a_region_alone_is_restored_as_in_the_whole(restorer, region, blurry):
    row, column, height, width = region
    found, whole = (
        deepblur.restore(blurry, psf=PSF, restorer=restorer, **more) for more in ({"region": region, "crop": True}, {})
    )
    expected = whole.image[row : row + height, column : column + width]
    assert found.image.shape == (height, width)
    assert np.abs(found.image - expected).max() < 5e-3
    assert found.shown.before.shape == (1, height, width)


def test_colours_alpha_and_frames_are_cut_too(folder):
    colours = np.dstack([data.astronaut()[:200, :220], np.arange(220, dtype=np.uint8) + np.zeros((200, 1), np.uint8)])
    found = deepblur.restore(colours, model=folder, region=(20, 30, 64, 70), crop=True)
    assert found.image.shape == (64, 70, 4)
    assert np.array_equal(found.image[..., 3], colours[20:84, 30:100, 3])
    series = np.stack([data.camera()[:90, :100]] * 3)
    found = deepblur.restore(series, axes="TYX", model=folder, region=(5, 6, 50, 60), crop=True)
    assert found.image.shape == (3, 50, 60)


@pytest.mark.parametrize(
    ("region", "words"),
    [
        ((0, 0, 500, 40), r"the region of 500x40 pixels from \(0, 0\) on does not lie in the image, 420x470"),
        ((400, 0, 21, 40), r"from \(400, 0\) on does not lie in the image"),
        ((0, 0, 20, 40), "the region has 20x40 pixels, but spectral needs at least 32x32"),
    ],
)
def test_a_region_that_cannot_be_read_is_refused(region, words, blurry):
    with pytest.raises(InputError, match=words):
        deepblur.restore(blurry, method="spectral", region=region)


def test_a_region_without_structure_is_refused(blurry):
    flat = blurry.copy()
    flat[PART] = 0.5
    with pytest.raises(InputError, match="every pixel of the region has the same value"):
        restore_frame(Watching(), flat[None], Options(region=REGION))


@pytest.mark.parametrize(
    ("choice", "options", "words"),
    [
        ({}, {"region": (0, 0, 5)}, "a region is its first row and column"),
        ({}, {"region": (-1, 0, 5, 5)}, r"got \(-1, 0, 5, 5\)"),
        ({}, {"region": (0, 0, 0, 5)}, r"got \(0, 0, 0, 5\)"),
        ({}, {"crop": True}, "say which with --region"),
        ({}, {"region": REGION, "varying": True}, "--varying looks for a blur all over the field"),
        ({"optics": "a.safetensors"}, {"region": REGION}, "--optics a.safetensors looks for"),
    ],
)
def test_regions_without_sense_are_one_sentence(choice, options, words):
    with pytest.raises(ValueError, match=words):
        check_together(EngineChoice(**choice), Options(**options))


def test_the_command_tries_a_region_beside_the_whole_result(blurry, tmp_path, folder, capsys):
    Image.fromarray((blurry.clip(0, 1) * 255).astype(np.uint8)).save(tmp_path / "a.png")
    line = ["restore", tmp_path / "a.png", "-o", tmp_path / "out", "--model", folder, "--region", "120,200,70,90"]

    def restored(*more):
        assert cli.main([str(word) for word in (*line, "--json", *more)]) == 0
        return json.loads(capsys.readouterr().out)["images"][0]

    whole, trial = restored("--no-pictures"), restored("--crop")
    assert restored("--no-pictures")["status"] == "kept"
    assert whole["files"]["image"] == "a_restored.png"
    assert trial["files"]["image"] == "a_region_restored.tif"
    assert (tmp_path / "out" / "a_region_overview.png").is_file()
    stored = tifffile.imread(tmp_path / "out" / "a_region_restored.tif")
    with Image.open(tmp_path / "out" / "a_restored.png") as picture:
        assert np.abs(stored.astype(float) - np.asarray(picture)[PART]).max() <= 1
    for report in (whole, trial):
        assert "the blur was identified in 70x90 pixels from (120, 200) on" in report["remarks"]
        assert report["options"]["region"] == [120, 200, 70, 90]
    assert whole["blurs"][0]["gamma"] == trial["blurs"][0]["gamma"]


def test_identify_reads_a_region(tmp_path, blurry, folder, capsys):
    Image.fromarray((blurry.clip(0, 1) * 255).astype(np.uint8)).save(tmp_path / "a.png")
    line = ("identify", tmp_path / "a.png", "-o", tmp_path, "--model", folder, "--no-pictures", "--region", "9,8,70,90")
    assert cli.main([str(word) for word in line]) == 0
    assert "the blur was identified in 70x90 pixels from (9, 8) on" in capsys.readouterr().out
    assert cli.main([str(word) for word in (*line[:-1], "9,8,700,90")]) == 4
    assert "does not lie in the image" in capsys.readouterr().err
