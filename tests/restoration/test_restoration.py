"""From an array to its restoration: shapes, types and channels come back, the blur goes, and nonsense is refused."""

import numpy as np
import pytest
import torch
from micro_registry import tikhonov_model
from skimage import data
from torch.testing import assert_close

import deepblur
from deepblur.baselines.estimate import richest
from deepblur.operators import ZernikeBlur
from deepblur.platform.evaluation.metrics import psnr_db
from deepblur.platform.models import shipped
from deepblur.platform.system.errors import InputError, ModelError
from deepblur.restoration.engine_choice import choose_engine
from deepblur.restoration.engines.engine import IdentifiedBlur
from deepblur.restoration.engines.removal import classical
from deepblur.restoration.engines.training_free import TrainingFreeEngine
from deepblur.restoration.frame import identify_frame, restore_frame
from deepblur.restoration.options import EngineChoice, Options

OPERATOR = ZernikeBlur(noll=(4, 5, 6))
GAMMA = torch.tensor([0.1, -0.06, 0.08])


class Oracle(TrainingFreeEngine):
    """Knows the PSF, so that what is tested is the way there and back."""

    def __init__(self):
        super().__init__("spectral", "tv", psf_size=31, eta_waves=0.15, cutoff=0.2)
        self.operator = OPERATOR

    def identify(self, y):
        return IdentifiedBlur(OPERATOR.psf(GAMMA[None])[0, 0], GAMMA, torch.full((3,), 0.01), True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tikhonov_model(tmp_path_factory.mktemp("model") / "model", 0.05)


@pytest.fixture(scope="module")
def photo():
    return torch.from_numpy(data.camera()[100:330, 120:350] / 255).float()


@pytest.fixture(scope="module")
def blurry(photo):
    y = OPERATOR.forward(photo[None, None], GAMMA[None])[0, 0]
    return y + 0.003 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))


def test_a_known_blur_is_removed(photo, blurry):
    frame = restore_frame(Oracle(), blurry[None].numpy(), Options())
    sharp = photo[15:-15, 15:-15]
    before, after = (
        psnr_db(image[None, None], sharp[None, None], 15) for image in (blurry, torch.from_numpy(frame.channels[0]))
    )
    assert float(after) > float(before) + 3
    assert frame.blurs[0].names == ("defocus", "oblique astigmatism", "vertical astigmatism")


def test_tiles_and_the_whole_agree_for_a_classical_restorer(blurry):
    y = blurry.repeat(2, 3)[:390, :500][None].numpy()
    whole, tiled = (restore_frame(Oracle(), y, Options(tile_px=side)) for side in (1024, 256))
    assert (whole.tiles, tiled.tiles > 1) == (1, True)
    difference = np.abs(whole.channels - tiled.channels)
    assert np.quantile(difference, 0.999) < 0.01


def test_a_blur_that_varies_is_found_tile_by_tile(blurry):
    y = blurry.repeat(2, 2)[None].numpy()
    frame = restore_frame(Oracle(), y, Options(varying=True))
    places = frame.blurs[0].places
    assert len(places) == frame.tiles > 1
    assert_close(frame.blurs[0].found.psf, OPERATOR.psf(GAMMA[None])[0, 0])
    assert frame.blurs[0].as_json()["field"][0].keys() == {"row", "column", "waves"}
    assert len(identify_frame(Oracle(), y, Options(varying=True))[0].places) == len(places)


def image_of(shape, dtype, rng):
    scale = {"u": 4000 if dtype != "uint8" else 250, "f": 1.0}[np.dtype(dtype).kind]
    smooth = np.cumsum(rng.standard_normal(shape), axis=0)
    smooth -= smooth.min()
    return (scale * smooth / smooth.max()).astype(dtype)


@pytest.mark.parametrize(
    ("shape", "axes", "dtype", "psfs"),
    [
        ((70, 83), None, "uint8", (31, 31)),
        ((70, 83), None, "uint16", (31, 31)),
        ((70, 83), "XY", "float32", (31, 31)),
        ((70, 83, 3), None, "uint8", (31, 31)),
        ((70, 83, 4), None, "uint8", (31, 31)),
        ((2, 70, 83), "CYX", "uint16", (2, 31, 31)),
        ((3, 70, 83, 2), "TYXC", "uint16", (6, 31, 31)),
        ((2, 3, 64, 64), "TZYX", "float64", (6, 31, 31)),
    ],
)
def test_shape_and_type_come_back(shape, axes, dtype, psfs, folder):
    array = image_of(shape, dtype, np.random.default_rng(0))
    found = deepblur.restore(array, axes=axes, model=folder)
    assert found.image.shape == array.shape
    assert found.image.dtype == array.dtype
    assert found.psf.shape == psfs
    assert found.gamma.shape == (*psfs[:-2], 3)
    assert found.report.verdict in ("good", "doubtful", "poor")
    assert found.report.sentence
    if shape[-1] == 4:
        assert np.array_equal(found.image[..., 3], array[..., 3])


