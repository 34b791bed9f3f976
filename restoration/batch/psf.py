"""`deepblur psf`: the PSF of a lens with known aberrations, as a file that `deepblur restore --psf` takes."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch

from deepblur.operators import ZernikeBlur
from deepblur.operators.pupil import psf_px
from deepblur.platform.system.errors import OutputError
from deepblur.platform.system.whole_files import replacing
from deepblur.restoration.batch.image_files import output_folder
from deepblur.restoration.batch.outputs import write_picture
from deepblur.restoration.batch.ownership import COMPUTED, Item, claimed
from deepblur.restoration.batch.simulate import check_figures, modes_of, waves_of
from deepblur.restoration.options import LARGEST_PSF


def psf_file(
    output: str | Path,
    *,
    cutoff: float | None = None,
    noll: Sequence[int] = (4, 5, 6, 7, 8, 9, 10),
    gamma: Sequence[float] | None = None,
    psf_size: int | None = None,
    pictures: bool = True,
) -> dict[str, Any]:
    """The PSF of a lens by theory: `deepblur psf` from Python.

    Args:
        output: the file to write, NAME.tif, float32 of sum 1; a picture and a report lie beside it.
        cutoff: pupil radius NA / wavelength * pixel size, in cycles per pixel, at most 0.25; must be said.
        noll: Noll indices of the Zernike modes that gamma weighs.
        gamma: coefficient of each mode, in waves; None: no aberrations.
        psf_size: side of the PSF in pixels, odd; None: 6 / cutoff, 31 at 0.2.
        pictures: write a PNG too.
    Returns:
        The report, as in the JSON file: what it was computed for, the share of the light `outside` of the PSF's square,
        and the `strehl` ratio, its peak over that of the same lens without aberrations.
    Raises:
        ValueError: a figure that no microscope has.
        OutputError: the file cannot be written, or is another's.
    """
    output = Path(output)
    if cutoff is None or not math.isfinite(cutoff):
        raise ValueError("a PSF has the cutoff of its lens: say --cutoff, NA / wavelength * pixel size")
    if output.suffix != ".tif":
        raise OutputError(f"{output}: the PSF is a TIFF file; end the name with .tif")
    check_figures(noll, {"gamma": gamma or []})
    size = psf_px(cutoff) if psf_size is None else psf_size
    if size > LARGEST_PSF:
        raise ValueError(f"--psf-size is at most {LARGEST_PSF}; got {size}")
    operator = ZernikeBlur(noll=tuple(noll), cutoff=cutoff, psf_size=size)
    waves = waves_of([0.0] * len(operator.noll) if gamma is None else gamma, operator).double()[None]
    light, ideal = (operator.psf(g)[0, 0] * (1 - operator.outside_energy(g)) for g in (waves, torch.zeros_like(waves)))
    report = {
        "gamma": modes_of(operator, waves[0]),
        "cutoff": cutoff,
        "psf_size": size,
        "outside": round(float(1 - light.sum()), 6),
        "strehl": round(float(light.max() / ideal.max()), 6),
    }
    psf = (light / light.sum()).numpy().astype(np.float32)
    with (
        output_folder(output.parent),
        claimed(output.parent, Item(output, output.stem), COMPUTED, "") as place,
    ):
        with replacing(place.path("psf", ".tif")) as file:
            tifffile.imwrite(file, psf)
        if pictures:
            from deepblur.restoration.overview import computed_psf_picture

            title = f"{output.name} · cutoff {cutoff:g} · Strehl ratio {report['strehl']:.2f}"
            picture = computed_psf_picture(title, torch.from_numpy(psf), operator.noll, waves[0].float())
            write_picture(place.path("psf_picture", ".png"), picture)
        return place.finish(report, {"format": COMPUTED.format, "version": 1})
