"""The report of a comparison is one readable file, claims what intervals say, and holds our figures to the paper's."""

import dataclasses
import functools
import re

import numpy as np
import pandas as pd
import pytest
from made_up_methods import ARMS, picture, result, table
from test_report import parse

from deepblur.platform.arms.methods import report as comparison_report
from deepblur.platform.arms.methods.claims import HIGHEST_NOISE, paper_claims
from deepblur.platform.arms.methods.published import verdicts
from deepblur.platform.arms.methods.report import FIGURES, sections
from deepblur.platform.arms.methods.text import (
    caveats,
    comparison_text,
    draws_text,
    lead_sentences,
    loss_sentences,
    paper_sentences,
)
from deepblur.platform.report.numbers import WIDTH
from deepblur.platform.report.page import page

FEW = {arm: ARMS[arm] for arm in ("blurry", "deep-blur", "l0_gradient", "NAFNet", "IN only", "oracle")}
SMALL = {"arms": FEW, "etas": (0.15,), "images": 12, "noises": {"clean": 0.0, "high": 0.12}}
NO_NUMBER = re.compile(r"\b(nan|None|inf)\b")


@functools.cache
def usual():
    return result(table(**SMALL, lost=("l0_gradient",)), pictures=(picture(FEW),), published=paper_claims())


def one_image():
    return result(table(arms=FEW, etas=(0.1,), images=1, noises={"low": 0.02}), published=paper_claims())


def real():
    items = table(FEW, noises={"as recorded": np.nan}, etas=(0.0,), real=True)
    return result(items, pictures=(picture(FEW, real=True),), trained_eta_waves=None, published=paper_claims("seconds"))


def nasty():
    arms = {'<b>"&$x_1$': ARMS["l0_gradient"], "deep-blur": ARMS["deep-blur"]}
    return result(table(arms=arms, etas=(0.1, 0.2), noises={"<low> & $": 0.02}), pictures=(picture(arms),))


def lone_image_methods():
    arms = {"deep-blur": (None, 3.0, 0.4), "NAFNet": (None, 2.5, 0.2)}
    return result(table(arms=arms, etas=(0.1,), noises={"low": 0.02}), pictures=(), curves={}, parameters={}, facts={})


CASES = {
    "usual": usual,
    "one image": one_image,
    "real images": real,
    "nasty names": nasty,
    "no PSF at all": lone_image_methods,
}


@pytest.mark.parametrize("case", CASES)
def test_the_report_is_one_well_formed_file_without_links_scripts_or_nan(case, tmp_path, monkeypatch):
    study = CASES[case]()
    few = {name: FIGURES[name] for name in ("examples", "real_images", "noise_dependence")}
    monkeypatch.setattr(comparison_report, "FIGURES", few)  # the others have their own tests
    path = study.write(tmp_path)
    html = path.read_text(encoding="utf-8")
    read = parse(html)
    assert path.name == "report.html"
    assert "http" not in html
    assert not {"script", "link", "iframe", "b"} & set(read.tags)
    assert all(re.match(r"data:image/(png|svg\+xml);base64,", address) for address in read.addresses)
    assert not NO_NUMBER.search(" ".join(read.text))
    assert set(study.arms) <= {word.strip() for word in read.text}
    text = comparison_text(study)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert not NO_NUMBER.search(text)
    check_files(
        tmp_path, study, figures={"usual": {"examples", "noise_dependence"}, "real images": {"real_images"}}.get(case)
    )


def check_files(folder, study, figures):
    """Everything lies beside the report, and nothing half-written."""
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {f"{name}.csv" for name in ("summary", "paired", "leads", "published")} <= files
    assert {f"figures/{name}.{kind}" for name in figures or () for kind in ("svg", "pdf", "png")} <= files
    assert not [name for name in files if "partial" in name]
    assert len(pd.read_csv(folder / "published.csv")) >= len(study.published)
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "items.parquet"), study.items, check_dtype=False)


def test_an_absent_output_is_a_dash_and_a_lost_draw_is_counted():
    text = comparison_text(usual())
    assert re.search(r"NAFNet +24/24 +— +\+\d", text)
    assert re.search(r"IN only +24/24 +\d\S+ \[.*?\] +— +—", text)
    assert re.search(r"l0_gradient +19/24 ", text)
    assert "l0_gradient: 19 of 24; 2 diverged, 2 failed, 1 timeout; most often: the kernel is empty" in text


@pytest.mark.parametrize("snr_db", [14.0, -1234.5])
def test_large_figures_are_never_cut_to_the_width(snr_db):
    arms = {"deep-blur": (snr_db, 123.0, 4000.0), "a method with a very long name indeed": (snr_db, 123.0, 4000.0)}
    text = comparison_text(result(table(**SMALL | {"arms": arms}), informed=()))
    rows = [line for line in text.splitlines() if " 24/24 " in line]
    assert len(rows) == 2
    assert all(re.search(r" \d{4}$", row) for row in rows)
    assert max(map(len, text.splitlines())) <= WIDTH


