"""What a restoration says of its optics and how it was made: no verdict is good on an assumption, nothing is hidden."""

import csv
import json

import numpy as np
import pytest
import tifffile
import torch
from matplotlib.figure import Figure
from micro_registry import tikhonov_model
from skimage import data

import deepblur
from deepblur import cli
from deepblur.operators import ZernikeBlur
from deepblur.platform.system.errors import InputError, ModelError
from deepblur.restoration.channels import Channels
from deepblur.restoration.engine_choice import choose_engine
from deepblur.restoration.engines.engine import IdentifiedBlur
from deepblur.restoration.engines.optics import UNKNOWN, ChannelOptics, Quantity
from deepblur.restoration.engines.training_free import TrainingFreeEngine
from deepblur.restoration.frame import identify_frame, restore_frame
from deepblur.restoration.options import EngineChoice, Options

GAMMA = torch.tensor([[0.1, -0.06, 0.08]])
TOLD = ChannelOptics(cutoff=Quantity(0.2, "told"))


class Oracle(TrainingFreeEngine):
    """Knows the PSF, so that nothing but an assumption speaks against its verdict."""

    def __init__(self, cutoff=0.2):
        super().__init__("spectral", "wiener", psf_size=31, eta_waves=0.15, cutoff=cutoff)
        self.operator = ZernikeBlur(noll=(4, 5, 6), cutoff=cutoff)

    def identify(self, y):
        return IdentifiedBlur(self.operator.psf(GAMMA)[0, 0], GAMMA[0], torch.full((3,), 0.01), True)


@pytest.fixture(scope="module")
def blurry():
    photo = torch.from_numpy(data.camera()[100:330, 120:350] / 255).float()
    y = ZernikeBlur(noll=(4, 5, 6)).forward(photo[None, None], GAMMA)[0, 0]
    return (y + 0.003 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0)))[None].numpy()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tikhonov_model(tmp_path_factory.mktemp("model") / "model", 0.05, {"trained": {"eta_waves": 0.15}}))


@pytest.fixture
def series(tmp_path):
    frames = np.stack([data.camera()[100:164, 200 + i : 264 + i] for i in range(4)]).astype(np.uint16) * 100
    tifffile.imwrite(tmp_path / "series.tif", frames, imagej=True, metadata={"axes": "TYX"})
    return tmp_path / "series.tif"


def call(*arguments):
    return cli.main([str(a) for a in arguments])


@pytest.mark.parametrize("treat", [restore_frame, identify_frame])
def test_no_verdict_is_good_on_a_cutoff_that_nobody_said(blurry, treat):
    def judged(engine, values=blurry, **channels):
        done = treat(engine, values, Options(), channels=Channels(**channels))
        return done.blurs if treat is restore_frame else done

    engine = Oracle()
    (blur,) = judged(engine)
    assert blur.verdict == "doubtful"
    assert "the cutoff of 0.2 cycles per pixel was assumed" in blur.sentence
    assert "with --cutoff" in blur.sentence
    engine.know(TOLD)
    assert judged(engine)[0].verdict == "good"
    two = judged(engine, np.concatenate([blurry, blurry]), shared=False)
    assert [blur.verdict for blur in two] == ["doubtful"] * 2
    assert "each wavelength has its own: say them in the channels' order, as in --cutoff 0.2,0.2" in two[0].sentence
    other = Oracle(0.17)
    engine.of_channels = (engine, other)
    other.know(ChannelOptics(cutoff=Quantity(0.17, "told")))
    two = judged(engine, np.concatenate([blurry, blurry]), shared=False)
    assert [blur.cutoff for blur in two] == [0.2, 0.17]
    assert two[0].verdict == "good"
    assert not torch.equal(two[0].found.psf, two[1].found.psf)


def test_the_cutoff_of_a_network_is_confirmed_or_refused(model):
    assert choose_engine(EngineChoice(model=model))[0].known == UNKNOWN
    confirmed, _ = choose_engine(EngineChoice(model=model, cutoff=0.203))
    assert (confirmed.known_or_assumed, confirmed.operator.cutoff) == (TOLD, 0.2)
    with pytest.raises(ModelError, match=r"trained for, of the cutoff 0.2; leave out --cutoff 0.15, or take --model"):
        choose_engine(EngineChoice(model=model, cutoff=0.15))
    with pytest.raises(ModelError, match=r"cutoff .* 0.6"):
        choose_engine(EngineChoice(method="spectral", cutoff=(0.2, 0.6)))


