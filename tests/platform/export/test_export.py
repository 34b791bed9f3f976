"""An exported model answers as the model does, in the runtimes that others use, or nothing is written."""

import json
import logging
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d
from torch.testing import assert_close

from deepblur import cli
from deepblur.nets import Deblurrer, Identifier
from deepblur.operators import ZernikeBlur
from deepblur.platform.export import exchange
from deepblur.platform.export.export import SUMMARY, TOLERANCE, ExportError, export_model
from deepblur.platform.export.real_network import RealDeblurrer, RealIdentifier, RealModel
from deepblur.platform.models.model import BlindModel, save_model
from deepblur.platform.system.errors import OutputError

SIZE = (24, 31)
OPERATOR = ZernikeBlur(noll=(4, 5, 6), psf_size=9)
IDENTIFIER = {"num_parameters": 3, "arch": "compact", "widths": (4, 6), "log_spectrum": True, "output_scale": 0.1}
DEBLURRER = {"unroll": 2, "widths": (4, 6), "blocks": 1, "lam": 0.1}


def model_of(operator=OPERATOR, identifier=None, deblurrer=None):
    identifier = Identifier(**(IDENTIFIER | (identifier or {}) | {"num_parameters": operator.num_parameters})).eval()
    return BlindModel(operator, identifier, Deblurrer(**(DEBLURRER | (deblurrer or {}))).eval(), {})


def images_of(size, rng, count=2):
    grain = torch.rand(count, 1, size[0] + 4, size[1] + 4, generator=rng)
    return avg_pool2d(grain, 5, 1) + 0.02 * torch.randn(count, 1, *size, generator=rng)


