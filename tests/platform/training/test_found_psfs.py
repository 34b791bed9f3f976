"""Training with PSFs that were found: the same pairs, the same weights after a kill, and nothing but the network."""

import pytest
import torch

from deepblur.baselines import SpectralIdentifier
from deepblur.nets import Deblurrer
from deepblur.operators import ZernikeBlur
from deepblur.platform.data.sources import parse_data
from deepblur.platform.data.store import open_store
from deepblur.platform.models import shipped
from deepblur.platform.models.model import load_model, save_model
from deepblur.platform.system.seeds import generator
from deepblur.platform.training import found_psfs as training

NETWORK = {"unroll": 1, "widths": (4, 6), "blocks": 1, "noise_map": True, "lam": 4.0, "lam_by_noise": True}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    store = open_store(parse_data("photos").train, tmp_path_factory.mktemp("cache"))
    return store, store


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    folder = tmp_path / "model"
    save_model(
        folder,
        operator=ZernikeBlur(),
        identifier_config={"method": "spectral", "eta_waves": 0.15},
        identifier=SpectralIdentifier(ZernikeBlur()),
        deblurrer_config=NETWORK,
        deblurrer=Deblurrer(**NETWORK),
        card={"trained": {"eta_waves": 0.15, "gain": [0.0, 0.05], "read_std": [0.0, 0.12]}},
    )
    return folder


def pairs(rng, n=3):
    psfs = ZernikeBlur().psf(0.1 * torch.randn(2 * n, 7, generator=rng))[:, 0]
    return training.Pairs(psfs[:n], psfs[n:], torch.zeros(n), torch.linspace(0, 0.1, n))


def test_a_pair_is_a_psf_and_what_was_found_of_it(model, stores):
    pair, again = (training.draw_pair(load_model(model), stores, generator(0, "pair")) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(pair, again, strict=True))
    true, found, gain, read_std = pair
    assert true.shape == found.shape == (training.SIDE, training.SIDE)
    assert abs(float(true.sum()) - 1) < 0.01
    assert abs(float(found.sum()) - 1) < 0.01
    assert not torch.equal(true, found)
    assert 0 <= gain <= training.GAIN
    assert 0 <= read_std <= training.READ_STD


def test_draws_are_blurred_by_the_one_and_given_the_other(stores, rng):
    some = pairs(rng, 1)
    calm = training.Pairs(some.true, some.found, torch.zeros(1), torch.zeros(1))
    found, told = (training.draw(stores, calm, 4, share, generator(1, "draw")) for share in (0.0, 1.0))
    assert torch.equal(found.blurry, told.blurry)
    assert found.sharp.shape == found.blurry.shape == (4, 1, training.CROP_PX, training.CROP_PX)
    total = {"found": some.found, "told": some.true}
    for name, drawn in (("found", found), ("told", told)):
        assert torch.allclose(drawn.given.sort(1).values, total[name].flatten().sort().values.expand(4, -1))
    assert not torch.equal(found.blurry, found.sharp)


def test_a_killed_training_ends_with_the_same_weights(stores, tmp_path, rng, monkeypatch):
    monkeypatch.setattr(training, "EVERY", 1)
    monkeypatch.setattr(training, "VALIDATED", training.BATCH)
    some = (stores, pairs(rng))

    def run(checkpoint):
        torch.manual_seed(1)
        return training.train(Deblurrer(**NETWORK), some, some, 3, checkpoint).state_dict()

    whole = run(tmp_path / "whole.pt")
    keep, kept = training.keep, []

    def killed(value, file):
        keep(value, file)
        kept.append(file)
        if len(kept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "keep", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut.pt")
    monkeypatch.setattr(training, "keep", keep)
    resumed = run(tmp_path / "cut.pt")
    assert all(torch.equal(resumed[name], values) for name, values in whole.items())
    torch.manual_seed(1)
    start = Deblurrer(**NETWORK).state_dict()
    assert not all(torch.equal(start[name], values) for name, values in whole.items())


def test_only_the_network_of_the_model_changes(model):
    before = load_model(model)
    torch.manual_seed(5)
    facts = {"images": [3, 2], "fingerprints": ["ab", "cd"], "psfs": 16, "true": 0.25, "steps": 3, "commit": "0123"}
    training.put_into(model, Deblurrer(**NETWORK), facts)
    shipped.check(model)
    after = load_model(model)
    assert after.operator == before.operator
    assert after.card["found_psfs"] == facts
    assert "went on with PSFs as they are found" in (model / "README.md").read_text(encoding="utf-8")
    assert after.card["trained"]["gain"] == [0.0, training.GAIN]
    training.put_into(model, Deblurrer(**NETWORK), facts | {"steps": 4})
    assert load_model(model).card["found_psfs"] == facts | {"psfs": 32, "steps": 7}
    one, other = (found.deblurrer.state_dict() for found in (before, after))
    assert not all(torch.equal(one[name], other[name]) for name in one)