@pytest.mark.parametrize(
    "choice", [EngineChoice(method="l0", cutoff=0.2), EngineChoice(method="goldstein-fattal", eta_waves=0.2)]
)
def test_optics_that_a_method_does_not_use_are_refused(choice):
    with pytest.raises(ModelError, match=r"finds any PSF and knows no aberrations; leave out --(cutoff|eta) 0.2"):
        choose_engine(choice)
    assert choose_engine(EngineChoice(method="l0", psf_size=15))[0].assumed() == ()
    with pytest.raises(ModelError, match=r"knows its PSFs; leave out --cutoff 0.2,0.17 or --optics"):
        choose_engine(EngineChoice(optics="scope.safetensors", cutoff=(0.2, 0.17)))


def test_every_channel_can_have_its_cutoff(blurry):
    engine, _ = choose_engine(EngineChoice(model="compact", cutoff=(0.2, 0.15)))
    assert [engine.of_channel(k).operator.cutoff for k in (0, 1)] == [0.2, 0.15]
    assert engine.described()["optics"]["cutoff"] == [0.2, 0.15]
    with pytest.raises(InputError, match=r"array: has 1 channels, but --cutoff says 2 numbers; say one for each"):
        deepblur.restore(blurry[0], method="spectral", cutoff=(0.2, 0.15))
    with pytest.raises(ValueError, match=r"share a PSF have one cutoff; got 2; leave out --channels shared"):
        deepblur.restore(
            np.concatenate([blurry] * 2), axes="CYX", method="spectral", cutoff=(0.2, 0.1), channels="shared"
        )


def test_a_report_says_all_that_is_needed_to_make_the_image_again(series, tmp_path, model):
    options = ("--cutoff", "0.15", "--eta", "0.3", "--psf-size", "25", "--restorer", "tv", "--no-pictures")
    assert call("restore", series, "-o", tmp_path / "out", "--method", "spectral", *options) == 0
    report = json.loads((tmp_path / "out" / "series_report.json").read_text())
    assert report["optics"] | {"cutoff": 0.15, "eta_waves": 0.3, "psf_size": 25, "cutoff_assumed": False,
                               "noll": [4, 5, 6, 7, 8, 9, 10]} == report["optics"]  # fmt: skip
    asked = {"cutoff": 0.15, "eta": 0.3, "psf_size": 25, "channels": "auto", "scale": "percentile:0.1,99.9"}
    assert report["options"] | asked == report["options"]
    assert report["versions"].keys() == {"python", "torch", "numpy", "scipy", "scikit-image"}
    (settings,) = report["blurs"][0]["restored_by"]
    assert settings.keys() >= {"restorer", "noise_std", "weight", "penalty"}
    assert report["blurs"][0]["cutoff"] == 0.15

    found = deepblur.restore(tifffile.imread(series)[0], model=model)
    report = found.report.as_json()
    assert (report["optics"]["cutoff"], report["optics"]["cutoff_assumed"]) == (0.2, True)
    assert len(report["weights"]) == 32
    assert report["options"]["model"] == model


def test_a_result_on_an_assumption_is_made_again_once_the_cutoff_is_said(series, tmp_path, model, capsys):
    def status(*more):
        call("restore", series, "-o", tmp_path / "out", "--model", model, "--no-pictures", "--json", *more)
        return json.loads(capsys.readouterr().out)["images"][0]["status"]

    assert [status(), status(), status("--cutoff", "0.2"), status("--cutoff", "0.2")] == ["done", "kept"] * 2


def test_identify_says_its_verdict_for_file_and_frames(series, tmp_path, model, capsys):
    assert call("identify", series, "-o", tmp_path / "out", "--model", model) == 0
    said = capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "series_identify_report.json").read_text())
    assert report["format"] == "deepblur-identification"
    assert f"[{report['verdict']}] {report['sentence']}" in said
    for blur in report["blurs"][:3]:
        assert f"{blur['frame']:16} [{blur['verdict']}]" in said
    assert "… 4 blurs in all: " in said
    assert report["optics"]["cutoff"] == 0.2
    with (tmp_path / "out" / "series_gamma.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["verdict"] for row in rows] == [blur["verdict"] for blur in report["blurs"] for _ in range(3)]


def test_the_picture_says_what_was_assumed(series, model, monkeypatch, tmp_path):
    said = []
    suptitle = Figure.suptitle
    monkeypatch.setattr(Figure, "suptitle", lambda self, text, **kw: said.append(text) or suptitle(self, text, **kw))
    assert call("restore", series, "-o", tmp_path / "out", "--model", model) == 0
    assert call("restore", series, "-o", tmp_path / "out", "--model", model, "--cutoff", "0.2") == 0
    assert [("cutoff 0.2 (assumed)" in text, "cutoff 0.2" in text) for text in said] == [(True, True)] * 2 + [
        (False, True)
    ] * 2
