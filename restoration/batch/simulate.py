"""`deepblur simulate`: a sharp image, a known blur and noise → what a camera would have given, and the truth."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from torch import Tensor

from deepblur.operators import PoissonGaussian, UniformGamma, ZernikeBlur, zernike_name
from deepblur.platform.system.errors import InputError
from deepblur.platform.system.printable import say
from deepblur.platform.system.seeds import generator
from deepblur.platform.system.whole_files import replacing
from deepblur.restoration.batch.image_files import ending, key_of, output_folder
from deepblur.restoration.batch.outputs import resolution
from deepblur.restoration.batch.ownership import SIMULATED, Item, claimed
from deepblur.restoration.images.io import read_recording
from deepblur.restoration.images.recording import Recording, check_fits
from deepblur.restoration.scale import scale_of
from deepblur.restoration.session import assembled

MOST = 100
"""Of a coefficient in waves, and of noise where white is one."""
MOST_NOLL = 500


def main(arguments: argparse.Namespace) -> int:
    """The command; exit codes as of `deepblur restore`."""
    return ending(lambda: _simulate(arguments))


def _simulate(arguments: argparse.Namespace) -> int:
    with output_folder(arguments.output):
        truth = simulate(arguments)
    if arguments.json:
        print(json.dumps(truth, indent=2))
    else:
        say(f"{arguments.image} -> {arguments.output / truth['files']['blurry']}")
        for mode in truth["gamma"]:
            say(f"    {mode['name']:30} {mode['waves']:+.3f} waves")
    return 0


def simulate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write the blurry image, the sharp one on the same pixels, the PSF and the truth; returns the truth.

    Data of a camera are a valid convolution, so the result is smaller than the image by a PSF less one pixel. Negative
    values, which the black level leaves, count as dark.
    """
    _check(arguments)
    operator = ZernikeBlur(noll=tuple(arguments.noll), cutoff=arguments.cutoff, psf_size=arguments.psf_size)
    noise = PoissonGaussian(arguments.gain, arguments.read_std)
    gamma = _gamma(arguments, operator)
    recording = read_recording(arguments.image)
    check_fits(recording, 4.0 * recording.dtype.itemsize + 24 / recording.length)
    scale = scale_of(recording, arguments.scale)
    margin = operator.psf_size // 2
    sharp, blurry = [], []
    for i in range(recording.length):
        frame = recording.frame(i)
        if min(frame.shape[1:]) < operator.psf_size + 8:
            raise InputError(
                f"{arguments.image}: {frame.shape[1]}x{frame.shape[2]} pixels are too few for a PSF of "
                f"{operator.psf_size} px; take a larger image or lower --psf-size"
            )
        x = torch.from_numpy(scale.to_unit(frame)).clamp_min(0)
        y = noise(operator.forward(x[None], gamma[None])[0][None], generator(arguments.seed, "simulated noise", i))[0]
        blurry.append(scale.to_stored(y.numpy(), recording.dtype))
        sharp.append(frame[:, margin : margin + y.shape[1], margin : margin + y.shape[2]])
    truth = {
        "format": SIMULATED.format,
        "version": 1,
        "gamma": [
            {"noll": noll, "name": zernike_name(noll), "waves": round(float(waves), 6)}
            for noll, waves in zip(operator.noll, gamma, strict=True)
        ],
        "cutoff": operator.cutoff,
        "psf_size": operator.psf_size,
        "noise": {"gain": arguments.gain, "read_std": arguments.read_std, "seed": arguments.seed},
        "scale": {"black": scale.black, "white": scale.white},
    }
    item = Item(arguments.image, arguments.image.stem)
    with claimed(arguments.output, item, SIMULATED, key_of(item.path, [repr(truth)])) as place:
        _write(place.path("blurry", "_blurry.tif"), np.stack(blurry), recording)
        _write(place.path("sharp", "_sharp.tif"), np.stack(sharp), recording)
        with replacing(place.path("true_psf", "_true_psf.tif")) as file:
            sides = resolution(recording.pixel_um, recording.pixel_height_um)
            tifffile.imwrite(file, operator.psf(gamma[None])[0, 0].numpy(), **sides)
        return place.finish(truth, {"image": str(arguments.image)})


def _check(arguments: argparse.Namespace) -> None:
    """Refuse figures that no microscope has, of which nothing but infinity would come."""
    for option in ("gain", "read_std", "eta", "gamma"):
        given = getattr(arguments, option)
        for value in given if isinstance(given, list) else [] if given is None else [given]:
            if not abs(value) <= MOST:
                raise ValueError(f"--{option.replace('_', '-')} is a number up to {MOST}; got {value:g}")
    if max(arguments.noll) > MOST_NOLL:
        raise ValueError(f"--noll takes indices up to {MOST_NOLL}; got {max(arguments.noll)}")


def _gamma(arguments: argparse.Namespace, operator: ZernikeBlur) -> Tensor:
    """(K,), as given or drawn."""
    if arguments.gamma is None:
        rng = generator(arguments.seed, "simulated gamma")
        return UniformGamma(arguments.eta, operator.num_parameters).sample(1, rng)[0]
    if len(arguments.gamma) != operator.num_parameters:
        raise ValueError(
            f"--gamma takes a coefficient for each of the {operator.num_parameters} modes {operator.noll}; got "
            f"{len(arguments.gamma)}; give as many, or other modes with --noll"
        )
    return torch.tensor(arguments.gamma)


def _write(path: Path, frames: np.ndarray, recording: Recording) -> None:
    """The frames as a TIFF with the recording's axes; JPEG would spoil the noise."""
    array = assembled(frames, recording)
    kind = "rgb" if recording.rgb else "minisblack"
    samples = "contig" if recording.axes.endswith("S") else "separate"
    with replacing(path, array.nbytes) as file:
        tifffile.imwrite(
            file,
            array,
            photometric=kind,
            planarconfig=samples if recording.rgb else None,
            metadata={"axes": recording.axes},
            **resolution(recording.pixel_um, recording.pixel_height_um),
        )
