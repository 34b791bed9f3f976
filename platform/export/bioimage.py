"""A bioimage.io model package: what napari, Fiji and ilastik open.

The package holds the whole blind model as ONNX for one tile size. Its preprocessing scales an image by its own
percentiles, so that stored grey values of any range can be given.
Source: the model description format 0.5 of bioimage.io.
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deepblur._version import __version__
from deepblur.platform.export.exchange import OPSET

PAPER = "https://pmc.ncbi.nlm.nih.gov/articles/PMC11704139"
PERCENTILES = (0.1, 99.9)
"""Of an image: the grey values that become 0 and 1."""


@dataclass(frozen=True)
class Package:
    """What goes into a package.

    name: what people read. onnx: the file of the whole model. stored: (1, 1, H, W) float32, a test image in stored grey
    values. answers: what the model says of the scaled test image, by output name: "restored" (1, 1, H, W), "gamma"
    (1, K), "psf" (1, 1, h, w). modes: name of each coefficient. card: of the model.
    """

    name: str
    onnx: Path
    stored: np.ndarray
    answers: dict[str, np.ndarray]
    modes: tuple[str, ...]
    parameters: int
    card: dict[str, Any]


def scaled(stored: np.ndarray) -> np.ndarray:
    """What the package's preprocessing makes of an image."""
    low, high = np.percentile(stored, PERCENTILES)
    return ((stored - low) / (high - low + 1e-6)).astype(np.float32)


def write_package(package: Package, file: Path, scratch: Path) -> None:
    """Writes the zip and tests it: validation of the description, and inference on the test image.

    Args:
        file: of the package, new.
        scratch: an empty folder for the parts.
    Raises:
        ValueError: bioimageio.core finds a fault in the package.
    """
    from bioimageio.core import test_model
    from bioimageio.spec import save_bioimageio_package

    with _offline():
        description = _description(package, scratch)
        save_bioimageio_package(description, output_path=file)
        summary = test_model(file, weight_format="onnx", devices=["cpu"])
    if summary.status != "passed":
        faults = [error.msg for detail in summary.details for error in detail.errors]
        raise ValueError(f"bioimageio.core refuses the package: {'; '.join(faults) or summary.status}")


@contextmanager
def _offline() -> Iterator[None]:
    """Files are checked, the paper's address is not asked for; bioimageio says on the terminal what matters here."""
    from bioimageio.spec import ValidationContext
    from loguru import logger

    logger.disable("bioimageio")
    quiet = ValidationContext(known_files={PAPER: None}, log_warnings=False, progressbar=False)
    try:
        with quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that it then finds
            yield
    finally:
        logger.enable("bioimageio")


def _description(package: Package, scratch: Path) -> Any:
    from bioimageio.spec.generic.v0_3 import Author, CiteEntry, HttpUrl, LicenseId, Version
    from bioimageio.spec.model import v0_5 as model

    parts = _write_parts(package, scratch)
    return model.ModelDescr(
        name=package.name,
        description="Finds the aberrations of a widefield microscope in one blurry image and removes their blur.",
        version=Version("0.1.0"),
        authors=[Author(name="The deepblur contributors")],
        license=LicenseId("BSD-3-Clause"),
        cite=[
            CiteEntry(
                text="V. Debarnot and P. Weiss, Deep-blur: Blind identification and deblurring with convolutional "
                "neural networks, Biological Imaging, 2024",
                url=HttpUrl(PAPER),
            )
        ],
        tags=["deblurring", "deconvolution", "blind-deconvolution", "image-restoration", "widefield", "psf", "2d"],
        documentation=_file(parts["README.md"]),
        covers=[_file(parts["cover.png"])],
        inputs=[_input(package, parts)],
        outputs=_outputs(package, parts),
        weights=model.WeightsDescr(
            onnx=model.OnnxWeightsDescr(
                source=package.onnx, opset_version=OPSET, comment=f"written by deepblur {__version__}"
            )
        ),
        config=model.Config(
            bioimageio=model.BioimageioConfig(
                architecture_type="unrolled network",
                model_parameter_count=package.parameters,
                modality="widefield fluorescence microscopy",
                task="blind deconvolution",
            )
        ),
    )


def _file(path: Path) -> Any:
    from bioimageio.spec.common import FileDescr

    return FileDescr(source=path)


