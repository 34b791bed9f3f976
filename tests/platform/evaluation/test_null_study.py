"""Simulated studies: arms that differ in nothing are told apart in 5 % of them at most, and a planted effect is found.

Everything goes through the functions that the reports use. Scores have effects of the image, of the trained network (an
arm and a seed), of both together and of the draw, so that neither draws nor seeds nor images are independent.
"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from deepblur.platform.evaluation.paired import compare_to_reference, paired_differences

REPEATS = 300


def allowed(repeats):
    """False findings that a rate of 5 % does not exceed, 99 times of 100."""
    return stats.binom.ppf(0.99, repeats, 0.05)


def studies(numbers, arms, *, repeats, images, seeds, network=0.0, response=0.0, taste=0.0):
    """One table with the items of many independent studies, in decibels; arms: name → advantage.

    Standard deviations: 3 between images and 1 between draws for all arms alike; `network` of a trained network on all
    images, `response` of a trained network on one image, `taste` of an arm on one image, and 0.3 of every score.
    """
    shape = (repeats, images, seeds, 2)
    study, image, seed, draw = (grid.ravel() for grid in np.indices(shape))
    shared = numbers.normal(0, 3, (repeats, images, 1, 1)) + numbers.normal(0, 1, (repeats, images, 1, 2))
    tables = []
    for arm, advantage in arms.items():
        psnr = shared + advantage + numbers.normal(0, 0.3, shape)
        psnr = psnr + network * numbers.normal(size=(repeats, 1, seeds, 1))
        psnr = psnr + response * numbers.normal(size=(repeats, images, seeds, 1))
        psnr = psnr + taste * numbers.normal(size=(repeats, images, 1, 1))
        keys = {"arm": arm, "study": study, "image": image, "seed": seed, "draw": draw}
        tables.append(pd.DataFrame(keys | {"psnr": psnr.ravel()}))
    return pd.concat(tables, ignore_index=True)


def findings(repeats, advantage=0.0, **settings):
    """How often the test, and how often the interval, finds a difference between two arms."""
    numbers = np.random.default_rng(0)
    table = studies(numbers, {"a": advantage, "b": 0.0}, repeats=repeats, **settings)
    cells = paired_differences(
        table, contrast=("a", "b"), metric="psnr", by=["study"], pair=["image", "draw"], rng=numbers
    ).cells
    assert len(cells) == repeats
    return (cells["p"] < 0.05).sum(), ((cells["low"] > 0) | (cells["high"] < 0)).sum()


@pytest.mark.parametrize(
    "settings",
    [
        {"images": 12, "seeds": 1, "response": 0.5},
        {"images": 8, "seeds": 2, "network": 0.3, "response": 0.3},
        {"images": 16, "seeds": 2, "network": 0.5, "taste": 0.5},
        {"images": 12, "seeds": 3, "network": 1.0, "response": 0.3},
    ],
    ids=["one seed", "identical arms", "tastes", "unlike networks"],
)
def test_identical_arms_are_told_apart_as_rarely_as_promised(settings):
    tests, intervals = findings(REPEATS, **settings)
    assert 0 < tests <= allowed(REPEATS)
    assert 0 < intervals <= allowed(REPEATS)


def test_networks_that_agree_are_told_apart_more_rarely_still():
    tests, intervals = findings(REPEATS, images=8, seeds=2, response=0.3)
    assert max(tests, intervals) < 0.05 * REPEATS


@pytest.mark.parametrize(
    "settings",
    [
        {"images": 12, "seeds": 1, "response": 0.3},
        {"images": 12, "seeds": 3, "network": 0.05, "response": 0.2, "taste": 0.2},
    ],
    ids=["one seed", "three seeds"],
)
def test_a_planted_effect_is_found(settings):
    tests, intervals = findings(40, advantage=0.8, **settings)
    assert min(tests, intervals) >= 36


def test_two_seeds_find_an_effect_that_stands_out_from_their_disagreement():
    assert min(findings(40, advantage=2.0, images=12, seeds=2, network=0.05, response=0.2)) >= 36


def test_among_many_arms_holm_keeps_the_rate_of_any_false_finding():
    arms = dict.fromkeys(("reference", "a", "b", "c"), 0.0)
    table = studies(np.random.default_rng(1), arms, repeats=150, images=8, seeds=1, response=0.3)
    found = compare_to_reference(table, "reference", "psnr", ["study"], draw=["image", "draw"])
    any_false = (found["p_holm"] < 0.05).groupby(found["study"]).any()
    assert len(any_false) == 150
    assert 0 < any_false.sum() <= allowed(150)


def test_among_many_arms_the_better_one_is_found():
    arms = {"reference": 0.0, "same": 0.0, "better": 0.8}
    settings = {"images": 12, "seeds": 3, "network": 0.05, "response": 0.2}
    table = studies(np.random.default_rng(2), arms, repeats=40, **settings)
    found = compare_to_reference(table, "reference", "psnr", ["study"], draw=["image", "draw"])
    better, same = (found[found["arm"] == arm] for arm in ("better", "same"))
    assert (better["p_holm"] < 0.05).sum() >= 36
    assert (same["p_holm"] < 0.05).sum() <= allowed(40)
    assert ((better["low"] < 0.8) & (better["high"] > 0.8)).sum() >= 36
