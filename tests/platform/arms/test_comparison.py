"""The tables of a comparison follow from its items; lost draws are counted and never averaged."""

import made_up_methods
import numpy as np
import pandas as pd
import pytest
from made_up_methods import ARMS, result, table

from deepblur.platform.arms.methods.result import MEASURES, rival_leads

FEW = {arm: ARMS[arm] for arm in ("deep-blur", "l0_gradient", "spectral", "NAFNet", "IN only", "oracle")}
SMALL = {"arms": FEW, "etas": (0.1, 0.15), "images": 6, "noises": {"high": 0.12, "clean": 0.0}}
ONE_CELL = {"arms": FEW, "etas": (0.15,), "noises": {"clean": 0.0}}


@pytest.fixture(scope="module")
def study():
    return result(table(**SMALL, seeds=(0, 1), lost=("l0_gradient",)))


def row_of(summary, arm, level="all draws"):
    return summary[(summary["arm"] == arm) & (summary["level"] == level)].iloc[0]


def test_every_mean_is_that_of_the_draws_that_are_ok(study):
    levels = {"all draws": {}, "noise high": {"noise": "high"}, "η 0.15": {"eta_waves": 0.15}}
    for arm in FEW:
        for level, where in levels.items():
            tried = study.items[study.items["arm"] == arm]
            for column, value in where.items():
                tried = tried[tried[column] == value]
            ok = tried[tried["status"] == "ok"]
            row = row_of(study.summary, arm, level)
            assert (row["draws"], row["ok"]) == (len(tried), len(ok))
            assert row["psf_snr_db"] == pytest.approx(ok["psf_snr_db"].mean(), nan_ok=True)
            gain = (ok["ssim"] - ok["blurry_ssim"]).mean()
            assert row["ssim_gain"] == pytest.approx(gain, nan_ok=True)
            assert row["seconds"] == pytest.approx(ok["seconds"].median())


def test_lost_draws_are_counted_by_their_kind(study):
    row = row_of(study.summary, "l0_gradient")
    lost = study.items[(study.items["arm"] == "l0_gradient") & (study.items["status"] != "ok")]
    assert row["draws"] - row["ok"] == len(lost) > 0
    for status in ("diverged", "failed", "timeout"):
        assert row[status] == (lost["status"] == status).sum() > 0


def test_intervals_hold_their_means_and_absent_outputs_have_none(study):
    for row in study.summary.to_dict("records"):
        for name in MEASURES:
            low, mean, high = row[f"{name}_low"], row[name], row[f"{name}_high"]
            assert np.isnan([low, mean, high]).all() or low < mean < high
    assert np.isnan(row_of(study.summary, "NAFNet")["psf_snr_db"])
    assert np.isnan(row_of(study.summary, "IN only")["psnr_db"])
    assert study.gives("psf_snr_db") == ["deep-blur", "l0_gradient", "spectral", "IN only", "oracle"]


def test_noise_levels_go_from_weak_to_strong(study):
    assert list(study.noises["noise"]) == ["clean", "high"]
    assert list(dict.fromkeys(study.summary["level"])) == ["all draws", "noise clean", "noise high", "η 0.1", "η 0.15"]


def test_a_difference_rests_on_the_draws_that_both_survived(study):
    row = study.paired[
        (study.paired["arm"] == "l0_gradient")
        & (study.paired["measure"] == "psnr_db")
        & (study.paired["level"] == "noise clean")
    ].iloc[0]
    clean = study.items[(study.items["noise"] == "clean") & (study.items["status"] == "ok")]
    keys = ["eta_waves", "image", "draw"]
    ours = clean[clean["arm"] == "deep-blur"]
    rival = clean[clean["arm"] == "l0_gradient"].set_index(keys)["psnr_db"]
    pairs = ours.join(rival.rename("rival"), on=keys, how="inner")  # one seed serves both of the reference
    assert row["draws"] == len(pairs)
    assert row["lost"] == len(ours) - len(pairs) > 0
    assert row["difference"] == pytest.approx((pairs["rival"] - pairs["psnr_db"]).mean())


