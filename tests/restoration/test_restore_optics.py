"""Restoring whole fields of a calibrated microscope: the engine on known blurs, the command on a study's networks."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from skimage import data
from torch import nn

from deepblur.cli import main
from deepblur.nets import Deblurrer, Identifier
from deepblur.platform.evaluation.metrics import psf_snr_db
from deepblur.platform.optics.family import FieldBlur, OpticsFile, VirtualScope, local_coefficients
from deepblur.platform.optics.networks import TrainedOptics, load_trained, networks_folder, save_trained
from deepblur.platform.optics.optics_file import save_optics
from deepblur.platform.optics.simulate import Slide
from deepblur.platform.system.errors import InputError, ModelError
from deepblur.restoration.engines.microscope import OpticsEngine
from deepblur.restoration.frame import restore_frame
from deepblur.restoration.options import Options
from deepblur.studies.space_varying import STUDY

SCOPE = VirtualScope(slide=Slide(field_px=(256, 256), beads=25, planes=3, spacing_px=38), stacks=3, unseen_stacks=0,
                     space_maps=3)  # fmt: skip
PATCH = 64


@pytest.fixture
def file(tmp_path):
    save_optics(replace(SCOPE.optics(), field_px=(256, 256), pixel_um=0.065), tmp_path / "scope.safetensors")
    return tmp_path / "scope.safetensors"


class Knowing(nn.Module):
    """IN that knows: it looks up by the patch's mean, which the test sets, what the coefficients are there."""

    def __init__(self, known):
        super().__init__()
        self.known = known
        self.first = 0

    def forward(self, y):
        self.first += len(y)
        return self.known[self.first - len(y) : self.first]


def engine_for(file, gamma, size):
    """An engine whose IN says the truth for γ, and whose DN is the proximal point method."""
    source = OpticsFile.of(file)
    starts = range(0, size - PATCH + 1, PATCH // 2)
    places = torch.tensor([[(2 * r + PATCH) / size - 1, (2 * c + PATCH) / size - 1] for r in starts for c in starts])
    known = local_coefficients(source.optics(), gamma.expand(len(places), -1), places.double())
    deblurrer = Deblurrer(6, prox=nn.Identity, data_step="cg", cg_iterations=30, lam=0.01, start="blurry").eval()
    return OpticsEngine(TrainedOptics(source, Knowing(known), deblurrer, PATCH, {"noise_std": 0.02}), "scope", "cpu")


@pytest.fixture
def field(file):
    """(engine, γ, sharp, blurry): a photograph under the microscope, its whole field."""
    optics = OpticsFile.of(file).optics()
    gamma = optics.normalised(optics.gammas[1:2])
    sharp = torch.from_numpy(data.camera()[100:356, 100:356] / 255.0).float()
    blurry = optics.operator((256, 256)).forward(sharp[None, None], gamma)[0, 0]
    return engine_for(file, gamma, 256), gamma, sharp, blurry


def test_the_field_is_identified_and_restored(field):
    engine, gamma, sharp, blurry = field
    frame = restore_frame(engine, blurry[None].numpy(), Options())
    (blur,) = frame.blurs
    assert torch.allclose(blur.found.gamma, gamma[0], atol=1e-4)
    inside = slice(20, -20), slice(20, -20)
    before, after = ((x[inside] - sharp[inside]).square().mean() for x in (blurry, torch.from_numpy(frame.channels[0])))
    assert after < before / 2
    assert len(blur.places) == 25
    truth = engine.optics.local_psfs(gamma, torch.tensor([[0.8, -0.4]]))
    there = next(p for p in blur.places if (p.row, p.column) == (230, 76))
    assert float(psf_snr_db(there.found.psf[None, None], truth)) > 40


def test_a_tile_is_restored_as_part_of_the_field(field):
    engine, _, _, blurry = field
    remove = engine.prepare(blurry, engine.identify(blurry))
    whole = remove(blurry, (128, 128))
    rows, columns = slice(96, 256), slice(0, 160)
    part = remove(blurry[rows, columns], (176, 80))
    assert torch.allclose(part[60:120, 40:100], whole[156:216, 40:100], atol=3e-3)


def test_what_lies_outside_of_the_calibration_gets_a_word(field):
    engine, _, _, blurry = field
    found = engine.identify(blurry)
    assert engine.limits(found) == ()
    assert "lie outside" in engine.limits(replace(found, gamma=3 * found.gamma))[0]
    assert "known to" in engine.limits(replace(found, gamma_std=found.gamma.abs()))[0]
    engine.trained.identifier.first = 0
    noise = 0.1 * torch.randn(blurry.shape, generator=torch.Generator().manual_seed(0))
    assert any("the noise" in flag for flag in engine.limits(engine.identify(blurry + noise)))


def test_images_of_another_field_are_refused(field):
    engine = field[0]
    with pytest.raises(InputError, match="100x256 pixels, the calibrated field 256x256"):
        engine.check((100, 256), None)
    with pytest.raises(InputError, match=r"0\.13 µm, the optics were calibrated at 0\.065 µm"):
        engine.check((256, 256), 0.13)


def saved(file, **changes):
    config = {"num_parameters": 4, "arch": "compact", "widths": (4, 6), "output_offset": (0.1, 0.0, 0.0, 0.0)}
    dn = {"unroll": 1, "widths": (2, 4), "blocks": 1, "data_step": "cg", "cg_iterations": 2}
    return save_trained(
        OpticsFile.of(file),
        **{
            "identifier_config": config,
            "identifier": Identifier(**config),
            "deblurrer_config": dn,
            "deblurrer": Deblurrer(**dn),
            "patch_px": PATCH,
            "card": {"noise_std": 0.02},
            **changes,
        },
    )


def test_networks_survive_their_folder(file):
    folder = saved(file)
    assert folder == networks_folder(file)
    found = load_trained(file)
    assert found.patch_px == PATCH
    assert found.identifier.output_offset.tolist() == pytest.approx([0.1, 0, 0, 0])
    assert isinstance(found.source, OpticsFile)
    assert FieldBlur(found.source).num_parameters == 12


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: (f / "networks.json").unlink(), "deepblur study space_varying"),
        (lambda f: (f / "networks.json").write_text("{"), "is not JSON"),
        (lambda f: (f / "networks.json").write_text("[1]"), "holds no description"),
        (lambda f: (f / "identifier.safetensors").write_bytes(b"\0" * 99), "damaged"),
        (lambda f: (f / "deblurrer.safetensors").unlink(), "is missing"),
        (lambda f: edit(f, "optics", "0" * 32), "other optics"),
        (lambda f: edit(f, "version", 9), "version 9"),
        (lambda f: edit(f, "patch_px", float("inf")), "patch_px must be a whole number"),
        (lambda f: edit(f, "patch_px", 0), "at least 4 pixels; got 0"),
        (lambda f: edit(f, "patch_px", 10**9), "patch_px is at most"),
        (lambda f: edit(f, "identifier", []), "identifier must be an object"),
        (lambda f: edit(f, "card", "good"), "card must be an object"),
        (lambda f: (f / "networks.json").write_text("[" * 100_000), "nested too deeply"),
    ],
)
def test_a_wrong_folder_is_refused_in_a_sentence(file, change, words):
    change(saved(file))
    with pytest.raises(ModelError, match=words):
        load_trained(file)


