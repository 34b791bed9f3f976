"""One scale per recording: known percentiles, exact way back, bad rules and bad images in one sentence."""

import tracemalloc

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal

from deepblur.platform.system.errors import InputError
from deepblur.restoration.images.io import read_recording, recording_of
from deepblur.restoration.options import parse_rule
from deepblur.restoration.scale import Scale, Scaling, scale_of


def normal(dtype, *shape, middle=1000, spread=100):
    return np.random.default_rng(0).normal(middle, spread, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"])
def test_the_way_there_and_back_is_exact(dtype):
    pixels = normal(dtype, 40, 50, middle=100, spread=20)
    scale = scale_of(recording_of(pixels))
    unit = scale.to_unit(pixels)
    assert unit.dtype == np.float32
    if "f" in dtype:
        np.testing.assert_allclose(scale.to_stored(unit, dtype), pixels, rtol=2e-3 if dtype == "f2" else 1e-6)
    else:
        assert_array_equal(scale.to_stored(unit, dtype), pixels)
        assert scale.to_stored(unit, dtype).dtype == dtype


def test_every_value_of_sixteen_bits_survives():
    pixels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    scale = scale_of(recording_of(pixels))
    assert_array_equal(scale.to_stored(scale.to_unit(pixels), np.uint16), pixels)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", "u4", "i8", "u8"])
def test_what_is_out_of_the_types_range_is_clipped(dtype):
    scale = Scale(0.0, 100.0, 0.0)
    info = np.iinfo(dtype)
    low, middle, high = scale.to_stored(np.array([-1e30, 0.506, 1e30]), dtype)
    assert (low, middle) == (info.min, 51)
    assert high == info.max if info.bits < 64 else high > 0.999 * info.max


def test_percentiles():
    pixels = normal("f8", 100, 100)
    scale = scale_of(recording_of(pixels), "percentile:2,90")
    low, high = np.percentile(pixels, [2, 90])
    assert scale.black == low
    assert scale.white == max(high, low + (pixels.max() - low) / 1.5)
    assert scale_of(recording_of(pixels)) == scale_of(recording_of(pixels), "percentile:0.1,99.9")


@pytest.mark.parametrize("outlier", [-5000, 60000])
def test_no_value_goes_beyond_a_half_outside(outlier):
    pixels = normal("f8", 100, 100)
    pixels[3, 4] = outlier
    unit = scale_of(recording_of(pixels)).to_unit(pixels)
    assert -0.5 - 1e-6 <= unit.min() < unit.max() <= 1.5 + 1e-6
    assert unit.min() == pytest.approx(-0.5) or unit.max() == pytest.approx(1.5)


def test_one_scale_for_all_frames_and_channels():
    dim, bright = normal("u2", 2, 3, 40, 40), normal("u2", 2, 3, 40, 40, middle=30000)
    stack = np.concatenate([dim, bright])
    scale = scale_of(recording_of(stack, "TCYX"))
    assert scale.black == pytest.approx(np.percentile(stack, 0.1))
    assert scale.white > 29000


def test_declared_ranges():
    recording = recording_of(normal("u2", 40, 40))
    assert scale_of(recording, "bits:12") == Scale(0, 4095, 0)
    assert scale_of(recording, "range:-10,2e4") == Scale(-10, 2e4, 0)
    with pytest.raises(InputError, match=r"array: has the value 1\d\d\d, above 1023 of the declared 10 bits; declare"):
        scale_of(recording, "bits:10")


@pytest.mark.parametrize(
    ("dtype", "top", "saturated"),
    [("u1", 255, True), ("u2", 65535, True), ("u2", 4095, True), ("u2", 4094, False), ("i2", 32767, True),
     ("f4", 255, False), ("i4", 2**31 - 1, True)],
)  # fmt: skip
def test_saturation(dtype, top, saturated):
    pixels = normal(dtype, 20, 20, middle=100, spread=20)
    pixels[:2, :5] = top
    pixels = np.concatenate([pixels[None], normal(dtype, 1, 20, 20, middle=100, spread=20)])
    assert scale_of(recording_of(pixels, "ZYX")).saturated == (10 / 800 if saturated else 0)
    assert scale_of(recording_of(pixels[::-1], "ZYX")).saturated == (10 / 800 if saturated else 0)


def test_a_declared_depth_says_what_is_saturated():
    pixels = np.minimum(normal("f4", 20, 20), 1023)
    assert scale_of(recording_of(pixels), "bits:10").saturated == pytest.approx((pixels == 1023).mean())


def test_a_tall_stack_is_sampled_within_bounds_and_always_alike(tmp_path):
    frame = normal("u2", 256, 256)
    tifffile.imwrite(tmp_path / "a.tif", (frame for _ in range(200)), shape=(200, 256, 256), dtype="u2",
                     photometric="minisblack")  # fmt: skip
    recording = read_recording(tmp_path / "a.tif")
    tracemalloc.start()
    scale = scale_of(recording)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 80e6, "13 million values would take 105 MB"
    assert scale == scale_of(recording)
    assert scale.black == pytest.approx(np.percentile(frame, 0.1), rel=0.02)


def test_the_sample_is_not_a_few_columns():
    stripes = np.zeros((4096, 2048), np.uint8)
    stripes[:, ::2] = 200  # a stride of 2 would see one colour only
    stripes[0, 0] = 255
    scale = scale_of(recording_of(stripes))
    assert (scale.black, scale.white) == (0, 200)


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_constant_image_is_refused(value):
    with pytest.raises(InputError, match=rf"^array: every pixel has the value {value}, so there is nothing to restore"):
        scale_of(recording_of(np.full((3, 20, 20), value, np.uint8), "ZYX"))


def test_an_image_that_is_almost_constant_has_a_scale():
    pixels = np.full((20, 20), 100, np.uint8)
    pixels[0, 0] = 90
    scale = scale_of(recording_of(pixels))
    assert scale.white > scale.black
    assert scale.to_unit(pixels).min() >= -0.5 - 1e-6


def test_a_frame_that_is_not_finite_is_refused():
    pixels = normal("f4", 2, 20, 20)
    pixels[1, 0, 0] = np.nan
    with pytest.raises(InputError, match=r"array \(t=1\): 1 pixels are NaN or infinite"):
        scale_of(recording_of(pixels, "TYX"))


def test_a_restoration_that_is_not_finite_is_no_image():
    with pytest.raises(ValueError, match="NaN or infinite"):
        Scale(0, 1, 0).to_stored(np.array([np.nan]), "u1")


@pytest.mark.parametrize(
    "text",
    ["", "auto", "percentile", "percentile:1", "percentile:99,1", "percentile:-1,50", "percentile:0,101", "bits:0",
     "bits:12.5", "bits:65", "bits:a", "range:1,1", "range:0,inf", "range:nan,1", "percentile:1,2,3", "bits:1e400"],
)  # fmt: skip
def test_a_rule_that_makes_no_sense_is_refused_in_one_sentence(text):
    with pytest.raises(ValueError, match=r"^the intensity scale '.*' is none of percentile:LOW,HIGH .*write one of th"):
        parse_rule(text)


@pytest.mark.parametrize(("bits", "shift"), [(12, 4), (10, 6), (14, 2), (12, 3), (8, 8)])
def test_saturation_of_values_in_the_upper_bits_is_seen(bits, shift):
    right = np.minimum(normal("u2", 40, 40, middle=0.9 * 2**bits, spread=0.1 * 2**bits), 2**bits - 1).astype("u2")
    share = (right == 2**bits - 1).mean()
    assert share > 0.05
    assert scale_of(recording_of(right << shift)).saturated == scale_of(recording_of(right)).saturated == share
    assert scale_of(recording_of((right << shift) - (1 << shift))).saturated == 0
    (scale,) = Scaling.of(recording_of(right << shift)).of_frame((right << shift)[None], shared=True)
    assert scale.saturated == share


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_a_pile_of_values_at_any_largest_one_is_saturation_and_a_tail_is_not(dtype):
    pixels = normal(dtype, 100, 100)
    clipped = np.minimum(pixels, 1150)  # 4095 less a black level, or a clipped float

    def saturated(values):
        return Scaling.of(recording_of(values)).of_frame(values[None], shared=True)[0].saturated

    assert saturated(clipped) == (clipped == 1150).mean() > 0.05
    assert saturated(pixels) == 0
    assert saturated(np.minimum(pixels, 1400)) == 0  # four deviations: a few values, as in any tail


def test_every_frame_has_the_scale_that_it_would_have_alone():
    bright = normal("u2", 2, 50, 60, middle=20000, spread=5000)
    series = np.stack([bright, bright // 10])
    together = Scaling.of(recording_of(series, "TCYX"))
    for shared in (True, False):
        for frame in series:
            alone = Scaling.of(recording_of(frame, "CYX")).of_frame(frame, shared)
            assert together.of_frame(frame, shared) == alone
    one, other = together.of_frame(np.stack([bright[0], bright[0] // 10]), shared=False)
    assert one.white > 5 * other.white
    assert Scaling.of(recording_of(series, "TCYX"), "bits:16").of_frame(series[1], True)[0].white == 65535