def test_draws_are_told_in_words():
    row = {"draws": 24, "ok": 23, "diverged": 1, "failed": 0, "timeout": 0}
    assert draws_text(row) == "23 of 24; 1 diverged"
    assert draws_text(row, reasons=False) == "23 of 24"
    assert draws_text(row | {"ok": 24}) == "24"


def test_a_rival_that_leads_is_named_with_its_levels_and_an_oracle_is_not_counted():
    arms = {"deep-blur": (14.0, 3.0, 0.4), "rival": (20.0, 1.0, 1.0), "oracle": (30.0, 9.0, 1.0)}
    sentences = lead_sentences(result(table(**SMALL | {"arms": arms})))
    psf = next(sentence for sentence in sentences if sentence.startswith("rival beats deep-blur in PSF SNR:"))
    assert [level for level in ("all draws +", "noise clean +", "noise high +") if level not in psf] == []
    assert any("in OTF error, lower is better: all draws −" in sentence for sentence in sentences)
    assert not any("in PSNR" in sentence for sentence in sentences)
    few = lead_sentences(result(table(**SMALL | {"arms": arms, "images": 4})))
    assert any(sentence.startswith("rival is ahead of deep-blur in PSF SNR:") for sentence in few)
    assert sentences[-1].startswith("Not counted, since they were given a truth: oracle")


def test_without_a_lead_the_report_says_so():
    study = result(table(**SMALL | {"arms": {arm: ARMS[arm] for arm in ("deep-blur", "l0_gradient")}}))
    assert lead_sentences(study) == ["No interval favours the only other method over deep-blur."]
    alone = result(study.items[study.items["arm"] == "deep-blur"])
    assert lead_sentences(alone) == ["No other method was compared with deep-blur."]


def test_what_the_study_cannot_say_is_said():
    assert any(sentence.startswith("1 test image:") for sentence in caveats(one_image()))
    three = {arm: ARMS[arm] for arm in ("deep-blur", "NAFNet", "l0_gradient")}
    few = caveats(result(table(arms=three, etas=(0.1,), noises={"low": 0.02}, images=6)))
    assert any("6 test images, a test that is corrected for 2 methods cannot" in sentence for sentence in few)
    assert not any("cannot fall below" in sentence for sentence in caveats(usual()))
    assert any("no ground truth" in sentence for sentence in caveats(real()))
    assert any("Lost draws" in sentence for sentence in caveats(usual()))
    assert loss_sentences(real()) == []


def paper(study, *keys, because=""):
    return verdicts(study, paper_claims(*keys, because=because))


def cleaned(snr_db, *, arm="deep-blur", noises=None, etas=(0.15,), images=12):
    """A study whose one arm has a known mean PSF SNR at the paper's η."""
    return result(
        table(arms={arm: (snr_db, 3.0, 0.4)}, etas=etas, images=images, noises=noises or {"clean": 0.0}), reference=arm
    )


@pytest.mark.parametrize(("snr_db", "outcome"), [(25.0, "better"), (5.0, "worse"), (12.9 + 2.0, "no difference shown")])
def test_better_and_worse_need_the_whole_interval(snr_db, outcome):
    verdict = paper(cleaned(snr_db), "psf_snr_clean")[0]  # harder by 2 dB at η 0.15 than the mean of the table
    assert verdict.outcome == outcome
    assert verdict.published_figure == "12.9\u00a0dB"
    assert verdict.low <= verdict.ours <= verdict.high


def test_a_bound_that_ours_keeps_to_is_as_published():
    assert paper(cleaned(25.0), "mean_error")[0].outcome == "as published"
    assert paper(cleaned(5.0), "mean_error")[0].outcome == "worse"
    good = paper(cleaned(35.0, etas=(0.05, 0.15)), "error_small_eta")[0]
    assert (good.outcome, good.our_figure, good.published_figure) == ("as published", "100\u00a0%", ">\u00a050\u00a0%")


@pytest.mark.parametrize(("snr_db", "outcome"), [(9.0, "better"), (-9.0, "as published")])
def test_a_rival_that_does_better_than_the_paper_says_is_told(snr_db, outcome):
    arms = {"deep-blur": ARMS["deep-blur"], "L0 gradient": (snr_db, 1.0, 1.0)}
    study = result(table(arms=arms, etas=(0.15,), images=12, noises={"clean": 0.0}))
    verdict = paper(study, "rivals_psf_snr_clean")[0]
    assert (verdict.arm, verdict.outcome) == ("L0 gradient", outcome)


