"""`deepblur simulate`: a sharp image, a known blur and noise → what a camera would have given, and the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from deepblur.operators import PoissonGaussian, UniformGamma, ZernikeBlur, zernike_name
from deepblur.operators.pupil import NYQUIST, psf_px
from deepblur.platform.system.errors import InputError
from deepblur.platform.system.seeds import generator
from deepblur.platform.system.whole_files import replacing
from deepblur.restoration.batch.image_files import key_of, output_folder
from deepblur.restoration.batch.outputs import resolution, write_plain
from deepblur.restoration.batch.ownership import SIMULATED, Item, claimed, stem_of
from deepblur.restoration.channels import Channels
from deepblur.restoration.engine_choice import OPTICS
from deepblur.restoration.engines.optics import Quantity
from deepblur.restoration.formats.files import open_image
from deepblur.restoration.images.recording import Recording, check_fits
from deepblur.restoration.known_optics import optics_of
from deepblur.restoration.options import DEFAULT_RULE, EngineChoice
from deepblur.restoration.scale import Scale, scale_of

MOST = 100
"""Of a coefficient in waves, and of noise where white is one."""
MOST_NOLL = 500
MOST_BINNING = 8


def simulate_file(
    image: str | Path,
    output: str | Path,
    *,
    noll: Sequence[int] = (4, 5, 6, 7, 8, 9, 10),
    gamma: Sequence[float] | None = None,
    eta: float = 0.1,
    cutoff: float | None = None,
    na: float | None = None,
    wavelength_nm: float | None = None,
    pixel_nm: float | None = None,
    index: float | None = None,
    psf_size: int | None = None,
    gain: float = 0.0,
    read_std: float = 0.01,
    seed: int = 0,
    scale: str = DEFAULT_RULE,
    binning: int = 1,
) -> dict[str, Any]:
    """Blur a sharp image with known aberrations and noise: `deepblur simulate` from Python.

    Written are the blurry image, the sharp one on the same pixels, the PSF and the truth. Data of a camera are a valid
    convolution, so the result is smaller than the image by a PSF less one pixel. Negative values, which the black
    level leaves, count as dark.

    Args:
        image: TIFF, PNG, JPEG, BMP or WebP.
        output: folder for the results, made if it is missing.
        noll: Noll indices of the Zernike modes, up to MOST_NOLL.
        gamma: coefficient of each mode, in waves; None draws them with eta and seed.
        eta: coefficients are uniform in ±eta, in waves.
        cutoff: pupil radius NA / wavelength * pixel size, in cycles per pixel of the camera, at most 0.25 without
            binning; None takes that of the lens that the file states, and 0.2 where it states none.
        na: numerical aperture, which with the next two says the cutoff instead; what is left out of the three is taken
            from the file.
        wavelength_nm: of the light in vacuum, nanometres.
        pixel_nm: side of a pixel of the camera in the sample, nanometres.
        index: refractive index of the immersion medium, which NA cannot exceed.
        psf_size: side of the PSF in pixels, odd; None: 6 / cutoff, 31 at 0.2.
        gain: variance per unit of signal, white being 1.
        read_std: standard deviation of the read noise, white being 1.
        seed: of coefficients and noise.
        scale: what counts as black and white, see `deepblur.restoration.options.parse_rule`.
        binning: a pixel of the camera is a square of so many by so many of the image's, over which it averages; so a
            lens can pass detail finer than the camera's pixels.
    Returns:
        The truth, as in the JSON file that is written, whose `files` name the others.
    Raises:
        ValueError: a figure that no microscope has.
        InputError: the image cannot be used.
        OutputError: the output folder cannot be written to.
    """
    image, output = Path(image), Path(output)
    with output_folder(output):
        check_figures(noll, {"gain": [gain], "read_std": [read_std], "eta": [eta], "gamma": gamma or []})
        choice = EngineChoice(cutoff=cutoff, na=na, wavelength_nm=wavelength_nm, pixel_nm=pixel_nm, index=index)
        recording = open_image(image)
        if not 1 <= binning <= MOST_BINNING:
            raise ValueError(f"--binning is a number from 1 to {MOST_BINNING}; got {binning}")
        width, height = (side and side * binning for side in (recording.pixel_um, recording.pixel_height_um))
        recording = replace(recording, pixel_um=width, pixel_height_um=height)
        optics = optics_of(choice, recording, Channels())[0]
        optics = replace(optics, cutoff=optics.cutoff or Quantity(OPTICS["cutoff"], "assumed"))
        assert optics.cutoff is not None
        size = psf_px(optics.cutoff.value) if psf_size is None else psf_size
        operator = ZernikeBlur(noll=tuple(noll), cutoff=optics.cutoff.value, psf_size=size)
        fine = operator if binning == 1 else _fine(operator, binning)
        if fine.coarse:
            raise ValueError(
                f"a cutoff above {NYQUIST} passes detail finer than the pixels of {image.name}, which holds none; got "
                f"{fine.cutoff:.4g}; say a smaller one with --cutoff, or with --binning that a pixel of the camera is "
                "several of the image's"
            )
        noise = PoissonGaussian(gain, read_std)
        waves = _gamma(gamma, eta, seed, operator)
        sharp, blurry, known = _exposed(recording, fine, waves, noise, seed, scale, binning)
        truth = {
            "format": SIMULATED.format,
            "version": 1,
            "gamma": modes_of(operator, waves),
            "cutoff": operator.cutoff,
            "optics": optics.as_json(),
            "psf_size": operator.psf_size,
            "binning": binning,
            "noise": {"gain": gain, "read_std": read_std, "seed": seed},
            "scale": {"black": known.black, "white": known.white},
        }
        item = Item(image, stem_of(image))
        with claimed(output, item, SIMULATED, key_of(item.path, [repr(truth)])) as place:
            write_plain(place.path("blurry", "_blurry.tif"), blurry, recording)
            write_plain(place.path("sharp", "_sharp.tif"), sharp, recording)
            with replacing(place.path("true_psf", "_true_psf.tif")) as file:
                sides = resolution(recording.pixel_um, recording.pixel_height_um)
                tifffile.imwrite(file, operator.psf(waves[None])[0, 0].numpy(), **sides)
            return place.finish(truth, {"image": str(image)})


def _fine(operator: ZernikeBlur, binning: int) -> ZernikeBlur:
    """The same lens on pixels so many times smaller, by a PSF that covers the other one."""
    size = binning * operator.psf_size
    return ZernikeBlur(noll=operator.noll, cutoff=operator.cutoff / binning, psf_size=size + (size + 1) % 2)


def _exposed(
    recording: Recording,
    operator: ZernikeBlur,
    gamma: Tensor,
    noise: PoissonGaussian,
    seed: int,
    rule: str,
    binning: int,
) -> tuple[np.ndarray, np.ndarray, Scale]:
    """(sharp frames on the pixels of the blurry ones, blurry frames, both (N, C, h, w) as stored; their scale)."""
    check_fits(recording, 4.0 * recording.dtype.itemsize + 24 / recording.length)
    scale = scale_of(recording, rule)
    margin = operator.psf_size // 2
    sharp, blurry = [], []
    for i in range(recording.length):
        frame = recording.frame(i)
        if min(frame.shape[1:]) < operator.psf_size + 8:
            raise InputError(
                f"{recording.path}: {frame.shape[1]}x{frame.shape[2]} pixels are too few for a PSF of "
                f"{operator.psf_size} px; take a larger image or lower --psf-size"
            )
        x = torch.from_numpy(scale.to_unit(frame)).clamp_min(0)
        light = avg_pool2d(operator.forward(x[None], gamma[None])[0], binning)
        y = noise(light[None], generator(seed, "simulated noise", i))[0]
        blurry.append(scale.to_stored(y.numpy(), recording.dtype))
        h, w = (binning * side for side in y.shape[1:])
        seen = frame[:, margin : margin + h, margin : margin + w]
        if binning > 1:
            whole = torch.from_numpy(scale.to_unit(seen))
            seen = scale.to_stored(avg_pool2d(whole, binning).numpy(), recording.dtype)
        sharp.append(seen)
    return np.stack(sharp), np.stack(blurry), scale


def modes_of(operator: ZernikeBlur, waves: Tensor) -> list[dict[str, Any]]:
    """Coefficients (K,) in waves with index and name of their modes, as plain values."""
    return [
        {"noll": index, "name": zernike_name(index), "waves": round(float(value), 6)}
        for index, value in zip(operator.noll, waves, strict=True)
    ]


def check_figures(noll: Sequence[int], figures: Mapping[str, Sequence[float]]) -> None:
    """Refuse figures that no microscope has, of which nothing but infinity would come."""
    for option, values in figures.items():
        for value in values:
            if not abs(value) <= MOST:
                raise ValueError(f"--{option.replace('_', '-')} is a number up to {MOST}; got {value:g}")
    if max(noll) > MOST_NOLL:
        raise ValueError(f"--noll takes indices up to {MOST_NOLL}; got {max(noll)}")


def _gamma(given: Sequence[float] | None, eta: float, seed: int, operator: ZernikeBlur) -> Tensor:
    """(K,), as given or drawn."""
    if given is None:
        rng = generator(seed, "simulated gamma")
        return UniformGamma(eta, operator.num_parameters).sample(1, rng)[0]
    return waves_of(given, operator)


def waves_of(given: Sequence[float], operator: ZernikeBlur) -> Tensor:
    """(K,) the coefficients that were given for the modes of an operator.

    Raises:
        ValueError: another number of them.
    """
    if len(given) != operator.num_parameters:
        raise ValueError(
            f"--gamma takes a coefficient for each of the {operator.num_parameters} modes {operator.noll}; got "
            f"{len(given)}; give as many, or other modes with --noll"
        )
    return torch.tensor(given)
