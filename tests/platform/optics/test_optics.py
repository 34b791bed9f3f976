"""From bead stacks to optics: the whole chain against a virtual microscope, and every part against a known answer."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from places import REAL
from safetensors import safe_open
from safetensors.torch import save_file

from deepblur.cli import main
from deepblur.operators.microscope import Microscope, MicroscopeState
from deepblur.platform.evaluation.metrics import registered_psf_snr_db
from deepblur.platform.optics.calibrate import calibrate
from deepblur.platform.optics.field_maps import field_maps, nodes, pixel_places, sample_maps
from deepblur.platform.optics.measure import Settings, measure, without_bead
from deepblur.platform.optics.optics_file import load_optics, save_optics
from deepblur.platform.optics.simulate import Slide, random_state, simulate_stack, true_psfs
from deepblur.platform.optics.stack import stack_of
from deepblur.platform.system.errors import InputError, ModelError

SCOPE = Microscope()
SLIDE = Slide(field_px=(320, 384), beads=30, planes=3, spacing_px=40)
BEADS = REAL / "beads"


@pytest.fixture(scope="module")
def simulated():
    rng = np.random.default_rng(0)
    return [simulate_stack(SCOPE, SLIDE, random_state(rng), rng, name=f"slide {i}.tif") for i in range(4)]


@pytest.fixture(scope="module")
def made(simulated):
    settings = Settings(bead_um=SLIDE.bead_um, eigen_psfs=16, space_maps=6)
    found = [measure(s.stack, settings) for s in simulated]
    return calibrate(found, settings, field_px=SLIDE.field_px, pixel_um=SCOPE.pixel_um)


def test_the_calibration_predicts_the_psfs_of_places_without_beads(simulated, made):
    truth, places = true_psfs(SCOPE, [s for one in simulated for s in one.states], 4)
    found = made.optics.local_psfs(made.optics.gammas, places)
    truth = truth.flatten(0, 1)[:, None]
    snr = registered_psf_snr_db(found.flatten(0, 1)[:, None].double(), truth / truth.sum((-2, -1), keepdim=True))
    assert snr.mean() > 18


def test_beads_that_were_left_out_are_predicted(made):
    held = made.optics.notes["held_out"]
    assert held["snr_db"] > 17
    assert held["snr_of_noise_alone_db"] > held["snr_db"]


def test_families_are_orthonormal_and_distances_are_those_of_psfs(made):
    optics = made.optics
    at = torch.cartesian_prod(torch.from_numpy(nodes()), torch.from_numpy(nodes()))
    one, other = optics.local_psfs(optics.gammas[:2], at)
    distance = (one - other).square().sum((-2, -1)).mean()
    assert float(distance) == pytest.approx(float((optics.gammas[0] - optics.gammas[1]).square().sum()), rel=1e-3)


def test_the_operator_has_the_local_psfs(made):
    optics = made.optics
    size = (64, 80)
    operator = optics.operator(size)
    gamma = optics.gammas[:1]
    at = (40, 11)
    places = torch.stack([pixel_places(64)[at[0]], pixel_places(80)[at[1]]])[None]
    assert torch.allclose(operator.impulse_response(gamma, at)[0, 0], optics.local_psfs(gamma, places)[0, 0], atol=1e-6)


def test_a_tile_of_the_field_is_blurred_as_the_field(made, rng):
    optics = made.optics
    x = torch.rand(1, 1, 96, 100, generator=rng)
    gamma = optics.gammas[1:2]
    whole = optics.operator((96, 100), boundary="valid").forward(x, gamma)
    tile = optics.operator((96, 100), boundary="valid", corner=(10, 20), tile=(60, 70))
    part = tile.forward(x[..., 10:70, 20:90], gamma)
    assert torch.allclose(part, whole[..., 10:40, 20:60], atol=1e-6)


def test_more_dimensions_explain_more(simulated):
    snr = []
    for psfs, maps in ((2, 1), (4, 3), (12, 6)):
        settings = Settings(bead_um=SLIDE.bead_um, eigen_psfs=psfs, space_maps=maps)
        found = [measure(s.stack, settings) for s in simulated]
        optics = calibrate(found, settings, field_px=SLIDE.field_px, pixel_um=None).optics
        assert optics.shape == (psfs, maps)
        snr.append(optics.notes["held_out"]["snr_db"])
    assert snr[0] + 1 < snr[1] < snr[2] - 1


def test_a_blur_that_is_the_same_everywhere_needs_one_map():
    flat = Microscope(astigmatism_waves=0, coma_waves=0, curvature_um=0, vignetting=0)
    rng = np.random.default_rng(1)
    stack = simulate_stack(flat, SLIDE, MicroscopeState(), rng).stack
    settings = Settings(bead_um=SLIDE.bead_um)
    optics = calibrate([measure(stack, settings)], settings, field_px=SLIDE.field_px, pixel_um=None).optics
    assert optics.shape[1] == 1
    assert float(optics.space_maps.std()) < 0.02


def test_beads_of_equal_brightness_show_vignetting():
    scope = Microscope(astigmatism_waves=0, coma_waves=0, curvature_um=0, vignetting=0.5)
    stack = simulate_stack(
        scope, replace(SLIDE, brightness_spread=0.0), MicroscopeState(), np.random.default_rng(1)
    ).stack
    settings = Settings(bead_um=SLIDE.bead_um, brightness="stack", field_model="quadratic")
    optics = calibrate([measure(stack, settings)], settings, field_px=SLIDE.field_px, pixel_um=None).optics
    first = optics.space_maps[0]
    assert 0.5 < float(first[0, 0] / first[16, 16]) < 0.75


def test_samples_stay_near_the_states(made, rng):
    drawn = made.optics.sample(500, rng)
    nearest = torch.cdist(drawn, made.optics.gammas).amin(1).mean()
    assert drawn.shape == (500, made.optics.gammas.shape[1])
    assert nearest < torch.cdist(made.optics.gammas, made.optics.gammas).mean()
    assert torch.allclose(drawn.mean(0), made.optics.mean, atol=0.1)


def test_optics_survive_their_file(made, tmp_path):
    save_optics(made.optics, tmp_path / "scope.safetensors")
    again = load_optics(tmp_path / "scope.safetensors")
    for name in ("eigen_psfs", "space_maps", "gammas"):
        assert torch.equal(getattr(again, name), getattr(made.optics, name))
    assert (again.field_px, again.states, again.notes) == (SLIDE.field_px, made.optics.states, made.optics.notes)
    assert [p.name for p in tmp_path.iterdir()] == ["scope.safetensors"]


def test_a_wrong_file_is_refused_in_a_sentence(made, tmp_path):
    good = tmp_path / "scope.safetensors"
    save_optics(made.optics, good)
    content = good.read_bytes()
    for name, bytes_, words in (
        ("cut", content[: len(content) // 2], "damaged"),
        ("text", b"not optics", "damaged"),
        ("version", content.replace(b'\\"version\\": 1', b'\\"version\\": 9'), "version 9"),
    ):
        (tmp_path / name).write_bytes(bytes_)
        with pytest.raises(ModelError, match=words):
            load_optics(tmp_path / name)
    with pytest.raises(ModelError, match="deepblur calibrate"):
        load_optics(tmp_path / "absent")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"field_px": [float("inf"), 96]}, "field_px must be a list, each a whole number"),
        ({"field_px": [96]}, "damaged"),
        ({"field_px": [0, 96]}, "a field has pixels"),
        ({"pixel_um": "0.1"}, "pixel_um must be a finite number or null; got '0.1'"),
        ({"pixel_um": 0}, "sides above 0 µm"),
        ({"states": "a"}, "states must be a list, each a text"),
        ({"notes": None}, "notes must be an object"),
        ({"x": [[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]}, "nested too deeply"),
    ],
)
def test_wrong_facts_about_a_field_are_refused(made, tmp_path, change, words):
    good = tmp_path / "scope.safetensors"
    save_optics(made.optics, good)
    with safe_open(good, "pt") as file:
        about = json.loads(file.metadata()["deepblur-optics"]) | change
        save_file({k: file.get_tensor(k) for k in file.keys()}, tmp_path / "odd.safetensors",  # noqa: SIM118
                  metadata={"deepblur-optics": json.dumps(about)})  # fmt: skip
    with pytest.raises(ModelError, match=words):
        load_optics(tmp_path / "odd.safetensors")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"eigen_psfs": torch.ones(15)}, "eigen_psfs is a stack of squares"),
        ({"eigen_psfs": torch.ones(1, 4, 4) / 4}, "odd sides"),
        ({"space_maps": torch.ones(1, 3, 4)}, "space_maps is a stack of squares"),
        ({"gammas": torch.ones(3, 3)}, "is a table of that shape"),
        ({"explained_maps": torch.full((1,), torch.nan)}, "NaN"),
    ],
)
def test_families_of_other_shapes_are_refused(made, change, words):
    with pytest.raises(ValueError, match=words):
        replace(made.optics, **change)


def test_images_of_another_field_or_pixel_are_refused_with_numbers(made):
    made.optics.check_image(SLIDE.field_px, 0.065)
    with pytest.raises(InputError, match=r"100x100 pixels, the calibrated field 320x384"):
        made.optics.check_image((100, 100), None)
    with pytest.raises(InputError, match=r"0\.1 µm, the optics were calibrated at 0\.065"):
        made.optics.check_image(SLIDE.field_px, 0.1)


def test_maps_are_what_their_models_say():
    rng = np.random.default_rng(0)
    places = rng.uniform(-1, 1, (40, 2))
    grid = np.stack(np.meshgrid(nodes(), nodes(), indexing="ij"), -1)

    def quadratic(at):
        return 1 + at[..., 0] - 2 * at[..., 0] * at[..., 1] + 0.5 * at[..., 1] ** 2

    values = quadratic(places)[:, None]
    assert np.allclose(field_maps(places, values, "quadratic")[0], quadratic(grid), atol=1e-10)
    assert np.allclose(field_maps(places, values, "spline")[0][3:-3, 3:-3], quadratic(grid)[3:-3, 3:-3], atol=0.1)
    assert np.allclose(field_maps(places[:5], values[:5], "spline"), values[:5].mean())
    noisy = values + rng.normal(0, 0.3, values.shape)
    error = field_maps(places, noisy, "spline")[0] - quadratic(grid)
    assert np.sqrt(np.mean(error[3:-3, 3:-3] ** 2)) < 0.3
    with pytest.raises(ValueError, match="spline, plane"):
        field_maps(places, values, "cloud")


def test_maps_are_read_between_their_nodes():
    v, u = np.meshgrid(nodes(), nodes(), indexing="ij")
    maps = torch.from_numpy(np.stack([v**3 - u, u * v**2]))
    rows, columns = pixel_places(50), pixel_places(70)
    sampled = sample_maps(maps, rows, columns)
    r, c = torch.meshgrid(rows, columns, indexing="ij")
    assert torch.allclose(sampled, torch.stack([r**3 - c, c * r**2]), atol=1e-9)


def test_the_diameter_of_a_bead_is_undone():
    from scipy.special import spherical_jn

    psf = SCOPE.psf(torch.zeros(1, 2), MicroscopeState(focus_um=0.1))[0, 0].numpy()
    frequency = np.pi * 3.0 * np.hypot(np.fft.fftfreq(31)[:, None], np.fft.fftfreq(31)[None]).clip(1e-9)
    seen = np.fft.ifft2(np.fft.fft2(psf) * 3 * spherical_jn(1, frequency) / frequency).real
    restored, grown = without_bead(seen[None], 3.0, "stack")
    assert np.linalg.norm(restored[0] - psf) < 0.02 * np.linalg.norm(psf) < np.linalg.norm(seen - psf)
    assert grown > 1
    with pytest.raises(InputError, match=r"of 20\.0 pixels hide"):
        without_bead(seen[None], 20.0, "stack")


def test_calibrations_that_cannot_be_made_say_why(simulated):
    stack = simulated[0].stack
    with pytest.raises(InputError, match="single plane"):
        measure(replace(stack, planes=stack.planes[:1]), Settings())
    with pytest.raises(InputError, match="no bead was found"):
        measure(stack_of(np.full((3, 64, 64), 5.0)), Settings())
    with pytest.raises(InputError, match=r"all|none of \d+ beads can be used .*saturated.*expose shorter"):
        measure(replace(stack, ceiling=150.0), Settings())
    with pytest.raises(InputError, match="--z-um"):
        measure(replace(stack, z_um=None), Settings(z_range_um=0.2))
    with pytest.raises(InputError, match="--pixel-um"):
        measure(replace(stack, pixel_um=None), Settings(bead_um=0.1))
    few = measure(stack, Settings()).subset(np.arange(4))
    with pytest.raises(InputError, match="4 beads cannot tell 3 spatial maps"):
        calibrate([few], Settings(space_maps=3), field_px=stack.field_px, pixel_um=None)
    with pytest.raises(InputError, match="12 patches cannot tell 40 eigen-PSFs"):
        calibrate([few], Settings(eigen_psfs=40), field_px=stack.field_px, pixel_um=None)
    assert "J = 1" in calibrate([few], Settings(), field_px=stack.field_px, pixel_um=None).notes[0]
    for wrong in ({"explained": 1.5}, {"eigen_psfs": 0}):
        with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
            Settings(**wrong)


def test_the_command_writes_the_optics_and_what_explains_them(simulated, tmp_path, capsys):
    for one in simulated[:2]:
        tifffile.imwrite(tmp_path / one.stack.name, one.counts, imagej=True, resolution=(1 / 0.065, 1 / 0.065),
                         metadata={"axes": "ZYX", "spacing": 0.2, "unit": "um"})  # fmt: skip
    out = tmp_path / "out" / "scope.safetensors"
    assert main(["calibrate", str(tmp_path), "-o", str(out), "--eigen-psfs", "4", "--space-maps", "2"]) == 0
    assert "K = 8" in capsys.readouterr().out
    report = json.loads((out.parent / "scope_report.json").read_text())
    assert all((out.parent / name).is_file() for name in report["files"].values())
    assert report["beads"]["slide 0.tif"]["kept"] > 5
    assert load_optics(out).shape == (4, 2)
    assert main(["calibrate", str(tmp_path), "-o", str(out.with_suffix(".pt"))]) == 6
    assert main(["calibrate", str(tmp_path / "absent.tif"), "-o", str(out)]) == 4
    assert main(["calibrate", str(tmp_path), "-o", str(out), "--psf-size", "30"]) == 2
    told = capsys.readouterr().err
    assert told.count("error: ") == 3
    assert "Traceback" not in told


@pytest.mark.skipif(not BEADS.is_dir(), reason="the real bead stacks are not here")
@pytest.mark.parametrize(
    ("name", "beads"),
    [("mpicbg_beads_stack.tif", 4), ("pycudadecon_psf_stack.tif", 1), ("deconvolutionlab2_bead_25pct.tif", 1)],
)
def test_real_stacks_are_too_poor_for_a_blur_that_varies(name, beads, tmp_path, capsys):
    out = tmp_path / "scope.safetensors"
    assert main(["calibrate", str(BEADS / name), "-o", str(out), "--no-pictures", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["beads"][name]["kept"] == beads
    assert report["space_maps"] == 1
    assert "too few" in report["notes"][-1]
    assert "planes are left out" in report["notes"][0]