@pytest.mark.parametrize(
    ("size", "operator", "identifier", "deblurrer"),
    [
        ((24, 31), OPERATOR, {}, {}),
        ((33, 50), OPERATOR, {"window_px": 32, "norm": "batch"}, {"shared": True, "unroll": 3}),
        (
            (70, 45),
            OPERATOR,
            {"log_spectrum": False, "normalize": False},
            {"noise_map": True, "lam": 4.0, "lam_by_noise": True, "start": "blurry"},
        ),
        ((41, 40), ZernikeBlur(noll=(4, 11), psf_size=15, z_px=3.0, wavenumber=0.5), {}, {"start": "zero"}),
        ((40, 36), ZernikeBlur(noll=(4, 5, 6), psf_size=9, boundary="circular"), {}, {"residual": True}),
        ((32, 48), ZernikeBlur(boundary="replicate"), {"norm": "batch"}, {"widths": (4,), "lam": 0.01}),
    ],
)
def test_real_arithmetic_gives_what_complex_arithmetic_gives(size, operator, identifier, deblurrer, rng):
    model = model_of(operator, identifier, deblurrer)
    images = images_of(size, rng)
    gamma = 0.3 * torch.rand(2, operator.num_parameters, generator=rng) - 0.15
    real = RealModel(RealIdentifier(model.identifier, size), RealDeblurrer(model.deblurrer, operator, size)).eval()
    with torch.inference_mode():
        found = model.restore(images)
        for there, expected in zip(real(images), (found.image, found.gamma, found.psf), strict=True):
            assert_close(there, expected, rtol=0, atol=1e-5)
        assert_close(real.deblurrer(images, gamma), model.restore(images, gamma).image, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def model():
    return model_of()


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    for package in (*exchange.PACKAGES["onnx"], "bioimageio.core"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("export") / "files"
    logging.disable(logging.WARNING)  # torch's debug messages, which pytest would collect, double the time
    try:
        export_model(model, "a model", folder, networks=("blind",), size=SIZE)
    finally:
        logging.disable(logging.NOTSET)
    return folder


def test_the_summary_describes_every_file(exported):
    summary = json.loads((exported / SUMMARY).read_text())
    assert (summary["model"], tuple(summary["size"])) == ("a model", SIZE)
    files = {entry["file"]: entry for entry in summary["files"]}
    assert files.keys() | {SUMMARY} == {file.name for file in exported.iterdir()}
    assert files.keys() == {"blind.onnx", "blind.pt2", "deepblur.bioimageio.zip"}
    assert files["blind.onnx"]["inputs"] == {"image": ["batch", 1, 24, 31]}
    assert all(entry["difference"] < TOLERANCE for entry in files.values())


@pytest.mark.parametrize("count", [1, 2])
def test_an_exported_file_answers_other_images_and_batches_as_the_model(model, exported, rng, count):
    """That each file answers three images is what the export itself checked."""
    images = images_of(SIZE, rng, count)
    blind = model.restore(images)
    found = exchange.run_onnx(exported / "blind.onnx", {"image": images})
    for there, expected in zip(found, (blind.image, blind.gamma, blind.psf), strict=True):
        assert_close(there, expected, rtol=0, atol=TOLERANCE)


def test_the_package_holds_what_it_promises(exported):
    """That bioimageio.core validates it and reproduces its test answers is what the export itself checked."""
    with zipfile.ZipFile(exported / "deepblur.bioimageio.zip") as package:
        assert {"README.md", "cover.png", "blind.onnx", "blurry.npy", "psf.npy"} <= set(package.namelist())
        description = package.read("rdf.yaml").decode()
    for said in ("format_version: 0.5", "Debarnot", "BSD-3-Clause", "oblique_astigmatism", "blind-deconvolution"):
        assert said in description


def stub(monkeypatch, error=0.0):
    """Exports in no time: a file's answer is the model's, plus an error."""
    answers = {}

    def program_of(network, example):
        with torch.no_grad():
            found = network(*example)
        answers["now"] = [value + error for value in (found if isinstance(found, tuple) else (found,))]

    monkeypatch.setattr(exchange, "program_of", program_of)
    monkeypatch.setattr(exchange, "write_program", lambda program, file: file.write_bytes(b""))
    monkeypatch.setattr(exchange, "run_program", lambda file, inputs: answers["now"])


@pytest.mark.parametrize("error", [2 * TOLERANCE, float("nan")])
def test_a_file_that_answers_otherwise_is_not_written(model, tmp_path, monkeypatch, error):
    stub(monkeypatch, error)
    with pytest.raises(ExportError, match=r"deblurrer.pt2 answers .* away from the model, more than 1e-04"):
        export_model(model, "m", tmp_path / "new", formats=("torch",), networks=("deblurrer",), size=SIZE)
    assert list(tmp_path.iterdir()) == []


def test_an_exporter_that_fails_and_a_full_disk_are_one_sentence(model, tmp_path, monkeypatch):
    stub(monkeypatch)
    for failure, kind, sentence in (
        (TypeError("no such\noperator"), ExportError, r"exporter failed \(TypeError: no such operator\); nothing was"),
        (
            OSError(28, "No space left on device"),
            OutputError,
            r"be written to .*new \(No space left on device\)",
        ),
    ):

        def write(program, file, failure=failure):
            raise failure

        monkeypatch.setattr(exchange, "write_program", write)
        with pytest.raises(kind, match=sentence):
            export_model(model, "m", tmp_path / "new", formats=("torch",), size=SIZE)
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_export_is_replaced_and_nothing_else_is(model, tmp_path, monkeypatch):
    stub(monkeypatch)
    folder = tmp_path / "deep" / "files"
    export_model(model, "first", folder, formats=("torch",), size=SIZE)
    assert {file.name for file in folder.iterdir()} == {"blind.pt2", "deblurrer.pt2", "identifier.pt2", SUMMARY}
    export_model(model, "second", folder, formats=("torch",), networks=("identifier",), size=SIZE)
    assert {file.name for file in folder.iterdir()} == {"identifier.pt2", SUMMARY}
    (folder / SUMMARY).unlink()
    with pytest.raises(OutputError, match="holds files that are no export; name a new or empty folder"):
        export_model(model, "third", folder, formats=("torch",), size=SIZE)
    for place in (folder / "identifier.pt2", folder / "identifier.pt2" / "below"):
        with pytest.raises(OutputError, match=r"is a file|cannot be written"):
            export_model(model, "third", place, formats=("torch",), size=SIZE)
    assert [file.name for file in folder.iterdir()] == ["identifier.pt2"]


def test_what_cannot_be_exported_is_said(model, tmp_path):
    for wrong, size, sentence in (
        (model_of(deblurrer={"data_step": "cg"}), SIZE, r"24x31 pixels: a deblurrer with data_step=\"cg\" stops when"),
        (model, (3, 64), r"3x64 pixels: .*at least 4x4"),
        (replace(model, operator=ZernikeBlur(noll=(4, 5, 6), psf_size=31, boundary="circular")), SIZE, "larger"),
    ):
        with pytest.raises(ExportError, match=sentence):
            export_model(wrong, "m", tmp_path / "new", formats=("torch",), size=size)
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_identification_has_a_deblurrer_only(model, tmp_path, monkeypatch):
    stub(monkeypatch)
    written = export_model(replace(model, identifier=None), "m", tmp_path / "new", formats=("torch",), size=SIZE)
    assert [entry.file for entry in written] == ["deblurrer.pt2"]


def test_the_command_says_what_it_wrote_or_what_is_missing(model, tmp_path, monkeypatch, capsys):
    stub(monkeypatch)
    save_model(
        tmp_path / "model",
        operator=OPERATOR,
        identifier_config=IDENTIFIER,
        identifier=model.identifier,
        deblurrer_config=DEBLURRER,
        deblurrer=model.deblurrer,
        card={},
    )
    command = ["export", str(tmp_path / "model"), "-o", str(tmp_path / "out"), "--size", "24x31"]
    assert cli.main([*command, "--format", "torch", "--network", "identifier"]) == 0
    said = capsys.readouterr().out
    assert "images of 24x31 pixels" in said
    assert "identifier.pt2" in said
    monkeypatch.setattr(exchange, "_installed", lambda name: name != "onnxruntime")
    assert cli.main([*command, "--format", "onnx"]) == 2
    assert capsys.readouterr().err == "deepblur export: the export needs onnxruntime; pip install 'deepblur[export]'\n"
    assert cli.main(["export", str(tmp_path / "none"), "-o", str(tmp_path / "out")]) == 5
    with pytest.raises(SystemExit):
        cli.main([*command, "--size", "0x5"])
    assert "a size is HxW or one side" in capsys.readouterr().err


def test_the_packages_scaling_is_that_of_its_description():
    from deepblur.platform.export.bioimage import scaled

    stored = np.arange(1001, dtype=np.float32).reshape(1, 1, 7, 143)
    assert_close(torch.from_numpy(scaled(stored))[0, 0, 0, 1].item(), 0.0, rtol=0, atol=1e-6)
    assert_close(torch.from_numpy(scaled(stored))[0, 0, 6, 141].item(), 1.0, rtol=0, atol=1e-6)
