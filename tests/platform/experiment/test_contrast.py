"""The contrast: every study answers it, with one sign, an interval, a p value and a word, whatever its kind."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_up_methods import result as made_up
from test_report import study
from test_search_report import search

from deepblur.platform.arms.methods.collect import overall as methods_overall
from deepblur.platform.arms.methods.text import comparison_text, contrast_sentences
from deepblur.platform.arms.search.text import search_metrics, search_text
from deepblur.platform.arms.trained.collect import overall as trained_overall
from deepblur.platform.arms.trained.result import paired_table
from deepblur.platform.arms.trained.text import text_summary
from deepblur.platform.arms.tuning.report import tuning_text
from deepblur.platform.arms.tuning.result import Tuned, TuningResult, as_json, tuning_metrics
from deepblur.platform.arms.uncertainty.report import uncertainty_text
from deepblur.platform.arms.uncertainty.result import UncertaintyResult, uncertainty_metrics
from deepblur.platform.evaluation.levels import NoiseLevel
from deepblur.platform.report.answer import Answer, answer

KNOWN = {"label": "PSNR", "difference": 1.0, "low": 0.5, "high": 1.5, "p": 0.01, "basis": "8 draws"}


def flat(text):
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "yes"),
        ({"higher_is_better": False}, "no"),
        ({"difference": -1.0, "low": -1.5, "high": -0.5}, "no"),
        ({"p": 0.2}, "not shown"),
        ({"low": -0.5}, "not shown"),
        ({"low": np.nan, "high": np.nan, "p": np.nan}, "not shown"),
    ],
)
def test_the_word_needs_interval_and_test(changes, word):
    found = Answer(contrast=("a", "b"), **{**KNOWN, **changes})
    assert found.word == word
    assert found.sentence.endswith(f": {word}.")


def test_the_difference_is_the_first_minus_the_second():
    rows = [{"arm": arm, "seed": 0, "image": i, "draw": 0, "score": value + 0.01 * i}
            for arm, value in (("b", 1.0), ("a", 3.0)) for i in range(8)]  # fmt: skip
    found = answer(pd.DataFrame(rows), ("a", "b"), "score", draw=["draw"], cluster="image", label="score")
    assert found.difference == pytest.approx(2.0)
    assert found.word == "yes"
    back = answer(pd.DataFrame(rows), ("b", "a"), "score", draw=["draw"], cluster="image", label="score")
    assert (back.difference, back.word) == (pytest.approx(-2.0), "no")
    assert answer(pd.DataFrame(rows), ("a", "c"), "score", draw=["draw"], cluster="image", label="score") is None


@pytest.mark.parametrize(("lead_db", "word"), [(1.0, "Yes"), (-1.0, "No"), (0.0, "Not shown")])
def test_networks(lead_db, word):
    text = flat(text_summary(study(lead_db=lead_db, images=12)))
    assert "PSNR, estimated − true:" in text
    assert f"Does estimated do better than true? {word}." in text


def test_methods_with_and_without_a_winner():
    result = made_up()
    first, second = result.arms[:2]
    both = {}
    for contrast in ((first, second), (second, first)):
        asked = replace(result, contrast=contrast)
        text = flat(comparison_text(asked))
        assert f"Does {contrast[0]} do better than {contrast[1]}?" in text
        assert f"{contrast[0]} − {contrast[1]}: " in text
        both[contrast] = methods_overall(asked)["contrast/psnr_db/difference"]
    assert sum(both.values()) == pytest.approx(0)
    mean = result.scored.groupby("arm")["psnr_db"].mean()
    if set(result.summary["draws"]) == {result.summary["draws"].iloc[0]}:
        assert np.sign(both[first, second]) == np.sign(mean[first] - mean[second])
    gone = replace(result, contrast=(first, "nobody"))
    assert contrast_sentences(gone) == [f"The contrast {first} − nobody was not compared: nobody not evaluated."]


def test_answers_of_uncertainty():
    rng = np.random.default_rng(0)
    rows = [
        {"arm": arm, "seed": 0, "place": "inside", "noise": "n", "eta_waves": 0.1, "image": f"i{i}", "draw": d,
         "noll": 4, "error": error, "std": std, "flagged": False}
        for i in range(8) for d in range(2) for error in [rng.normal(0, 0.02)]
        for arm, std in (("wide", 0.5), ("right", 0.02))
    ]  # fmt: skip
    result = UncertaintyResult(name="d", title="d", abstract={}, preset="p", command="c", items=pd.DataFrame(rows),
                         reference="wide", facts={}, contrast=("wide", "right"))  # fmt: skip
    text = flat(uncertainty_text(result))
    assert "Does wide do better than right? No." in text
    assert "Surprise within the trained range (lower is better), wide − right: +" in text
    assert uncertainty_metrics(result)["contrast/nll/difference"] > 1


def test_tuned_methods():
    level = NoiseLevel("low", 0.0, 0.01)

    def tuned(method, gain):
        trial = {"settings": {}, "psnr_gain_db": gain, "psf_snr_db": 0.0, "failed": 0, "seconds_per_image": 1.0,
                 "gains_db": [[i, gain + 0.1 * i] for i in range(8)]}  # fmt: skip
        return Tuned(method, level, trial, trial, [trial])

    result = TuningResult(name="t", title="t", preset="p", command="c", facts={}, contrast=("a", "b"),
                          searches=(tuned("a", 2.0), tuned("b", 1.0)))  # fmt: skip
    text = flat(tuning_text(result))
    assert "Does a do better than b? Yes. Tuned PSNR gain on the validation images, a − b: +1.00 dB" in text
    assert tuning_metrics(result)["contrast/gain_db/difference"] == pytest.approx(1.0)
    assert "gains_db" not in as_json(result)


def test_samplers():
    result = replace(search(), contrast=("tpe", "random"))
    text = flat(search_text(result))
    assert "Does tpe do better than random? " in text
    assert "trials, tpe − random: " in text
    assert "contrast/best/difference" in search_metrics(result)


def test_the_paired_table_and_the_answer_of_networks_agree():
    result = study(lead_db=0.5, images=12)
    row = paired_table(result).iloc[0]
    assert trained_overall(result)["contrast/psnr_db/difference"] == row["difference"]
