"""A trained model as files for other software: ONNX, torch's exported programs, a bioimage.io package.

Each file holds a network for one image size and any number of images, see `real_network`; whatever was written is run
and compared with the model before anybody sees it.
"""

import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from deepblur._version import __version__
from deepblur.nets import Deblurrer, Identifier
from deepblur.operators import zernike_name
from deepblur.platform.export import bioimage, exchange
from deepblur.platform.export.real_network import RealDeblurrer, RealIdentifier, RealModel
from deepblur.platform.models.model import BlindModel, complete_or_absent
from deepblur.platform.system.errors import MODEL, OutputError, RestorationError

FORMATS = ("onnx", "torch", "bioimage")
NETWORKS = ("blind", "deblurrer", "identifier")
"""image → restored, gamma, psf; image, gamma → restored; image → gamma."""
TOLERANCE = 1e-4
"""Largest difference between a file's answer and the model's: intensities in [0, 1], waves, weights of the PSF."""
SUMMARY = "export.json"
_CHECKED = 3  # images


class ExportError(RestorationError):
    """The model, or this size, cannot be exported; the message says why."""

    exit_code = MODEL


@dataclass(frozen=True)
class Written:
    """One file: what goes in and comes out, and how far it is from the model (`TOLERANCE`)."""

    file: str
    format: str
    inputs: dict[str, list[int | str]]
    outputs: tuple[str, ...]
    difference: float


@dataclass(frozen=True)
class _Part:
    """A network with its test: the answers are the model's own."""

    name: str
    network: nn.Module
    inputs: dict[str, Tensor]
    answers: dict[str, Tensor]


def export_model(
    model: BlindModel,
    name: str,
    folder: Path,
    *,
    formats: Sequence[str] = FORMATS,
    networks: Sequence[str] = NETWORKS,
    size: tuple[int, int] = (256, 256),
) -> list[Written]:
    """Writes the files and `export.json`, which describes them; the folder is complete or as it was.

    Args:
        model: on the CPU.
        name: of the model, for people.
        folder: new, empty, or with an earlier export, which is replaced.
        formats: of FORMATS; the package always holds the network "blind".
        networks: of NETWORKS; a model without IN has a deblurrer only.
        size: (H, W) of the images.
    Returns:
        Each file with what goes in and comes out, and how far its answers are from the model's.
    Raises:
        ExportError: the model or the size cannot be exported, or a file does not answer as the model does.
        MissingExtraError: a format needs packages that are not installed.
        OutputError: the folder holds something else or cannot be written.
    """
    exchange.require(*formats)
    with _complete_or_as_it_was(folder) as fresh, torch.no_grad():
        parts = _parts(model, size)
        try:
            written = [entry for part in parts for entry in _write(part, formats, networks, fresh)]
            if "bioimage" in formats:
                written.append(_package(model, name, parts, fresh))
        except (RestorationError, OSError):
            raise
        except Exception as error:  # of the exporters, which have no common one
            reason = " ".join(str(error).split())[:300]
            raise ExportError(f"the exporter failed ({type(error).__name__}: {reason}); nothing was written") from error
        if "blind.onnx" not in {entry.file for entry in written}:
            (fresh / "blind.onnx").unlink(missing_ok=True)  # it went into the package
        summary = {"deepblur": __version__, "model": name, "size": size, "files": list(map(asdict, written))}
        (fresh / SUMMARY).write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return written


def _write(part: _Part, formats: Sequence[str], networks: Sequence[str], fresh: Path) -> Iterator[Written]:
    """Writes the network in the formats asked for, and as ONNX what the package needs; runs what was written."""
    inputs = list(part.inputs.values())
    asked = set(formats) if part.name in networks else set()
    packed = "bioimage" in formats and part.name == "blind"
    if not (asked & {"torch", "onnx"} or packed):
        return
    program = exchange.program_of(part.network, inputs)
    if "torch" in asked:
        file = fresh / f"{part.name}.pt2"
        exchange.write_program(program, file)
        yield _checked(file, part, exchange.run_program(file, inputs))
    if "onnx" in asked or packed:
        file = fresh / f"{part.name}.onnx"
        exchange.write_onnx(program, file, list(part.inputs), list(part.answers))
        entry = _checked(file, part, exchange.run_onnx(file, part.inputs))
        if "onnx" in asked:
            yield entry


