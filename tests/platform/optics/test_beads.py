"""Finding beads: centres to a fraction of a pixel, and a reason for every bead that is rejected."""

from dataclasses import replace

import numpy as np
import pytest

from deepblur.operators.microscope import Microscope, MicroscopeState
from deepblur.platform.optics.beads import Finding, background, find_beads, shifted
from deepblur.platform.optics.simulate import Slide, simulate_stack
from deepblur.platform.optics.stack import check_alike, stack_of
from deepblur.platform.system.errors import InputError
from deepblur.restoration.batch.calibrate import read_stack

IDEAL = Microscope(astigmatism_waves=0, coma_waves=0, curvature_um=0, vignetting=0, medium_index=1.515)
SLIDE = Slide(field_px=(256, 320), beads=16, planes=3)


@pytest.fixture(scope="module")
def simulated():
    return simulate_stack(IDEAL, SLIDE, MicroscopeState(), np.random.default_rng(3))


def spots(shape=(3, 128, 128), at=((64, 64),), height=1000.0, sigma=1.8):
    """Gaussian beads on a noisy background, in focus in the middle plane."""
    rows, columns = np.mgrid[: shape[1], : shape[2]]
    light = sum(np.exp(-((rows - r) ** 2 + (columns - c) ** 2) / (2 * sigma**2)) for r, c in at)
    stack = 100 + np.array([0.6, 1.0, 0.6])[:, None, None] * height * light
    return stack + np.random.default_rng(0).normal(0, 2, shape)


def test_centres_are_found_to_a_few_hundredths_of_a_pixel(simulated):
    beads = find_beads(simulated.stack)
    distance = np.linalg.norm(beads.centres[:, None] - simulated.centres, axis=-1).min(1)
    inside = (np.abs(2 * simulated.centres / np.array(SLIDE.field_px) - 1) < 0.8).all(1)
    assert len(beads) >= inside.sum() > 5
    assert distance.max() < 0.05
    assert (beads.sharpest == 1).all()


def test_patches_are_centred_and_without_background(simulated):
    beads = find_beads(simulated.stack)
    focus = beads.patches[1]
    peak = [np.unravel_index(patch.argmax(), patch.shape) for patch in focus]
    assert peak == [(15, 15)] * len(beads)
    rim = np.concatenate([focus[:, 0], focus[:, -1]]).mean()
    assert abs(rim) < 0.002 * focus.max()


@pytest.mark.parametrize(
    ("reason", "stack", "ceiling"),
    [
        ("truncated", spots(at=((64, 64), (64, 6))), None),
        ("saturated", np.minimum(spots(at=((64, 64), (30, 30))) + spots(at=((30, 30),), height=3000.0), 2500), 2500),
        ("dim", spots(at=((64, 64),)) + spots(at=((30, 30),), height=30.0), None),
        ("overlapping", spots(at=((64, 32), (50, 90), (50, 104))), None),
    ],
)
def test_each_bad_bead_has_its_reason(reason, stack, ceiling):
    beads = find_beads(stack_of(stack, ceiling=ceiling))
    assert {name for name, found in beads.rejected.items() if len(found)} == {reason}
    assert len(beads) == 1


def test_two_beads_in_one_are_unlike_the_others():
    singles = ((40, 40), (40, 100), (100, 40), (100, 160), (160, 40))
    stack = spots((3, 200, 200), singles) + spots((3, 200, 200), ((158, 152), (161, 156)), 900.0, 3.0)
    beads = find_beads(stack_of(stack), Finding(likeness=0.9))
    assert len(beads) == len(singles)
    assert len(beads.rejected["unlike"]) == 1


def test_nothing_is_found_where_there_is_nothing():
    noise = np.random.default_rng(0).normal(100, 2, (3, 128, 128))
    beads = find_beads(stack_of(noise))
    assert len(beads) == 0
    assert sum(map(len, beads.rejected.values())) == len(beads.rejected["dim"])
    assert len(find_beads(stack_of(np.full((3, 64, 64), 7.0)))) == 0


def test_a_shift_by_a_fraction_of_a_pixel_is_exact_below_nyquist():
    rows = np.arange(32.0)
    wave = np.cos(2 * np.pi * 5 * rows / 32)[:, None] * np.cos(2 * np.pi * 3 * rows / 32)
    moved = shifted(wave, np.array([0.3, -0.7]))
    expected = np.cos(2 * np.pi * 5 * (rows - 0.3) / 32)[:, None] * np.cos(2 * np.pi * 3 * (rows + 0.7) / 32)
    assert np.allclose(moved, expected, atol=1e-12)


def test_the_background_may_slope():
    slope = np.linspace(100, 200, 512)[None, :, None] + np.zeros((2, 512, 512))
    assert np.abs(background(slope, 31) - slope)[:, 100:-100, 100:-100].max() < 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((3, 0, 4)), "is empty"),
        (np.zeros((3, 64, 64), bool), "integers or floats"),
        (np.zeros((64, 64)), "planes, rows, columns"),
        (np.zeros((128, 64, 21)), "wrong order"),
        (np.full((3, 64, 64), np.nan), "NaN"),
    ],
)
def test_a_bad_stack_is_refused_in_a_sentence(values, words):
    with pytest.raises(InputError, match=words):
        stack_of(values)


def test_stacks_of_other_microscopes_are_refused():
    stack = stack_of(np.zeros((3, 64, 64)), pixel_um=0.065)
    with pytest.raises(InputError, match=r"field \(64, 65\)"):
        check_alike([stack, stack_of(np.zeros((3, 64, 65)))])
    with pytest.raises(InputError, match="pixel size"):
        check_alike([stack, replace(stack, pixel_um=0.1)])
    with pytest.raises(InputError, match="at least one"):
        check_alike([])
    check_alike([stack, replace(stack, pixel_um=None)])


def test_a_plateau_is_a_clipped_camera():
    clipped = np.minimum(spots(), 500.0)
    assert stack_of(clipped).ceiling == 500.0
    assert stack_of(spots()).ceiling == np.inf
    assert stack_of(spots().astype(np.uint16)).ceiling == 65535


def test_a_file_says_its_units(tmp_path, simulated):
    import tifffile

    tifffile.imwrite(tmp_path / "beads.tif", simulated.counts, imagej=True, resolution=(1 / 0.065, 1 / 0.065),
                     metadata={"axes": "ZYX", "spacing": 0.2, "unit": "um"})  # fmt: skip
    stack = read_stack(tmp_path / "beads.tif")
    assert stack.pixel_um == pytest.approx(0.065, rel=1e-4)
    assert stack.z_um == pytest.approx(0.2)
    assert np.array_equal(stack.planes, simulated.counts)
