"""Each figure shows what its items hold, says its units, stays readable in grey, and is absent without data."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from made_up_methods import ARMS, picture, result, table
from matplotlib.figure import Figure

from deepblur.platform.arms.methods import charts, content_charts, strips
from deepblur.platform.arms.methods.report import FIGURES
from deepblur.platform.arms.methods.result import LOST
from deepblur.platform.report.style import looks, rendered

FEW = {arm: ARMS[arm] for arm in ("blurry", "deep-blur", "l0_gradient", "NAFNet", "IN only", "oracle")}
SMALL = {"arms": FEW, "etas": (0.1, 0.15), "images": 9, "noises": {"clean": 0.0, "high": 0.12}}
CHARTS = {name: draw for name, (draw, *_) in FIGURES.items()}


@pytest.fixture(scope="module")
def usual():
    return result(table(**SMALL, lost=("l0_gradient",)), pictures=(picture(FEW), picture(FEW, real=True)))


@pytest.fixture(scope="module")
def no_truth():
    items = table(FEW, noises={"as recorded": np.nan}, etas=(0.0,), real=True)
    return result(items, pictures=(picture(FEW, real=True),), trained_eta_waves=None)


def texts(figure):
    """All visible words of a figure."""
    return " ".join(text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_visible())


def test_every_figure_is_drawn_from_a_usual_study(usual):
    drawn = {name for name, draw in CHARTS.items() if isinstance(draw(usual), Figure)}
    assert drawn == set(CHARTS) - {"by_category", "generalisation"}
    assert isinstance(content_charts.by_category(usual, min_images=2), Figure)


def test_real_images_leave_only_what_needs_no_truth(no_truth):
    assert [name for name, draw in CHARTS.items() if draw(no_truth) is not None] == ["real_images"]


def test_without_pictures_there_is_no_strip(usual):
    bare = result(usual.items, pictures=())
    assert strips.examples(bare) is None
    assert strips.real_images(bare) is None


def test_without_any_psf_there_is_no_psf_to_draw():
    arms = {"deep-blur": (None, 3.0, 0.4), "NAFNet": (None, 2.5, 0.2)}
    study = result(table(**SMALL | {"arms": arms}))
    assert charts.psf_snr_distribution(study) is None
    assert charts.stability(study) is None
    assert len(charts.noise_dependence(study).axes) == 2


@pytest.mark.parametrize("images", [1, 2])
def test_few_images_still_make_figures(images):
    study = result(table(arms=FEW, etas=(0.1,), images=images, noises={"low": 0.02}), trained_eta_waves=0.1)
    for name in ("psf_snr_distribution", "noise_dependence", "quality_and_time"):
        CHARTS[name](study).draw_without_rendering()
    assert content_charts.by_texture(study) is None
    assert charts.stability(study) is None, "one noise level and one η show no dependence"


def test_a_dependence_needs_two_values():
    study = result(table(arms=FEW, etas=(0.1,), noises={"low": 0.02, "high": 0.1}), trained_eta_waves=0.1)
    (axes,) = charts.stability(study).axes
    assert "noise" in axes.get_xlabel()


def test_methods_that_share_a_psf_are_drawn_once():
    items = table(arms=FEW)
    shared = items[items.arm == "l0_gradient"].assign(arm="the same PSF + TV")
    study = result(pd.concat([items, shared], ignore_index=True))
    assert study.distinct("psf_snr_db") == [arm for arm in study.gives("psf_snr_db") if arm != "the same PSF + TV"]


def test_a_figure_becomes_three_files_with_the_same_bytes_each_time(usual):
    first = rendered(charts.noise_dependence(usual))
    assert first["svg"].lstrip().startswith(b"<?xml")
    assert first["pdf"].startswith(b"%PDF")
    assert first["png"].startswith(b"\x89PNG")
    assert rendered(charts.noise_dependence(usual)) == first


@pytest.mark.parametrize("name", ["psf_snr_distribution", "differences"])
def test_long_names_are_not_cut_at_the_edge(name):
    arms = {"deep-blur": (14.0, 3.0, 0.4), "the mean PSF of the whole family + Wiener": (4.0, 0.8, 0.02)}
    figure = CHARTS[name](result(table(arms=arms, etas=(0.1,), noises={"low": 0.02})))
    rendered(figure)
    labels = figure.axes[0].get_yticklabels()
    assert arms.keys() & {label.get_text() for label in labels}
    assert min(label.get_window_extent().x0 for label in labels) > 0


def test_no_setting_is_left_behind(usual):
    before = dict(mpl.rcParams)
    rendered(charts.quality_and_time(usual))
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("psf_snr_distribution", ["PSF SNR (dB)", "error of 5 % (13 dB)", "noise clean", "noise high"]),
        ("stability", ["(%)", "η (waves)", "images in [0, 1]", "trained", "η = 0.15 waves"]),
        ("noise_dependence", ["PSNR gain (dB)", "SSIM gain", "PSF SNR (dB)", "σ = 0.12"]),
        ("quality_and_time", ["seconds per image", "PSNR gain (dB)", "PSF SNR (dB)"]),
        ("by_texture", ["local standard deviation", "edge density", "PSF SNR (dB)"]),
    ],
)
def test_axes_say_their_units_and_legends_every_method(usual, name, units):
    words = texts(CHARTS[name](usual))
    assert [unit for unit in units if unit not in words] == []
    shown = usual.gives("psf_snr_db") if name in ("psf_snr_distribution", "stability") else usual.arms
    assert [arm for arm in shown if arm not in words] == []


def test_fifteen_methods_are_told_apart_without_colour():
    arms = [f"method {i}" for i in range(15)]
    found = looks(arms, "method 7")
    assert list(found) == arms
    grey = [(str(look["marker"]), look["markerfacecolor"] == "white") for look in found.values()]
    assert len(set(grey)) == len(arms)
    assert found["method 7"]["linestyle"] == "-"
    assert sum(look["linestyle"] == "-" for look in found.values()) == 1


def test_the_points_are_the_means(usual):
    figure = charts.noise_dependence(usual)
    row = usual.summary[(usual.summary["arm"] == "NAFNet") & (usual.summary["level"] == "noise high")].iloc[0]
    heights = np.concatenate([line.get_ydata() for line in figure.axes[0].get_lines() if len(line.get_ydata()) == 2])
    assert np.isclose(np.asarray(heights, dtype=float), row["psnr_gain_db"]).any()


def test_differences_are_those_of_the_paired_table(usual):
    figure = charts.differences(usual)
    rows = usual.paired[(usual.paired["measure"] == "psnr_db") & (usual.paired["level"] == "noise clean")]
    points = {float(line.get_xdata()[0]) for line in figure.axes[0].get_lines() if line.get_marker() == "o"}
    assert points == set(rows["difference"].astype(float))
    assert [arm for arm in usual.rivals if arm not in texts(figure)] == []
    alone = result(usual.items[usual.items["arm"] == "deep-blur"])
    assert charts.differences(alone) is None


def test_the_typical_error_is_that_of_the_mean_in_decibels(usual):
    figure = charts.stability(usual)
    line = next(line for line in figure.axes[0].get_lines() if line.get_label() == "deep-blur")
    scored = usual.scored[(usual.scored["arm"] == "deep-blur") & (usual.scored["eta_waves"] == 0.15)]
    means = scored.groupby("noise")["psf_snr_db"].mean()[["clean", "high"]]
    assert np.allclose(line.get_ydata(), 100 * 10 ** (-means / 10))


def test_a_psf_far_off_is_counted_at_the_edge(usual):
    items = usual.items.copy()
    far = (items["arm"] == "IN only") & (items["image"] == "image 0") & (items["noise"] == "clean")
    items.loc[far, "psf_snr_db"] = -40.0
    figure = charts.psf_snr_distribution(result(items))
    assert "◂2" in texts(figure)
    assert figure.axes[0].get_xlim()[0] == -12


def test_a_category_needs_enough_images_and_shows_how_many(usual):
    words = texts(content_charts.by_category(usual, min_images=3))
    assert "person (3)" in words
    assert "dog (4)" in words
    assert "bicycle" not in words
    assert content_charts.by_category(usual, min_images=10) is None


def test_a_strip_shows_every_method_and_says_where_one_gave_nothing(usual):
    lost = result(usual.items, pictures=(picture(FEW, lost=("l0_gradient",)),))
    words = texts(strips.examples(lost))
    assert [arm for arm in (*FEW, "sharp") if arm not in words] == []
    assert "diverged" in words
    assert "—" in words
    assert "—" not in texts(strips.examples(usual))


def test_a_real_strip_ends_with_the_residuals(no_truth):
    words = texts(strips.real_images(no_truth))
    assert "re-blur residuals" in words
    assert "sharp" not in words


def test_a_method_whose_draws_are_all_lost_is_left_out(usual):
    items = usual.items.copy()
    gone = items["arm"] == "l0_gradient"
    items.loc[gone, "status"] = LOST[0]
    words = texts(charts.quality_and_time(result(items)))
    assert "l0_gradient" not in words
