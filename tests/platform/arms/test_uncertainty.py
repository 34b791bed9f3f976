"""The study of uncertainties: answers and scores on errors of known law, and one that runs in small and resumes."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from micro_uncertainty import STUDY

from deepblur.operators import ZernikeBlur
from deepblur.platform.arms.uncertainty.answers import ANSWERS, Draws, draws_of, fitted
from deepblur.platform.arms.uncertainty.collect import UncertaintyStudy
from deepblur.platform.arms.uncertainty.report import uncertainty_text
from deepblur.platform.arms.uncertainty.result import (
    COVERAGES,
    LEVELS,
    coverage,
    risk_curve,
    score_table,
)
from deepblur.platform.experiment.main import main

FLOOR, FACTOR = 0.01, 1.5


def draws(n, seed):
    """Errors whose deviation is √(floor² + (factor·spread)²)."""
    rng = np.random.default_rng(seed)
    spread = 0.03 * rng.random((n, 2))
    error = rng.standard_normal((n, 2)) * np.sqrt(FLOOR**2 + (FACTOR * spread) ** 2)
    image = np.stack([np.full(n, 0.01), np.full(n, 0.2)], axis=1)
    return Draws(0.1 * rng.random((n, 2)), error, spread, spread, image, 0.1)


def scored(answer):
    fit, scale, ask = draws(600, 0), draws(600, 1), draws(2000, 2)
    return ask.error, fitted(answer, fit, scale, ask)


@pytest.mark.parametrize(
    "answer", sorted(ANSWERS.keys() - {"views", "ensemble"})
)  # a spread of nearly zero says too much
def test_every_answer_is_right_in_size_after_its_temperature(answer):
    error, std = scored(answer)
    assert std.shape == error.shape
    assert math.sqrt(float(np.mean((error / std) ** 2))) == pytest.approx(1, rel=0.1)


def test_the_answer_of_the_right_form_covers_what_it_says_and_the_others_do_not():
    error, std = scored("views + floor")
    assert coverage(error, std, LEVELS) == pytest.approx(LEVELS, abs=0.03)
    for other in ("constant", "views"):
        worse, stated = scored(other)
        assert np.abs(coverage(worse, stated, LEVELS) - LEVELS).max() > 0.05
    assert coverage(error, 100 * std, COVERAGES).tolist() == [1.0] * 4


def test_refusing_the_uncertain_draws_helps_where_the_answer_knows():
    error, std = scored("views + floor")
    known, blind = (risk_curve(error, s, np.array([0.3, 1.0])) for s in (std, np.ones_like(std)))
    assert known[0] < 0.8 * known[1]
    assert blind[0] == blind[1]
    assert known[1] == pytest.approx(blind[1])


def test_members_that_say_the_twin_agree():
    lens = ZernikeBlur(noll=(4, 5, 7))
    keys = {"part": "test", "inside": True, "noise": "n", "eta_waves": 0.1, "image": "i", "draw": [0, 1]}
    image = {"noise_std": 0.01, "contrast": 0.2}
    truth = {"true_4": [0.05, -0.02], "true_5": [0.03, 0.08], "true_7": [0.02, 0.01]}
    means = {name.replace("true", "mean"): np.array(values) for name, values in truth.items()}
    twins = {name: values * (1 if name == "mean_7" else -1) for name, values in means.items()}
    spread = {f"spread_{noll}": 0.01 for noll in lens.noll}
    tables = [pd.DataFrame({**keys, **image, **truth, **part, **spread}) for part in (means, twins, means)]
    found = draws_of(tables, lens, 0.1)
    assert np.abs(found.error).max() < 1e-12
    assert np.abs(found.members).max() < 1e-12
    with pytest.raises(ValueError, match="read the same draws"):
        draws_of([tables[0], tables[1].assign(draw=[0, 2])], lens, 0.1)


def test_the_study_runs_in_small_shares_its_networks_and_reuses_all(tmp_path, capsys):
    command = ["--local", "--tracking-uri", "none", "--runs", str(tmp_path)]
    assert main(STUDY, command) == 0
    first = capsys.readouterr().out
    assert "4 stages, 0 done before" in first  # two INs, two readings
    assert "IN, seed 0" in first
    assert "readings ensemble, seed 1" in first
    (report,) = tmp_path.glob("studies/*/report.html")
    items = pd.read_parquet(report.parent / "items.parquet")
    assert set(items["arm"]) == set(STUDY.arms)
    assert len(items) == 3 * 2 * 2 * 2 * 2  # arms, noise levels, images, draws, coefficients
    beyond = items[items["place"] == "beyond"]
    assert set(beyond["noise"]) == {"loud"}
    assert beyond["flagged"].all()
    assert (items["std"] > 0).all()
    assert main(STUDY, command) == 0
    assert "4 stages, 4 done before" in capsys.readouterr().out
    provenance = json.loads((report.parent / "provenance.json").read_text())
    assert len(provenance["outcome"]["arms"]["ensemble/0"]) == 4


def made_up(names=("constant", "knows")):
    """Two answers, of which the second knows its errors."""
    keys = [{"noise": "n", "eta_waves": 0.1, "image": f"i{n % 5}", "draw": n, "noll": 4} for n in range(200)]
    table = pd.DataFrame(keys).assign(seed=0, place=np.where(np.arange(200) < 150, "inside", "beyond"))
    rng = np.random.default_rng(0)
    std = 0.01 + 0.03 * rng.random(200)
    error = std * rng.standard_normal(200)
    arms = dict(zip(names, (np.full(200, math.sqrt(float(np.mean(error**2)))), std), strict=True))
    items = pd.concat([table.assign(arm=arm, error=error, std=s, flagged=False) for arm, s in arms.items()])
    return UncertaintyStudy(
        name="made_up", title="Who knows?", abstract={}, preset="quick", command="", items=items.reset_index(drop=True),
        reference=names[0], facts={},
    )  # fmt: skip


@pytest.fixture
def result():
    return made_up()


def test_scores_prefer_the_answer_that_knows(result):
    scores = score_table(result).set_index(["arm", "place"])
    assert scores.loc[("knows", "inside"), "gain_high"] < 0
    assert scores.loc[("constant", "inside"), "gain"] == 0
    assert scores.loc[("constant", "inside"), "spearman"] == 0
    assert scores.loc[("knows", "inside"), "spearman"] > 0.2
    assert scores.loc[("knows", "inside"), "draws"] == 150
    assert "best within the trained range: knows" in uncertainty_text(result)


def test_the_report_shows_both_diagrams_and_the_verdict(result, tmp_path):
    page = result.write(tmp_path).read_text()
    assert page.count("data:image/svg+xml") == 2
    assert "Within the trained range knows is best" in page
    assert {file.name for file in (tmp_path / "figures").iterdir()} == {
        f"{name}.{kind}" for name in ("reliability", "risk-coverage") for kind in ("svg", "pdf", "png")
    }
