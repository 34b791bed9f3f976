"""Paired statistics: coverage and error rates on simulated studies, hand-worked corrections, refusals."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from deepblur.platform.evaluation.paired import (
    compare_to_reference,
    crossed_p,
    holm,
    mean_interval,
    paired_differences,
    sign_flip_p,
)


@pytest.fixture
def numbers():
    return np.random.default_rng(0)


def study(numbers, *, images=8, seeds=2, draws=2, effect=0.0):
    """A table of two arms, "a" better than "b" by `effect`, on two noise levels."""
    rows = []
    for noise in ("clean", "noisy"):
        for image in range(images):
            difficulty = numbers.normal(0, 3)
            for seed in range(seeds):
                for draw in range(draws):
                    score = 25 + difficulty + numbers.normal()
                    key = {"noise": noise, "image": image, "seed": seed, "draw": draw}
                    rows.append(key | {"arm": "b", "psnr": score})
                    rows.append(key | {"arm": "a", "psnr": score + effect + numbers.normal(0, 0.3)})
    return pd.DataFrame(rows).sample(frac=1, random_state=1)


def compare(table, numbers, **options):
    settings = {"contrast": ("a", "b"), "metric": "psnr", "by": ["noise"], "pair": ["image", "draw"], "rng": numbers}
    return paired_differences(table, **(settings | options))


@pytest.mark.parametrize(("clusters", "seeds", "at_least"), [(4, 1, 0.90), (30, 1, 0.92), (20, 2, 0.88), (20, 4, 0.92)])
def test_intervals_cover_the_mean_about_as_often_as_they_say(numbers, clusters, seeds, at_least):
    image, seed, _ = (grid.ravel() for grid in np.indices((clusters, seeds, 3)))
    covered, studies = 0, 400
    for _ in range(studies):
        values = numbers.normal(0, 1, clusters)[image] + numbers.normal(0, 0.3, image.size)
        if seeds > 1:
            values += numbers.normal(0, 0.3, seeds)[seed]
        interval = mean_interval(values, image, numbers, seeds=seed, resamples=400)
        covered += interval.low <= 0 <= interval.high
    assert at_least <= covered / studies <= 0.995


def test_an_interval_that_ignores_clusters_would_be_too_short(numbers):
    image = np.repeat(np.arange(20), 50)
    values = numbers.normal(0, 1, 20)[image] + numbers.normal(0, 0.1, image.size)
    honest = mean_interval(values, image, numbers)
    naive = mean_interval(values, np.arange(image.size), numbers)
    assert honest.high - honest.low > 4 * (naive.high - naive.low)
    assert (honest.n_values, honest.n_clusters, honest.n_seeds) == (1000, 20, 1)
    assert honest.mean == pytest.approx(values.mean())


def test_with_many_clusters_the_interval_is_the_classical_one(numbers):
    values = numbers.normal(2, 1, 400)
    interval = mean_interval(values, np.arange(400), numbers, resamples=20_000)
    low, high = stats.t.interval(0.95, 399, values.mean(), stats.sem(values))
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.01)


def test_one_cluster_has_a_mean_and_no_interval(numbers):
    interval = mean_interval([1.0, 3.0], ["x", "x"], numbers)
    assert interval.mean == 2
    assert np.isnan([interval.low, interval.high]).all()
    assert sign_flip_p([1.0, 3.0], ["x", "x"], numbers) == 1


@pytest.mark.parametrize("clusters", [2, 3])
def test_few_clusters_have_a_finite_interval_and_a_p_value_bounded_below(numbers, clusters):
    values = np.arange(1.0, clusters + 1)
    interval = mean_interval(values, np.arange(clusters), numbers)
    assert np.isfinite([interval.low, interval.high]).all()
    assert interval.low < values.mean() < interval.high
    assert sign_flip_p(values, np.arange(clusters), numbers) == 2.0 ** (1 - clusters)


def test_the_exact_test_agrees_with_scipy(numbers):
    values = numbers.normal(0.4, 1, 9)
    reference = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(values, np.arange(9), numbers) == pytest.approx(reference.pvalue)


def test_the_random_test_agrees_with_the_t_test_and_is_never_zero(numbers):
    values = numbers.normal(0.3, 1, 60)
    assert sign_flip_p(values, np.arange(60), numbers) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.01)
    assert sign_flip_p(values + 9, np.arange(60), numbers) == 1e-4


@pytest.mark.parametrize("clusters", [8, 20])
def test_without_an_effect_the_test_rejects_as_often_as_it_says(numbers, clusters):
    p = [sign_flip_p(numbers.normal(size=clusters), np.arange(clusters), numbers) for _ in range(200)]
    assert 0.015 <= np.mean(np.array(p) <= 0.05) <= 0.10


def test_the_crossed_test_has_the_quantile_of_cochran_and_cox(numbers):
    values = numbers.normal(0.8, 1, (10, 3)) + numbers.normal(0, 0.4, 3)
    image, seed = (grid.ravel() for grid in np.indices(values.shape))
    p = crossed_p(values.ravel(), image, seed)
    by_image, by_seed = (values.mean(axis).var(ddof=1) / values.shape[1 - axis] for axis in (1, 0))
    quantiles = by_image * stats.t.isf(p / 2, 9) + by_seed * stats.t.isf(p / 2, 2)
    assert 0.001 < p < 0.5
    assert quantiles / np.sqrt(by_image + by_seed) == pytest.approx(abs(values.mean()), rel=1e-6)


def test_the_crossed_test_of_one_seed_is_students_over_images(numbers):
    values = numbers.normal(0.3, 1, 25)
    p = crossed_p(values, np.arange(25), np.zeros(25))
    assert p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert crossed_p([2.0, 2.0, 2.0, 2.0], [0, 0, 1, 1], [0, 1, 0, 1]) == 1e-12
    assert crossed_p([0.0, 0.0], [0, 1], [0, 0]) == crossed_p([1.0, 2.0], [0, 0], [0, 1]) == 1


def test_seeds_that_disagree_are_not_outvoted_by_images(numbers):
    seed = np.repeat([0, 1], 50)
    values = np.where(seed == 0, 0.1, 0.9) + numbers.normal(0, 0.01, 100)
    image = np.tile(np.arange(50), 2)
    assert sign_flip_p(values, image, numbers) == 1e-4
    assert crossed_p(values, image, seed) > 0.2
    interval = mean_interval(values, image, numbers, seeds=seed)
    assert interval.low < -4 < 5 < interval.high


def test_an_image_may_lack_a_seed(numbers):
    table = study(numbers, images=12, effect=0.5)
    result = compare(table[(table["seed"] == 0) | (table["image"] > 1)], numbers)
    assert result.overall["low"] < 0.5 < result.overall["high"]
    assert (result.overall["n_values"], result.overall["n_clusters"]) == (2 * (12 + 10) * 2, 12)


def test_holm_by_hand():
    # sorted 0.01 0.02 0.03 0.04 times 4 3 2 1 = 0.04 0.06 0.06 0.04, made monotone: 0.04 0.06 0.06 0.06
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.6]) == pytest.approx([1.0, 1.0])
    assert holm([]).size == 0


def test_a_real_difference_is_found_in_every_cell(numbers):
    result = compare(study(numbers, effect=0.5), numbers)
    assert list(result.cells["noise"]) == ["clean", "noisy"]
    assert (result.cells["low"] > 0).all()
    assert (result.cells["p"] < 0.01).all()
    assert list(result.cells["p_holm"]) == list(holm(result.cells["p"]))
    assert result.overall["low"] < 0.5 < result.overall["high"]
    assert result.overall["mean"] == pytest.approx(result.overall["mean_a"] - result.overall["mean_b"])
    assert result.overall["n_values"] == 2 * 8 * 2 * 2
    assert (result.overall["n_clusters"], result.overall["n_seeds"]) == (8, 2)
    assert result.overall["seed_std"] < 0.3


def test_the_seed_spread_is_the_deviation_of_the_mean_difference_of_each_seed(numbers):
    table = study(numbers, seeds=3)
    table.loc[table["arm"] == "a", "psnr"] += table["seed"]
    result = compare(table, numbers)
    wide = table.pivot(index=["noise", "image", "draw", "seed"], columns="arm", values="psnr")
    by_seed = (wide["a"] - wide["b"]).groupby("seed").mean()
    assert result.overall["seed_std"] == pytest.approx(by_seed.std())
    assert result.overall["n_seeds"] == 3


def test_identical_arms_differ_by_nothing(numbers):
    table = study(numbers)
    table["psnr"] = table["image"] * 1.0
    result = compare(table, numbers)
    for column, value in {"mean": 0, "low": 0, "high": 0, "p": 1, "p_holm": 1, "seed_std": 0}.items():
        assert (result.cells[column] == value).all(), column


def test_the_same_generator_gives_the_same_figures(numbers):
    table = study(numbers, images=16)
    first, second = (compare(table, np.random.default_rng(5)) for _ in range(2))
    pd.testing.assert_frame_equal(first.cells, second.cells)
    assert first.overall == second.overall


def test_cells_and_seeds_are_optional(numbers):
    table = study(numbers, seeds=1).drop(columns="seed")
    result = compare(table, numbers, by=[], pair=["noise", "image", "draw"], seed=None)
    assert result.cells.empty
    assert np.isnan(result.overall["seed_std"])
    assert result.overall["n_seeds"] == 1


def test_a_draw_missing_in_one_arm_is_named(numbers):
    table = study(numbers)
    gone = (table["arm"] == "b") & (table["noise"] == "noisy") & (table["image"] == 3) & (table["seed"] == 1)
    with pytest.raises(ValueError, match=r"2 draws of arm 'a' have no partner in arm 'b', first noise=noisy, image=3"):
        compare(table[~gone], numbers)


@pytest.mark.parametrize(
    ("change", "options", "text"),
    [
        (lambda t: t, {"metric": "ssim"}, r"lacks the columns \['ssim'\]"),
        (lambda t: t, {"contrast": ("a", "c")}, r"no arm 'c'; it has \['a', 'b'\]"),
        (lambda t: t, {"pair": ["image"]}, r"arm 'a' has the draw noise=.* more than once"),
        (lambda t: t.assign(psnr=float("nan")), {}, r"32 of 32 values are NaN or infinite"),
    ],
)
def test_bad_tables_are_refused_in_one_sentence(numbers, change, options, text):
    with pytest.raises(ValueError, match=text):
        compare(change(study(numbers)), numbers, **options)


def test_a_mean_of_nothing_is_refused(numbers):
    with pytest.raises(ValueError, match=r"needs at least one value; got none"):
        mean_interval([], [], numbers)
    with pytest.raises(ValueError, match=r"its cluster and seed; got 2, 1, 1"):
        mean_interval([1.0, 2.0], ["x"], numbers)


def methods(numbers):
    """Items of three arms: "net" with two seeds, "plain" 2 dB worse with one, "blind" without any score."""
    items = study(numbers, images=10).rename(columns={"psnr": "score"})
    net = items[items["arm"] == "a"].assign(arm="net")
    plain = net[net["seed"] == 0].assign(arm="plain", seed=np.nan)
    plain["score"] += numbers.normal(-2, 0.1, len(plain))
    return pd.concat([net, plain, plain.assign(arm="blind", score=np.nan)], ignore_index=True)


def against_net(items, by=(), **options):
    return compare_to_reference(items, "net", "score", by, draw=["noise", "image", "draw"], **options)


def test_a_method_without_seeds_is_compared_with_every_seed_of_the_reference(numbers):
    items = methods(numbers)
    plain = against_net(items).set_index("arm").loc["plain"]
    assert (plain["n_values"], plain["n_dropped"], plain["n_clusters"], plain["n_seeds"]) == (80, 0, 10, 2)
    means = items.groupby("arm")["score"].mean()
    assert plain["mean_b"] == pytest.approx(means["net"])
    assert plain["mean"] == pytest.approx(means["plain"] - means["net"])
    back = compare_to_reference(items, "plain", "score", draw=["noise", "image", "draw"]).set_index("arm").loc["net"]
    assert back["mean"] == pytest.approx(-plain["mean"])
    assert back["p"] == plain["p"]


def test_draws_where_a_method_failed_are_dropped_in_pairs_and_counted(numbers):
    items = methods(numbers)
    failed = (items["arm"] == "plain") & (items["noise"] == "noisy") & (items["image"] == 3)
    items.loc[failed, "score"] = np.nan
    items = items[~((items["arm"] == "plain") & (items["noise"] == "noisy") & (items["image"] == 4))]
    table = against_net(items, ["noise"]).set_index(["arm", "noise"])
    assert table.loc[("plain", "noisy"), ["n_values", "n_dropped", "n_clusters"]].tolist() == [32, 8, 8]
    assert table.loc[("plain", "clean"), ["n_values", "n_dropped", "n_clusters"]].tolist() == [40, 0, 10]
    kept = items[(items["noise"] == "noisy") & ~items["image"].isin([3, 4])].groupby("arm")["score"].mean()
    assert table.loc[("plain", "noisy"), "mean"] == pytest.approx(kept["plain"] - kept["net"])


def test_a_method_without_scores_is_counted_and_not_tested(numbers):
    table = against_net(methods(numbers), ["noise"])
    blind, plain = (table[table["arm"] == arm] for arm in ("blind", "plain"))
    assert (blind["n_values"] == 0).all()
    assert (blind["n_dropped"] == 40).all()
    assert blind[["mean", "low", "high", "p", "p_holm", "seed_std"]].isna().all(axis=None)
    assert list(plain["p_holm"]) == list(plain["p"])


def test_holm_corrects_over_the_arms_of_each_cell(numbers):
    items = methods(numbers)
    more = [items[items["arm"] == "plain"].assign(arm=f"plain {i}") for i in range(3)]
    for i, copy in enumerate(more):
        copy["score"] += numbers.normal(1.9 + 0.05 * i, 0.3, len(copy))
    table = against_net(pd.concat([items, *more], ignore_index=True), ["noise"]).dropna()
    for _, cell in table.groupby("noise"):
        assert list(cell["p_holm"]) == list(holm(cell["p"]))


def test_a_row_does_not_depend_on_the_other_arms(numbers):
    items = methods(numbers)
    alone = against_net(items[items["arm"] != "blind"])
    among = against_net(items)
    pd.testing.assert_frame_equal(alone, among[among["arm"] == "plain"])
    assert against_net(items[items["arm"] == "net"]).empty


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t: t.drop(columns="draw"), r"lacks the columns \['draw'\]"),
        (lambda t: t[t["arm"] != "net"], r"no arm 'net'; it has \['blind', 'plain'\]"),
        (lambda t: pd.concat([t, t.tail(1)]), r"arm 'blind' has the draw noise=.* more than once"),
    ],
)
def test_bad_items_are_refused_in_one_sentence(numbers, change, text):
    with pytest.raises(ValueError, match=text):
        against_net(change(methods(numbers)))
