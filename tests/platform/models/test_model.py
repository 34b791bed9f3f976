"""A saved model gives the same restoration back, and a wrong folder is refused with a sentence."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from deepblur.baselines import SpectralIdentifier, spectral
from deepblur.nets import Deblurrer, Identifier
from deepblur.operators import ZernikeBlur
from deepblur.platform.models.model import BlindModel, load_model, save_model

OPERATOR = ZernikeBlur(noll=(4, 5, 6), psf_size=9, pupil_size=33)
IDENTIFIER = {"num_parameters": 3, "arch": "compact", "widths": (4, 6), "log_spectrum": True, "output_scale": 0.1}
DEBLURRER = {"unroll": 2, "widths": (4, 6), "blocks": 1, "lam": 0.1}
CARD = {"data": "dead-leaves", "scores": {"psf_snr_db": 12.5}, "seeds": [0, 1]}


def parts(**changes) -> dict:
    return {
        "operator": OPERATOR,
        "identifier_config": IDENTIFIER,
        "identifier": Identifier(**IDENTIFIER),
        "deblurrer_config": DEBLURRER,
        "deblurrer": Deblurrer(**DEBLURRER),
        "card": CARD,
    } | changes


@pytest.fixture
def folder(tmp_path):
    save_model(tmp_path / "model", **parts())
    return tmp_path / "model"


@pytest.fixture
def y(rng):
    return torch.rand(2, 1, 24, 31, generator=rng)


def edit(folder, change) -> None:
    file = folder / "model.json"
    description = json.loads(file.read_text())
    change(description)
    file.write_text(json.dumps(description))


def test_a_loaded_model_restores_as_the_saved_networks_do(tmp_path, y):
    saved = parts()
    save_model(tmp_path / "model", **saved)
    model = load_model(tmp_path / "model")
    assert (model.operator, model.card) == (OPERATOR, CARD)
    restored = model.restore(y)
    with torch.inference_mode():
        gamma = saved["identifier"].eval()(y)
        assert_close(restored.gamma, gamma, rtol=0, atol=0)
        assert_close(restored.image, saved["deblurrer"].eval()(y, gamma, OPERATOR), rtol=0, atol=0)
    assert restored.image.shape == y.shape
    assert restored.psf.shape == (2, 1, 9, 9)
    assert_close(restored.psf.sum((-2, -1)), torch.ones(2, 1))


def test_known_parameters_replace_the_estimate(folder, y):
    gamma = torch.zeros(2, 3)
    assert_close(load_model(folder).restore(y, gamma).gamma, gamma, rtol=0, atol=0)


def test_a_model_without_identifier_needs_the_parameters(tmp_path, y):
    save_model(tmp_path / "model", **parts(identifier=None, identifier_config=None))
    model = load_model(tmp_path / "model")
    assert model.identifier is None
    assert model.restore(y, torch.zeros(2, 3)).image.shape == y.shape
    with pytest.raises(ValueError, match="no identification network; give gamma"):
        model.restore(y)


def test_channels_last_networks_and_an_existing_folder_are_saved_over(folder, y):
    before = load_model(folder).restore(y).image
    save_model(folder, **parts(deblurrer=Deblurrer(**DEBLURRER).to(memory_format=torch.channels_last)))
    assert not torch.equal(load_model(folder).restore(y).image, before)
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


def test_a_failed_save_leaves_the_old_model_and_nothing_else(folder, y):
    before = load_model(folder).restore(y).image
    with pytest.raises(ValueError, match="does not fit the configuration"):
        save_model(folder, **parts(deblurrer_config=DEBLURRER | {"widths": (4, 8)}))
    with pytest.raises(ValueError, match="JSON values only"):
        save_model(folder, **parts(card={"when": object()}))
    with pytest.raises(ValueError, match="belong together"):
        save_model(folder, **parts(identifier=None))
    assert_close(load_model(folder).restore(y).image, before, rtol=0, atol=0)
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("name", ["model.json", "identifier.safetensors", "deblurrer.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name} is missing"):
        load_model(folder)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d.update(version=2), r"format version 2, this deepblur reads version 1; load it with"),
        (lambda d: d.update(format="other"), "does not describe a deepblur model"),
        (lambda d: d.pop("card"), "lacks card"),
        (lambda d: d.update(card=[]), "card is not a JSON object"),
        (lambda d: d["operator"].update(type="Wavelet"), "operators of type 'Wavelet' cannot be loaded"),
        (lambda d: d["operator"].update(cutoff=0.6), "ZernikeBlur cannot be built; .*0.6"),
        (lambda d: d["operator"].update(colour=1), "ZernikeBlur has no setting colour"),
        (lambda d: d["identifier"].update(depth=1), "Identifier has no setting depth"),
        (lambda d: d["identifier"].pop("num_parameters"), "Identifier cannot be built"),
        (lambda d: d["operator"].update(noll=[4, 5, 6, 7]), "IN estimates 3 parameters, the operator has 4"),
        (lambda d: d["deblurrer"].update(blocks=2), r"does not fit .* is nothing, but torch.float32 .* is needed"),
        (lambda d: d["deblurrer"].update(unroll=1), r"is torch.float32 .*, but nothing is needed"),
    ],
)
def test_a_wrong_description_is_refused(folder, change, sentence):
    edit(folder, change)
    with pytest.raises(ValueError, match=sentence):
        load_model(folder)


@pytest.mark.parametrize(
    ("part", "setting", "value", "sentence"),
    [
        ("deblurrer", "unroll", 10**9, "unroll is at most 64"),
        ("deblurrer", "lam", 1e9, "lam is at most"),
        ("deblurrer", "shared", "yes", "shared must be true or false"),
        ("deblurrer", "data_step", "sometimes", "data_step must be one of closed_form, cg"),
        ("deblurrer", "cg_iterations", 10**9, "cg_iterations is at most"),
        ("deblurrer", "prox", "os.system", "prox must be left out or null"),
        ("operator", "pupil_size", 40000, "pupil_size is at most"),
        ("operator", "psf_size", 40001, "psf_size is at most"),
        ("operator", "psf_size", 9.0, "psf_size must be a whole number; got 9.0"),
        ("operator", "psf_size", "9", "psf_size must be a whole number; got '9'"),
        ("operator", "psf_size", True, "psf_size must be a whole number; got True"),
        ("operator", "noll", ["4", "5", "6"], "noll must be a list, each a whole number"),
        ("operator", "noll", [4, 5, 10**13], "noll is at most 1000"),
        ("operator", "noll", list(range(4, 9000)), "noll holds at most 4096 numbers"),
        ("operator", "psf_size", -1, "odd sides .* got -1x-1"),
        ("operator", "cutoff", 1e-320, "cutoff is at least 0.001"),
        ("operator", "cutoff", None, "cutoff must be a finite number; got None"),
        ("operator", "cutoff", float("nan"), "cutoff must be a finite number; got nan"),
        ("operator", "cg_tolerance", float("inf"), "cg_tolerance must be a finite number"),
        ("identifier", "widths", [10**9, 10**9], "widths is at most 4096"),
        ("identifier", "num_parameters", 10**400, "holds a number beyond 1e"),
        ("identifier", "output_scale", [1e9] * 3, "output_scale is at most"),
    ],
)
def test_a_setting_of_another_type_or_beyond_all_bounds_is_refused(folder, part, setting, value, sentence):
    edit(folder, lambda d: d[part].update({setting: value}))
    with pytest.raises(ValueError, match=sentence):
        load_model(folder)


def test_an_operator_far_out_of_focus_would_take_too_many_nodes(folder):
    edit(folder, lambda d: d["operator"].update(pupil_size=None, z_px=9e3, wavenumber=0.3))
    with pytest.raises(ValueError, match=r"quadrature nodes, more than 512"):
        load_model(folder)


def test_a_searched_blur_has_bounds_too(folder):
    edit(folder, lambda d: d.update(identifier={"method": "spectral", "starts": 10**9, "eta_waves": 0.1}))
    with pytest.raises(ValueError, match="starts is at most 1024"):
        load_model(folder)
    edit(folder, lambda d: d["identifier"].update(starts=-1))
    with pytest.raises(ValueError, match=r"SpectralIdentifier cannot be built; .* starts=-1"):
        load_model(folder)
    edit(folder, lambda d: d["identifier"].update(starts=4, eta_waves=-0.1))
    with pytest.raises(ValueError, match=r"must be positive; got -0.1"):
        load_model(folder)


@pytest.mark.parametrize("text", ["[" * 100_000 + "]" * 100_000, '{"a": ' * 100_000 + "1" + "}" * 100_000])
def test_a_description_nested_without_end_is_refused(folder, text):
    (folder / "model.json").write_text(text)
    with pytest.raises(ValueError, match="nested too deeply"):
        load_model(folder)


def test_damaged_files_are_refused(folder):
    weights = folder / "deblurrer.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"deblurrer.safetensors is damaged"):
        load_model(folder)
    (folder / "model.json").write_text("{")
    with pytest.raises(ValueError, match=r"model.json is not JSON"):
        load_model(folder)


def test_weights_of_another_precision_are_refused(folder):
    file = folder / "deblurrer.safetensors"
    save_file({name: value.bfloat16() for name, value in load_file(file).items()}, file)
    with pytest.raises(ValueError, match=r"torch.bfloat16 .* torch.float32 .* is needed"):
        load_model(folder)


def test_half_precision_halves_the_file_and_hardly_changes_the_result(tmp_path, y):
    saved = parts()
    save_model(tmp_path / "whole", **saved)
    save_model(tmp_path / "half", **saved, half=True)
    sizes = [(tmp_path / name / "deblurrer.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    whole, half = (load_model(tmp_path / name) for name in ("whole", "half"))
    assert next(half.deblurrer.parameters()).dtype == torch.float32
    assert_close(half.restore(y).image, whole.restore(y).image, rtol=0, atol=2e-3)


def test_the_spectral_likelihood_stands_in_for_a_trained_identifier(tmp_path, rng):
    operator = ZernikeBlur(noll=(4, 5, 6), psf_size=9)
    config = {"method": "spectral", "eta_waves": 0.2, "starts": 4}
    identifier = SpectralIdentifier(operator, eta_waves=0.2, starts=4)
    save_model(tmp_path / "m", **parts(operator=operator, identifier=identifier, identifier_config=config))
    assert not (tmp_path / "m" / "identifier.safetensors").exists()
    model = load_model(tmp_path / "m")
    images = torch.rand(2, 1, 40, 44, generator=rng)
    found = model.restore(images)
    alone = spectral(images[1, 0], operator, eta_waves=0.2, starts=4)
    assert torch.equal(found.gamma[1], alone.gamma)
    for wrong, sentence in (({"method": "magic"}, "no identifier of method 'magic'"),
                            ({"method": "spectral", "operator": 1}, "no identifier of method"),
                            ({"method": "spectral", "etta": 1}, "SpectralIdentifier has no setting etta")):  # fmt: skip
        edit(tmp_path / "m", lambda d, wrong=wrong: d.update(identifier=wrong))
        with pytest.raises(ValueError, match=sentence):
            load_model(tmp_path / "m")


@pytest.mark.parametrize(
    ("y", "sentence"),
    [
        (torch.rand(2, 3, 24, 24), r"grey images \(B, 1, H, W\); got torch.float32 \(2, 3, 24, 24\)"),
        (torch.zeros(1, 1, 24, 24, dtype=torch.uint8), "got torch.uint8"),
        (torch.full((1, 1, 24, 24), torch.nan), "finite images"),
        (255 * torch.rand(1, 1, 24, 24), r"intensities in \[0, 1\]; got .* divide by the white level"),
    ],
)
def test_images_that_cannot_be_restored_are_refused(folder, y, sentence):
    model = load_model(folder)
    assert isinstance(model, BlindModel)
    with pytest.raises(ValueError, match=sentence):
        model.restore(y)