def test_the_reference_and_absent_outputs_are_compared_with_nothing(study):
    assert "deep-blur" not in set(study.paired["arm"])
    psf = study.paired[study.paired["measure"] == "psf_snr_db"]
    assert "NAFNet" not in set(psf["arm"])
    assert set(study.paired["level"]) == {"all draws", "noise clean", "noise high"}
    assert (study.paired["p_holm"] >= study.paired["p"] - 1e-12).all()


def test_leads_are_exactly_the_intervals_beyond_zero_on_the_rivals_side():
    arms = {
        "deep-blur": (14.0, 3.0, 0.4),
        "ahead": (20.0, 1.0, 1.0),
        "behind": (8.0, 5.0, 1.0),
        "oracle": (30.0, 9.0, 1.0),
    }
    leads = rival_leads(result(table(**ONE_CELL | {"arms": arms}, images=20)))
    kinds = leads.groupby("arm")["measure"].apply(set).to_dict()
    psf = {"psf_snr_db", "psf_snr_registered_db", "psf_ncc", "otf_error", "wavefront_error_waves"}
    assert kinds == {"ahead": psf, "behind": {"psnr_db", "ssim"}, "oracle": psf | {"psnr_db", "ssim"}}
    assert set(leads.loc[leads["informed"], "arm"]) == {"oracle"}
    assert (leads.loc[leads["measure"] == "otf_error", "high"] < 0).all()


def test_one_image_leads_to_no_claim():
    study = result(table(**ONE_CELL, images=1))
    assert study.summary["psnr_db_low"].isna().all()
    assert set(study.paired["in_favour"]) == {""}
    assert rival_leads(study).empty


def test_a_method_that_never_came_to_an_estimate_keeps_its_row():
    items = table(**ONE_CELL)
    gone = items["arm"] == "spectral"
    items.loc[gone, "status"] = "failed"
    items.loc[gone, [*made_up_methods.PSF_SCORES, *made_up_methods.IMAGE_SCORES, "whiteness"]] = np.nan
    study = result(items)
    row = row_of(study.summary, "spectral")
    assert (row["ok"], row["failed"]) == (0, row["draws"])
    assert np.isnan(row["psf_snr_db"])
    assert "spectral" not in set(study.paired["arm"])


def test_an_arm_that_was_handed_the_true_psf_has_no_psf_score():
    items = table(**SMALL)
    items.loc[items["arm"] == "oracle", "psf_snr_db"] = 140.0
    assert "oracle" not in result(items).gives("psf_snr_db")
    assert "oracle" not in result(items).gives("psf_ncc")
    assert "oracle" in result(items).gives("psnr_db")
    assert "oracle" in result(items, informed=()).gives("psf_snr_db")


def test_real_images_are_compared_by_what_needs_no_truth():
    study = result(table(FEW, noises={"as recorded": np.nan}, etas=(0.0,), real=True))
    assert set(study.paired["measure"]) == {"whiteness"}
    assert list(dict.fromkeys(study.summary["level"])) == ["all draws", "noise as recorded"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda items: items.drop(columns="whiteness"), "whiteness missing"),
        (lambda items: items[items["arm"] != "deep-blur"], "the reference 'deep-blur' has no row"),
        (lambda items: items.assign(status="fine"), r"a status is one of .* got \['fine'\]"),
        (lambda items: pd.concat([items, items.iloc[:1]]), "occurs again: drop the repetition"),
        (
            lambda items: items.assign(psnr_db=items["psnr_db"].where(items.index != 3)),
            "lacks a finite psnr_db on 1 of",
        ),
        (lambda items: items.assign(ssim=items["ssim"].where(items.index != 3, np.inf)), "lacks a finite ssim on 1 of"),
    ],
)
def test_items_that_the_tables_could_only_show_with_holes_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        result(change(table(**SMALL)))