def _parts(model: BlindModel, size: tuple[int, int]) -> list[_Part]:
    """The networks and what the model says of test images."""
    H, W = size
    try:
        deblurrer = RealDeblurrer(cast(Deblurrer, model.deblurrer), model.operator, size)
        identifier = RealIdentifier(cast(Identifier, model.identifier), size) if model.identifier else None
        images, gamma = _test_images(model, size)
        told = model.restore(images, gamma)
    except ValueError as error:
        raise ExportError(f"the model cannot be exported for images of {H}x{W} pixels: {error}") from None
    parts = [_Part("deblurrer", deblurrer, {"image": images, "gamma": gamma}, {"restored": told.image})]
    if identifier is not None:
        found = model.restore(images)
        answers = {"restored": found.image, "gamma": found.gamma, "psf": found.psf}
        parts.append(_Part("identifier", identifier, {"image": images}, {"gamma": found.gamma}))
        parts.append(_Part("blind", RealModel(identifier, deblurrer), {"image": images}, answers))
    for part in parts:
        part.network.eval().requires_grad_(False)
    return parts


def _test_images(model: BlindModel, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Blurry images (B, 1, H, W) with a little noise, in about [0, 1], and their γ, the same in every run."""
    rng = torch.Generator().manual_seed(0)
    eta = _number(model.card.get("trained"), "eta_waves", 0.1)
    gamma = eta * (2 * torch.rand(_CHECKED, model.operator.num_parameters, generator=rng) - 1)
    operator = model.operator.with_boundary("valid")
    H, W = operator.input_size(size)
    scene = torch.zeros(_CHECKED, 1, H, W)
    for side in (5, 15, 41):  # structure of several sizes
        grain = torch.rand(_CHECKED, 1, H + side - 1, W + side - 1, generator=rng)
        smooth = avg_pool2d(grain, side, 1)
        scene += (smooth - smooth.mean((-2, -1), keepdim=True)) / smooth.std((-2, -1), keepdim=True)
    blurry = operator.forward((0.4 + 0.15 * scene).clamp(0, 1), gamma)
    return blurry + 0.01 * torch.randn(blurry.shape, generator=rng), gamma


def _number(mapping: object, key: str, default: float) -> float:
    value = mapping.get(key, default) if isinstance(mapping, dict) else default
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else default


def _checked(file: Path, part: _Part, found: list[Tensor]) -> Written:
    difference = max(
        float((there - answer).abs().max()) for there, answer in zip(found, part.answers.values(), strict=True)
    )
    if not difference < TOLERANCE:  # NaN too
        raise ExportError(
            f"{file.name} answers {difference:.1e} away from the model, more than {TOLERANCE:.0e}; nothing was written"
        )
    inputs: dict[str, list[int | str]] = {name: ["batch", *value.shape[1:]] for name, value in part.inputs.items()}
    return Written(file.name, file.suffix[1:], inputs, tuple(part.answers), difference)


def _package(model: BlindModel, name: str, parts: list[_Part], fresh: Path) -> Written:
    blind = next((part for part in parts if part.name == "blind"), None)
    if blind is None:
        raise ExportError("a bioimage.io package takes an image alone, and this model has no identification network")
    stored = (100 + 900 * blind.inputs["image"][:1]).round()
    image = torch.from_numpy(bioimage.scaled(stored.numpy()))
    said = model.restore(image)
    answers = {"restored": said.image, "gamma": said.gamma, "psf": said.psf}
    test = _Part("blind", blind.network, {"image": image}, answers)
    package = bioimage.Package(
        name="deepblur blind deblurring of widefield images",
        onnx=fresh / "blind.onnx",
        stored=stored.numpy(),
        answers={answer: value.numpy() for answer, value in answers.items()},
        modes=tuple(zernike_name(index) for index in model.operator.noll),
        parameters=sum(parameter.numel() for parameter in blind.network.parameters()),
        card={"model": name, **model.card},
    )
    file = fresh / "deepblur.bioimageio.zip"
    with tempfile.TemporaryDirectory(dir=fresh) as scratch:
        bioimage.write_package(package, file, Path(scratch))
    return replace(
        _checked(file, test, exchange.run_onnx(package.onnx, test.inputs)),
        format="bioimage",
        inputs={"blurry": ["batch", *stored.shape[1:]]},
    )


@contextmanager
def _complete_or_as_it_was(folder: Path) -> Iterator[Path]:
    """A fresh folder that takes the folder's place when the block ends well."""
    try:
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is a file; name a new folder for the export")
        if others := _others(folder) if folder.is_dir() else []:
            raise OutputError(
                f"{folder} holds files that are no export; name a new or empty folder, or move {', '.join(others[:3])}"
            )
        with complete_or_absent(folder) as fresh:
            yield fresh
    except RestorationError:
        raise
    except OSError as error:
        raise OutputError(f"the export cannot be written to {folder} ({error.strerror or error})") from None


def _others(folder: Path) -> list[str]:
    """What lies in a folder beside the files of an export, which would be replaced with them."""
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        made = {SUMMARY, *(str(entry["file"]) for entry in summary["files"])}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        made = set()
    return sorted(path.name for path in folder.iterdir() if path.name not in made)
