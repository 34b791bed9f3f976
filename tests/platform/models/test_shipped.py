"""What ships is what was hashed, is packed from a study, and restores where nobody names a model."""

import pytest
import skimage.data
import torch
from safetensors.torch import save_file

from deepblur.baselines import SpectralIdentifier
from deepblur.baselines.spectrum_reader import SpectrumReader
from deepblur.nets import Deblurrer
from deepblur.operators import ZernikeBlur
from deepblur.platform.evaluation.metrics import psf_snr_db, psnr_db
from deepblur.platform.models import shipped
from deepblur.platform.models.model import load_model, save_model, weights_of
from deepblur.platform.system.errors import ModelError
from deepblur.platform.training.spectrum_reader import NETWORK as READER
from deepblur.platform.training.spectrum_reader import put_into
from deepblur.restoration.engine_choice import choose_engine
from deepblur.restoration.engines.engine import IdentifiedBlur
from deepblur.restoration.options import EngineChoice
from deepblur.studies.compact import STUDY

OPERATOR = ZernikeBlur()
SPECTRAL = {"method": "spectral", "eta_waves": 0.15, "reader": {}}
FACTS = {"noll": [4, 5], "cutoffs": [0.1, 0.25], "eta_waves": 0.22, "images": [3, 2], "fingerprints": ["ab", "cd"],
         "draws": 10, "epochs": 1, "seed": 0, "went_on": True, "commit": "0123"}  # fmt: skip