@pytest.mark.parametrize(
    ("study", "key", "because"),
    [
        ({"etas": (0.1,)}, "psf_snr_clean", "no draw has η = 0.15"),
        ({"noises": {"low": 0.02}}, "psf_snr_clean", "no draw is free of noise"),
        ({}, "psf_snr_noisy", "no draw has the paper's highest noise in any reading of it"),
        ({"noises": {"strong": 0.37}}, "psf_snr_noisy", "no draw has the paper's highest noise in any reading of it"),
        ({}, "error_at_noise", "no draw has a noise of standard deviation 0.09 or so"),
        ({}, "rivals_ssim_clean", "the study has no such method"),
        ({"images": 1}, "psf_snr_clean", "one image gives no interval"),
        ({}, "seconds", "machine and image size are not the paper's"),
    ],
)
def test_a_claim_without_its_condition_is_not_comparable(study, key, because):
    verdict = paper(cleaned(14.0, **study), key)[0]
    assert verdict.outcome == "not comparable"
    assert because in verdict.words


def test_a_study_may_say_why_its_figures_cannot_be_held_against_the_paper():
    verdict = paper(cleaned(25.0), "psf_snr_clean", because="K = 3, not 7")[0]
    assert verdict.words == "not comparable because K = 3, not 7"
    assert np.isfinite(verdict.ours)


def test_shot_noise_is_not_taken_for_no_noise():
    study = cleaned(25.0)
    study = dataclasses.replace(study, items=study.items.assign(gain=0.05))
    assert "free of noise" in paper(study, "psf_snr_clean")[0].because


def at_highest(*readings):
    """A study with white noise of 0.8 beside the paper's highest in these readings."""
    levels = {HIGHEST_NOISE[reading].name: HIGHEST_NOISE[reading] for reading in readings}
    study = cleaned(12.0, noises={name: level.std for name, level in levels.items()} | {"white": 0.8})
    gain = study.items["noise"].map({name: level.gain for name, level in levels.items()}).fillna(0.0)
    return dataclasses.replace(study, items=study.items.assign(gain=gain))


def test_the_highest_noise_is_compared_in_each_reading_that_a_study_has_and_says_which():
    first, second, _ = HIGHEST_NOISE
    study = at_highest(first, second)
    found = paper(study, "psf_snr_noisy")
    assert [verdict.claim.reading for verdict in found] == [first, second]
    for verdict in found:
        level = HIGHEST_NOISE[verdict.claim.reading]
        assert verdict.claim.said.endswith(f"at the highest noise, read as {verdict.claim.reading}")
        assert verdict.ours == study.items.loc[study.items["noise"] == level.name, "psf_snr_db"].mean()
    assert [verdict.claim.reading for verdict in paper(at_highest(second), "psf_snr_noisy")] == [second]
    (sentence,) = paper_sentences(paper(at_highest(second), "psf_snr_noisy"))
    assert f"read as {second} (section 3.1.2" in sentence


def test_where_a_study_says_why_it_cannot_be_compared_its_strongest_noise_is_shown():
    (verdict,) = paper(cleaned(25.0, noises={"clean": 0.0, "low": 0.02}), "psf_snr_noisy", because="K = 3")
    assert verdict.words == "not comparable because K = 3"
    assert verdict.claim.said == verdict.claim.text
    assert verdict.draws == 12


def test_readings_of_the_highest_noise_follow_from_the_papers_alpha_and_beta():
    alpha, beta = 0.12, 0.24
    gain_and_variance = [(level.gain, level.read_std**2) for level in HIGHEST_NOISE.values()]
    assert gain_and_variance == [
        (pytest.approx(beta), pytest.approx(alpha**2)),
        (pytest.approx(beta**2), pytest.approx(alpha**2)),
        (pytest.approx(alpha), pytest.approx(beta)),
    ]
    assert [round(level.std, 2) for level in HIGHEST_NOISE.values()] == [0.37, 0.21, 0.55]


def test_an_unknown_claim_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match=r"no claim has the keys \['fig_12'\]; there are \['psf_snr_clean'"):
        paper_claims("fig_12")


def test_seconds_and_memory_of_a_training_stand_below_its_curve(monkeypatch):
    monkeypatch.setattr(comparison_report, "FIGURES", {})
    curve = usual().curves["DN"]
    curve = curve.assign(train_s=np.linspace(1, 42, len(curve)), peak_mb=4321.0)
    timed = dataclasses.replace(usual(), curves={"DN": curve})
    html = page(timed, sections(timed))
    assert "<td>DN</td>" in html
    assert [number in html for number in (">42<", ">4,321<")] == [True, True]
    assert "Seconds of each training" not in page(usual(), sections(usual()))