def _input(package: Package, parts: dict[str, Path]) -> Any:
    from bioimageio.spec.model import v0_5 as model

    low, high = PERCENTILES
    H, W = package.stored.shape[-2:]
    return model.InputTensorDescr(
        id=model.TensorId("blurry"),
        description="Blurry image, linear in the light; grey values of any range",
        axes=[
            model.BatchAxis(),
            _one_channel("intensity"),
            model.SpaceInputAxis(id=model.AxisId("y"), size=H),
            model.SpaceInputAxis(id=model.AxisId("x"), size=W),
        ],
        data=model.IntervalOrRatioDataDescr(type="float32"),
        test_tensor=_file(parts["blurry.npy"]),
        preprocessing=[
            model.EnsureDtypeDescr(kwargs=model.EnsureDtypeKwargs(dtype="float32")),
            model.ScaleRangeDescr(
                kwargs=model.ScaleRangeKwargs(
                    axes=[model.AxisId(a) for a in ("channel", "y", "x")], min_percentile=low, max_percentile=high
                )
            ),
        ],
    )


def _outputs(package: Package, parts: dict[str, Path]) -> list[Any]:
    from bioimageio.spec.model import v0_5 as model

    def image(name: str, channel: str, description: str, sizes: tuple[int, int]) -> Any:
        rows, columns = (
            model.SpaceOutputAxis(id=model.AxisId(axis), size=size) for axis, size in zip("yx", sizes, strict=True)
        )
        return model.OutputTensorDescr(
            id=model.TensorId(name),
            description=description,
            axes=[model.BatchAxis(), _one_channel(channel), rows, columns],
            data=model.IntervalOrRatioDataDescr(type="float32"),
            test_tensor=_file(parts[f"{name}.npy"]),
        )

    gamma = model.OutputTensorDescr(
        id=model.TensorId("gamma"),
        description="Zernike coefficients of the wavefront, in waves",
        axes=[model.BatchAxis(), model.ChannelAxis(channel_names=[_identifier(mode) for mode in package.modes])],
        data=model.IntervalOrRatioDataDescr(type="float32"),
        test_tensor=_file(parts["gamma.npy"]),
    )
    sizes = {name: array.shape[-2:] for name, array in package.answers.items() if array.ndim == 4}
    return [
        image("restored", "intensity", "Sharp image, scaled as the preprocessing does", sizes["restored"]),
        gamma,
        image("psf", "weight", "Point spread function, sum 1", sizes["psf"]),
    ]


def _one_channel(name: str) -> Any:
    from bioimageio.spec.model import v0_5 as model

    return model.ChannelAxis(channel_names=[_identifier(name)])


def _identifier(name: str) -> Any:
    from bioimageio.spec.model import v0_5 as model

    return model.Identifier(re.sub(r"\W+", "_", name).strip("_").lower())


def _write_parts(package: Package, scratch: Path) -> dict[str, Path]:
    parts = {name: scratch / name for name in ("README.md", "cover.png", "blurry.npy")}
    parts |= {f"{name}.npy": scratch / f"{name}.npy" for name in package.answers}
    np.save(parts["blurry.npy"], package.stored)
    for name, array in package.answers.items():
        np.save(parts[f"{name}.npy"], array)
    pair = [_square(scaled(package.stored)[0, 0]), _square(package.answers["restored"][0, 0])]
    Image.fromarray(np.concatenate(pair, axis=1)).save(parts["cover.png"])
    parts["README.md"].write_text(_documentation(package), encoding="utf-8")
    return parts


def _square(image: np.ndarray, side: int = 256) -> np.ndarray:
    """The image's largest centred square as 8 bits, side × side."""
    n = min(image.shape)
    top, left = ((size - n) // 2 for size in image.shape)
    grey = np.clip(255 * image[top : top + n, left : left + n], 0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(grey).resize((side, side), Image.Resampling.BICUBIC))


def _documentation(package: Package) -> str:
    H, W = package.stored.shape[-2:]
    low, high = PERCENTILES
    facts = [f"- {key}: {value}" for key, value in package.card.items() if isinstance(value, str | int | float)]
    limits = package.card.get("limits")
    if isinstance(limits, list):
        facts += [f"- limit: {limit}" for limit in limits]
    trained = package.card.get("trained")
    if isinstance(trained, dict):
        facts += [f"- trained with {key}: {value}" for key, value in trained.items()]
    return "\n".join(
        [
            f"# {package.name}",
            "",
            "Identifies the aberrations of a widefield microscope (Zernike coefficients of the pupil's phase, "
            f"{', '.join(package.modes)}) from one blurry image and removes their blur.",
            "",
            "## How to use it",
            "",
            f"- Tiles of {H}×{W} pixels; cut larger images into overlapping tiles, or use `deepblur restore`, which "
            "blends them and judges the result.",
            f"- Each image is scaled by its percentiles {low} and {high}; the restored image is on that scale.",
            "- One blur per tile, linear camera data without saturation, pixels fine enough for the optics "
            "(at most λ / (4 NA)).",
            "",
            "## Validation",
            "",
            "Look at the residual: blur the restored image with the `psf` and compare it with the input. What remains "
            "should be noise without structure.",
            "",
            "## What is known about this model",
            "",
            *(facts or ["- nothing was recorded with it"]),
            "",
        ]
    )
