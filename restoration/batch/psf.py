"""`deepblur psf`: the PSF of a lens with known aberrations, as a file that `deepblur restore --psf` takes."""

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
from deepblur.restoration.batch.outputs import resolution, write_picture
from deepblur.restoration.batch.ownership import COMPUTED, Item, claimed
from deepblur.restoration.batch.simulate import check_figures, modes_of, waves_of
from deepblur.restoration.known_optics import told_lens
from deepblur.restoration.options import LARGEST_PSF, EngineChoice


def psf_file(
    output: str | Path,
    *,
    cutoff: float | None = None,
    na: float | None = None,
    wavelength_nm: float | None = None,
    pixel_nm: float | None = None,
    index: float | None = None,
    noll: Sequence[int] = (4, 5, 6, 7, 8, 9, 10),
    gamma: Sequence[float] | None = None,
    psf_size: int | None = None,
    pictures: bool = True,
) -> dict[str, Any]:
    """The PSF of a lens by theory: `deepblur psf` from Python.

    Args:
        output: the file to write, NAME.tif, float32 of sum 1; a picture and a report lie beside it.
        cutoff: pupil radius NA / wavelength * pixel size, in cycles per pixel, at most 0.5; it must be said,
            or the next three.
        na: numerical aperture.
        wavelength_nm: of the light in vacuum, nanometres.
        pixel_nm: side of a pixel in the sample, nanometres; the file says it too.
        index: refractive index of the immersion medium, which NA cannot exceed.
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
    optics = told_lens(EngineChoice(cutoff=cutoff, na=na, wavelength_nm=wavelength_nm, pixel_nm=pixel_nm, index=index))
    assert optics.cutoff is not None
    cutoff = optics.cutoff.value
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
        "optics": optics.as_json(),
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
            tifffile.imwrite(file, psf, **resolution(None if pixel_nm is None else pixel_nm / 1000))
        if pictures:
            from deepblur.restoration.overview import computed_psf_picture

            title = f"{output.name} · cutoff {cutoff:g} · Strehl ratio {report['strehl']:.2f}"
            picture = computed_psf_picture(title, torch.from_numpy(psf), operator.noll, waves[0].float())
            write_picture(place.path("psf_picture", ".png"), picture)
        return place.finish(report, {"format": COMPUTED.format, "version": 1})