def test_channels_share_a_psf_where_they_are_told_to(folder):
    array = image_of((2, 70, 83), "uint16", np.random.default_rng(0))
    assert deepblur.restore(array, axes="CYX", model=folder, channels="shared").psf.shape == (31, 31)
    colours = image_of((70, 83, 3), "uint8", np.random.default_rng(0))
    assert deepblur.restore(colours, model=folder, channels="each").psf.shape == (3, 31, 31)


def test_the_same_call_gives_the_same_numbers(folder):
    array = image_of((70, 83), "float32", np.random.default_rng(0))
    first, second = (deepblur.restore(array, model=folder) for _ in range(2))
    assert np.array_equal(first.image, second.image)
    assert first.report.as_json() | {"seconds": 0} == second.report.as_json() | {"seconds": 0}


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.ones((64, 64), np.float32), "same|value 1"),
        (np.full((64, 64), np.nan, np.float32), "NaN"),
        (np.ones((64, 64), bool), "bool"),
        (np.ones((64, 64), complex), "complex"),
        (np.random.default_rng(0).random((20, 64)), "20x64 pixels.* at least 32x32"),
        (np.random.default_rng(0).random((5, 64, 64)), "axes"),
    ],
)
def test_what_is_no_image_is_refused_in_one_sentence(array, match, folder):
    with pytest.raises(InputError, match=match) as refused:
        deepblur.restore(array, model=folder)
    assert "\n" not in str(refused.value)


def test_too_little_memory_is_said_before_anything_is_done(folder):
    array = image_of((128, 128), "float32", np.random.default_rng(0))
    with pytest.raises(InputError, match=r"needs .* GiB .*--max-memory allows 0.01 GiB"):
        deepblur.restore(array, model=folder, max_memory_gib=0.01)


@pytest.mark.parametrize(
    ("choice", "match"),
    [
        (EngineChoice(method="l1"), "a method is one of auto, .* got 'l1'"),
        (EngineChoice(restorer="dn"), "a restorer is one of"),
        (EngineChoice(method="l0", model="models:/deepblur@champion"), "takes no model"),
        (EngineChoice(method="l0", restorer="deblur"), "brings no deblurring network"),
        (EngineChoice(method="spectral", cutoff=0.6), r"cutoff .* 0.6"),
        (EngineChoice(model="/nowhere/at/all"), "/nowhere/at/all"),
    ],
)
def test_an_engine_that_cannot_be_had_is_refused(choice, match):
    with pytest.raises(ModelError, match=match):
        choose_engine(choice)


def test_without_a_champion_and_shipped_weights_the_training_free_method_steps_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shipped, "folder", lambda: tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    engine, note = choose_engine(EngineChoice())
    assert engine.name == "spectral"
    assert "no trained model" in note
    with pytest.raises(ModelError):
        choose_engine(EngineChoice(method="deep-blur"))


def test_a_search_that_ends_at_its_bound_says_so():
    engine, _ = choose_engine(EngineChoice(method="spectral", eta_waves=0.15))
    psf = OPERATOR.psf(GAMMA[None])[0, 0]
    assert engine.limits(IdentifiedBlur(psf, torch.tensor([0.0, 0.1, -0.13]))) == ()
    (sentence,) = engine.limits(IdentifiedBlur(psf, torch.tensor([0.0, 0.1, -0.14])))
    assert "reaches 0.15 waves" in sentence
    assert choose_engine(EngineChoice(method="l0"))[0].limits(IdentifiedBlur(psf)) == ()
    (doubt,) = engine.limits(IdentifiedBlur(psf, agreement_db=1.3))
    assert "agree to 1.3 dB only" in doubt
    assert engine.limits(IdentifiedBlur(psf, agreement_db=12.0)) == ()


def test_the_blur_is_read_where_the_image_is_richest(draw):
    y = torch.zeros(300, 400)
    y[200:260, 300:390] = draw(60, 90).float()
    part = richest(y, 128)
    assert part.shape == (128, 128)
    assert float(part.square().sum()) == float(y.square().sum())


def test_a_flat_tile_stays_flat():
    y = torch.rand(100, 100, generator=torch.Generator().manual_seed(0))
    remove = classical("tv", y, OPERATOR.psf(GAMMA[None])[0, 0])
    flat = torch.full((64, 64), 0.25)
    assert torch.equal(remove(flat, (0, 0)), flat)


def test_the_support_of_the_psf_follows_the_smallest_cutoff_unless_it_is_said():
    def sizes(**choice):
        engine, _ = choose_engine(EngineChoice(model="compact", **choice))
        return [each.psf_size for each in engine.of_channels or (engine,)]

    assert sizes() == [31]
    assert sizes(cutoff=0.1) == [61]
    assert sizes(cutoff=(0.12, 0.1, 0.2)) == [61, 61, 61]
    assert sizes(cutoff=0.02) == [61]
    assert sizes(cutoff=0.1, psf_size=21) == [21]
    engine, _ = choose_engine(EngineChoice(method="spectral", cutoff=0.25))
    assert engine.psf_size == engine.operator.psf_size == 25