def edit(folder, key, value):
    file = folder / "networks.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))


def test_a_study_trains_for_a_file_and_the_command_restores_with_it(file, tmp_path, capsys):
    small = "--images 1 --draws 1 --noise clean:0:0 --set in_steps=2 --set dn_steps=2 --set validations=1"
    arms = [
        "--arms",
        "fitted patches,no variation",
        "--set",
        f"optics={file}",
        "--set",
        "in_widths=(4,8)",
        "--set",
        "crop_px=48",
    ]
    where = ["--local", "--tracking-uri", "none", "--runs", str(tmp_path / "runs")]
    with pytest.raises(SystemExit) as end:
        STUDY.main([*small.split(), *arms, *where])
    assert end.value.code == 0
    assert "deepblur restore --optics scope.safetensors" in capsys.readouterr().out
    image = tmp_path / "cells.tif"
    tifffile.imwrite(image, data.camera()[:256, :256], imagej=True, resolution=(1 / 0.065, 1 / 0.065),
                     metadata={"unit": "um"})  # fmt: skip
    out = tmp_path / "out"
    assert main(["restore", str(image), "-o", str(out), "--optics", str(file)]) == 0
    assert tifffile.imread(out / "cells_restored.tif").dtype == np.uint8
    assert tifffile.imread(out / "cells_psf.tif").shape == (25, 31, 31)
    assert (out / "cells_overview.png").is_file()
    assert main(["identify", str(image), "-o", str(out), "--optics", str(file)]) == 0
    capsys.readouterr()
    tifffile.imwrite(image, data.camera()[:200, :256])
    assert main(["restore", str(image), "-o", str(out), "--optics", str(file)]) == 4
    assert main(["restore", str(image), "-o", str(out), "--optics", str(file), "--model", "x"]) == 5
    assert main(["restore", str(image), "-o", str(out), "--optics", str(file), "--restorer", "tv"]) == 5
    assert main(["restore", str(image), "-o", str(out), "--optics", str(tmp_path / "absent.safetensors")]) == 5
    told = capsys.readouterr().err
    assert told.count("error: ") == 4
    assert "Traceback" not in told