NETWORK = {"unroll": 2, "widths": (4, 6), "blocks": 1, "noise_map": True, "lam": 4.0, "lam_by_noise": True}


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A made-up model `compact` in a folder that stands for weights/."""
    torch.manual_seed(0)
    save_model(
        tmp_path / "weights" / "compact",
        operator=OPERATOR,
        identifier_config=SPECTRAL,
        identifier=SpectralIdentifier(OPERATOR, reader={}),
        deblurrer_config=NETWORK,
        deblurrer=Deblurrer(**NETWORK),
        card={"trained": {"eta_waves": 0.15, "noll": list(OPERATOR.noll)}},
        half=True,
    )
    shipped.write_sums(tmp_path / "weights" / "compact")
    monkeypatch.setattr(shipped, "folder", lambda: tmp_path / "weights")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    return tmp_path / "weights"


def test_a_changed_or_missing_file_is_refused(weights):
    assert shipped.names() == ("compact",)
    reference = shipped.reference("compact", "deblurrer")
    shipped.shipped("compact")
    file = weights / "compact" / "deblurrer.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ModelError, match=r"deblurrer.safetensors is missing or damaged"):
        shipped.shipped("compact")
    file.unlink()
    with pytest.raises(ModelError, match=r"deblurrer.safetensors is missing or damaged"):
        choose_engine(EngineChoice())
    (weights / "compact" / "SHA256SUMS").unlink()
    with pytest.raises(ModelError, match=r"SHA256SUMS is missing; install deepblur again"):
        shipped.shipped("compact")
    with pytest.raises(ModelError, match=r"ships the models compact; got 'large'"):
        shipped.shipped("large")
    with pytest.raises(ModelError, match="is not the one that was meant"):
        shipped.referred(reference, "cpu")


def test_a_network_trained_anew_leaves_the_name_of_what_the_other_made(weights):
    before = {psf: shipped.reference_for(psf, "tv") for psf in ("shipped", "true")}
    both = shipped.reference_for("shipped", "shipped")
    assert before["true"] == ""
    folder = weights / "compact"
    save_file(weights_of(Deblurrer(**NETWORK)), folder / "deblurrer.safetensors")
    shipped.write_sums(folder)
    assert shipped.reference_for("shipped", "tv") == before["shipped"]
    assert shipped.reference_for("shipped", "shipped") != both
    assert shipped.referred(before["shipped"], "cpu").identifier is not None


def test_it_restores_where_the_registry_has_no_champion(weights):
    engine, note = choose_engine(EngineChoice())
    assert (engine.name, engine.restorer) == ("compact", "deblur")
    assert "using the model that ships with deepblur, compact" in note
    with pytest.raises(ModelError, match="no champion"):
        choose_engine(EngineChoice(method="deep-blur"))


def test_it_takes_the_optics_that_it_is_told(weights):
    engine, note = choose_engine(EngineChoice(model="compact", cutoff=0.15, psf_size=21, eta_waves=0.1, restorer="tv"))
    assert note == ""
    assert (engine.operator.cutoff, engine.psf_size, engine.restorer) == (0.15, 21, "tv")
    assert engine.card["trained"]["eta_waves"] == 0.1
    psf = engine.operator.psf(torch.zeros(1, 7))[0, 0]
    assert engine.limits(IdentifiedBlur(psf, torch.tensor([0.0, 0.05]))) == ()
    assert "reaches 0.1 waves" in engine.limits(IdentifiedBlur(psf, torch.tensor([0.0, -0.095])))[0]
    assert engine.described() != choose_engine(EngineChoice(model="compact", restorer="tv"))[0].described()
    with pytest.raises(ModelError, match=r"cutoff .* 0.6"):
        choose_engine(EngineChoice(model="compact", cutoff=0.6))


def test_in_noise_beyond_its_training_tv_restores_unless_the_network_is_asked_for(weights, rng):
    y = skimage.data.camera()[100:180, 150:240] / 255
    y = torch.from_numpy(y).float() + 0.5 * torch.randn(80, 90, generator=rng)
    engines = {name: choose_engine(EngineChoice(restorer=name))[0] for name in ("auto", "deblur", "tv")}
    images = {}
    for name, engine in engines.items():
        engine.card["trained"] |= {"gain": [0.0, 0.05], "read_std": [0.0, 0.12]}
        engine.identifier.starts = 4
        found = engine.identify(y)
        assert (engine.limits(found)[:1] == ("TV restored it, not the network, which has not seen such noise",)) == (
            name == "auto"
        )
        images[name] = engine.prepare(y, found)(y, (40, 45))
    assert torch.equal(images["auto"], images["tv"])
    assert not torch.equal(images["auto"], images["deblur"])
    calm = engines["auto"].identify(y.clamp(0.4, 0.6))
    assert not calm.network_overtaxed


def test_its_engine_identifies_with_the_spectral_likelihood(weights, rng):
    engine, _ = choose_engine(EngineChoice())
    identifier = engine.model.identifier
    identifier.starts = 4
    y = torch.rand(80, 90, generator=rng)
    found = engine.identify(y)
    assert found.gamma.shape == found.gamma_std.shape == (7,)
    assert not found.calibrated
    assert torch.equal(found.gamma, identifier(y[None, None])[0])
    restored = engine.prepare(y, found)(y, (40, 45))
    assert restored.shape == y.shape


def test_what_ships_is_whole_and_restores():
    assert shipped.names() == ("compact",)
    model = shipped.shipped("compact")
    assert model.card["trained"]["eta_waves"] == 0.15
    gamma = torch.tensor([[0.1, -0.08, 0.06, 0.05, -0.07, 0.04, 0.09]])
    x = torch.from_numpy(skimage.data.camera()[100:258, 150:308] / 255).float()[None, None]
    y = model.operator.forward(x, gamma)
    restored = model.restore(y)
    sharp = x[..., 15:-15, 15:-15]
    assert psf_snr_db(restored.psf, model.operator.psf(gamma))[0] > 12
    assert psnr_db(restored.image, sharp)[0] > psnr_db(y, sharp)[0] + 4


def test_a_study_leaves_a_model_as_it_ships(tmp_path):
    torch.manual_seed(0)
    reader = SpectrumReader(**READER)
    save_file(weights_of(reader), tmp_path / "reader.safetensors")
    small = ["dn_steps=1", "dn_widths=(4, 6)", "dn_unroll=1", "crop_px=32", "validations=1"]
    command = ["--preset", "quick", "--arms", "compact,TV", "--images", "1", "--eta", "0.15", "--noise", "clean:0:0"]
    command += ["--runs", str(tmp_path), "--tracking-uri", "none", "--local"]
    command += [word for setting in small for word in ("--set", setting)]
    with pytest.raises(SystemExit) as ended:
        STUDY.main(command)
    assert ended.value.code == 0
    folder = tmp_path / "models" / "compact"
    shipped.check(folder)
    model = load_model(folder)
    assert torch.allclose(model.identifier.reader.body[0].weight, reader.body[0].weight, atol=1e-3)
    assert model.identifier.reader.cutoffs == READER["cutoffs"]
    assert model.card["trained"]["crop_px"] == 32
    assert "# deepblur compact" in (folder / "README.md").read_text()


def test_a_model_gets_another_reader_and_keeps_the_rest(weights):
    folder, (small, facts) = weights / "compact", ({"coordinates": 5, "widths": (4, 6), "hidden": 8}, FACTS)
    before = load_model(folder)
    reader = SpectrumReader(**small, cutoffs=(0.1, 0.25))
    put_into(folder, reader, {**small, "cutoffs": (0.1, 0.25)}, facts)
    shipped.check(folder)
    after = load_model(folder)
    assert after.identifier.reader.knows(ZernikeBlur(cutoff=0.1), 0.15, 128)
    assert torch.allclose(after.identifier.reader.body[0].weight, reader.body[0].weight, atol=1e-3)
    for name, values in before.deblurrer.state_dict().items():
        assert torch.equal(after.deblurrer.state_dict()[name], values)
    assert after.operator == before.operator
    assert after.card == {**before.card, "reader": facts}
    assert "| cutoff | 0.1 to 0.25 cycles per pixel |" in (folder / "README.md").read_text()
    save_model(folder, operator=OPERATOR, identifier_config=None, identifier=None, deblurrer_config=NETWORK,
               deblurrer=Deblurrer(**NETWORK), card={})  # fmt: skip
    with pytest.raises(ValueError, match="no reader of spectra"):
        put_into(folder, reader, small, facts)
