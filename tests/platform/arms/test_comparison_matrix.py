"""The matrix of what was trained and what was tested: its rows, its frames, and when there is none."""

import matplotlib as mpl
import pytest
from made_up_methods import result, table
from matplotlib.patches import Rectangle

from deepblur.platform.arms.methods.matrix import generalisation

ARMS = {"deep-blur": (14.0, 3.0, 0.4), "small eta": (11.0, 2.0, 0.4), "blurry": (None, 0.0, 0.1)}
NOISES = {"clean": 0.0, "low": 0.02, "high": 0.12}
ITEMS = table(ARMS, noises=NOISES, etas=(0.05, 0.10, 0.15))


def matrix(**trained):
    return generalisation(result(ITEMS, trained={name.replace("_", " "): size for name, size in trained.items()}))


def frames(axes):
    """(row, column) of the framed cells."""
    boxes = [patch.get_xy() for patch in axes.patches if isinstance(patch, Rectangle)]
    return sorted((round(y + 0.46), round(x + 0.47)) for x, y in boxes)


def test_networks_trained_at_several_eta_make_a_row_each_and_a_column_for_every_test():
    figure = matrix(small_eta=(0.05, 0.02), **{"deep-blur": (0.15, 0.02)})
    for axes, unit in zip(figure.axes, ("PSF SNR", "PSNR gain"), strict=True):
        assert unit in axes.get_title()
        assert [label.get_text() for label in axes.get_yticklabels()] == ["small eta", "deep-blur"]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["0.05", "0.1", "0.15"]
        assert frames(axes) == [(0, 0), (1, 2)]
        bold = [text for text in axes.texts if text.get_weight() == "bold"]
        assert [text.get_position()[1] > 0.5 for text in bold] == [True] * 3  # deep-blur is made up to be better


def test_networks_trained_on_several_ranges_of_noise_are_framed_up_to_their_bound():
    figure = matrix(**{"deep-blur": (0.10, 0.12), "small eta": (0.10, 0.02)})
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == list(NOISES)
    assert frames(figure.axes[0]) == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]


def test_an_arm_without_a_psf_leaves_its_cells_empty():
    figure = matrix(blurry=(0.05, 0.1), **{"deep-blur": (0.10, 0.1), "small eta": (0.15, 0.1)})
    assert len(figure.axes[0].texts) == 2 * 2 * 3
    assert len(figure.findobj(mpl.text.Text)) > 2 * 5 * 3


@pytest.mark.parametrize("trained", [{}, {"deep-blur": (0.1, 0.1)}, {"deep-blur": (0.1, 0.1), "small_eta": (0.1, 0.1)}])
def test_without_different_trainings_there_is_no_matrix(trained):
    assert matrix(**trained) is None
