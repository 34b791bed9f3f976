"""Simulated studies: arms that differ in nothing are told apart in 5 % of them at most, and a planted effect is found.

Everything goes through the functions that the reports use. Scores have effects of the image, of the trained network (an
arm and a seed), of both together and of the draw, so that neither draws nor seeds nor images are independent.
"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from deepblur.platform.statistics import compare_to_reference, paired_differences

REPEATS = 200


def allowed(repeats):
    """False findings that a rate of 5 % does not exceed, 99 times of 100."""
    return stats.binom.ppf(0.99, repeats, 0.05)


def study(numbers, arms, *, images, seeds, network=0.0, response=0.0, taste=0.0):
    """One table of items in decibels; arms: name → advantage.

    Standard deviations: 3 between images and 1 between draws for all arms alike; `network` of a trained network on all
    images, `response` of a trained network on one image, `taste` of an arm on one image, and 0.3 of every score.
    """
    image, seed, draw = (grid.ravel() for grid in np.indices((images, seeds, 2)))
    difficulty = numbers.normal(0, 3, images)[image] + numbers.normal(0, 1, (images, 2))[image, draw]
    tables = []
    for arm, advantage in arms.items():
        psnr = difficulty + advantage + numbers.normal(0, 0.3, image.size) + network * numbers.normal(size=seeds)[seed]
        psnr += (
            response * numbers.normal(size=(images, seeds))[image, seed] + taste * numbers.normal(size=images)[image]
        )
        tables.append(pd.DataFrame({"arm": arm, "image": image, "seed": seed, "draw": draw, "psnr": psnr}))
    return pd.concat(tables, ignore_index=True)


def findings(repeats, advantage=0.0, **settings):
    """How often the test, and how often the interval, finds a difference between two arms."""
    numbers, tests, intervals = np.random.default_rng(0), 0, 0
    for _ in range(repeats):
        table = study(numbers, {"a": advantage, "b": 0.0}, **settings)
        found = paired_differences(
            table, contrast=("a", "b"), metric="psnr", by=[], pair=["image", "draw"], rng=numbers
        ).overall
        tests += found["p"] < 0.05
        intervals += not found["low"] <= 0 <= found["high"]
    return tests, intervals


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
    numbers, studies_with_a_finding = np.random.default_rng(1), 0
    for _ in range(100):
        table = study(numbers, dict.fromkeys("rabc", 0.0), images=8, seeds=1, response=0.3)
        found = compare_to_reference(table, "r", "psnr", draw=["image", "draw"])
        studies_with_a_finding += (found["p_holm"] < 0.05).any()
    assert 0 < studies_with_a_finding <= allowed(100)


def test_among_many_arms_the_better_one_is_found_and_named():
    numbers = np.random.default_rng(2)
    table = study(numbers, {"r": 0.0, "same": 0.0, "better": 0.8}, images=12, seeds=3, network=0.05, response=0.2)
    found = compare_to_reference(table, "r", "psnr", draw=["image", "draw"]).set_index("arm")
    assert found.loc["better", "p_holm"] < 0.05 < found.loc["same", "p_holm"]
    assert found.loc["better", "low"] < 0.8 < found.loc["better", "high"]
