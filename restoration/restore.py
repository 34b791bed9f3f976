"""`deepblur.restore`: an array in, the restored array, PSF, γ̂ and report out."""

import base64
import html
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from deepblur.restoration.areas import Part, cut_of
from deepblur.restoration.engine_choice import choose_engine
from deepblur.restoration.engines.names import Restorer
from deepblur.restoration.images.io import assembled, recording_of
from deepblur.restoration.images.recording import Recording
from deepblur.restoration.options import DEFAULT_RULE, EngineChoice, Options, asked, check_together
from deepblur.restoration.report import Report
from deepblur.restoration.scale import Scale
from deepblur.restoration.session import Session

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Shown:
    """The frame that pictures show: the first that is not empty."""

    before: np.ndarray
    """(C, H, W), as it was given."""
    after: np.ndarray
    """(C, H, W), restored."""
    scales: tuple[Scale, ...]
    """Of each channel."""

    @classmethod
    def of(cls, recording: Recording, frames: np.ndarray, report: Report, part: Part) -> "Shown":
        """From restored frames (N, C, H, W), which are this part of the recording's."""
        blurs = len(report.blurs) // len(frames)  # of each frame
        index = report.blurs.index(report.judged[0]) // blurs
        scales = [blur.scale for blur in report.blurs[index * blurs : (index + 1) * blurs] if blur.scale is not None]
        before, after = recording.frame(index)[:, *part], frames[index]
        return cls(before, after, tuple(scales * len(before) if blurs == 1 else scales))

    def in_unit(self) -> tuple[np.ndarray, np.ndarray]:
        """Both in units of the scale, float32."""
        before, after = (
            np.stack([scale.to_unit(channel) for scale, channel in zip(self.scales, frame, strict=True)])
            for frame in (self.before, self.after)
        )
        return before, after


@dataclass(frozen=True)
class Restored:
    """A restored image and what is known of its blur."""

    image: np.ndarray
    """The shape and dtype of the input."""
    psf: np.ndarray
    """(h, w) float32, sum 1; (N, h, w) where frames or channels have a PSF each, NaN where they are empty."""
    gamma: np.ndarray | None
    """(K,) in waves, or (N, K); None where the method knows no aberrations."""
    report: Report
    """What was done, the verdict, and how far to trust it."""
    shown: Shown
    """What `figure` shows of the image."""

    def figure(self) -> "Figure":
        """Before, after, PSF, aberrations, residual and verdict in one picture, of the first frame."""
        from deepblur.restoration.overview import overview  # a second that nobody pays who asks for no picture

        return overview("", *self.shown.in_unit(), self.report)

    def _repr_html_(self) -> str:
        """What a notebook shows: the figure, and below it the verdict and all that speaks against it."""
        from deepblur.platform.report.style import as_png

        picture = base64.b64encode(as_png(self.figure())).decode()
        flags = [flag for blur in self.report.judged for flag in blur.flags]
        beside = dict.fromkeys([*self.report.notes, *flags, *self.report.remarks])
        lines = "".join(f"<li>{html.escape(line)}</li>" for line in beside)
        words = html.escape(f"{self.report.verdict}: {self.report.sentence}")
        alternative = html.escape(repr(self))
        image = f'<img alt="{alternative}" style="max-width:100%" src="data:image/png;base64,{picture}">'
        return f"<div>{image}<p><b>{words}</b></p><ul>{lines}</ul></div>"

    def __repr__(self) -> str:
        return f"Restored({'x'.join(map(str, self.image.shape))} {self.image.dtype}, {self.report.verdict})"


def restore(
    array: np.ndarray,
    *,
    axes: str | None = None,
    model: str | None = None,
    optics: str | Path | None = None,
    psf: np.ndarray | str | Path | None = None,
    method: str = "auto",
    restorer: Restorer | Literal["auto"] = "auto",
    cutoff: float | Iterable[float] | None = None,
    na: float | None = None,
    wavelength_nm: float | Iterable[float] | None = None,
    pixel_nm: float | None = None,
    index: float | None = None,
    eta: float | None = None,
    psf_size: int | None = None,
    scale: str = DEFAULT_RULE,
    channels: str = "auto",
    varying: bool = False,
    region: tuple[int, int, int, int] | None = None,
    crop: bool = False,
    mask: np.ndarray | str | Path | None = None,
    max_memory_gib: float = 2.0,
    device: str = "auto",
    tracking_uri: str | None = None,
) -> Restored:
    """Identify the blur of an image and remove it, blindly.

    Args:
        array: an image of real numbers in any unit, linear in intensity, such as (H, W) or colour (H, W, 3); both
            sides at least as long as the PSF's.
        axes: a letter for each axis: Y and X, C channels, S colour samples, Z planes, T times; default "YX", or "YXS"
            for a last axis of 3 or 4.
        model: models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID, a folder, or compact, which ships with deepblur;
            default: the registry's champion, and compact where there is none.
        optics: file of a calibrated microscope with trained networks; the image is its whole field.
        psf: the PSF where it is known, an array or a file, (h, w) or the planes of a stack, of which the sharpest
            counts; nothing is identified then, and `report.notes` say what was done to make it ready.
        method: auto, deep-blur, spectral, l0 or goldstein-fattal; auto is a model.
        restorer: auto, deblur, tv, wiener or richardson-lucy.
        cutoff: pupil radius NA / wavelength * pixel size in cycles per pixel, or one for each channel; None reads
            it where the image's spectrum ends, and where that is not clear assumes that of the model, 0.2, and no
            verdict is better than doubtful.
        na: numerical aperture, which with the next two says the cutoff instead.
        wavelength_nm: of the light in vacuum, nanometres, or one for each channel.
        pixel_nm: side of a pixel in the sample, nanometres.
        index: refractive index of the immersion medium, which NA cannot exceed.
        eta: largest aberration to expect, in waves; default 0.15.
        psf_size: side of the PSF in pixels, odd; default 6 / cutoff, 31 at 0.2.
        scale: what counts as black and white, "percentile:LOW,HIGH", "bits:N" or "range:BLACK,WHITE".
        channels: auto, shared (one PSF from the luminance) or each.
        varying: the blur changes over the field: identify and restore tile by tile.
        region: first row, first column, rows and columns of the part where the blur is identified; None: all of it.
        crop: restore the region alone, which is then what comes back.
        mask: pixels that say nothing (saturated, dead, text burnt in), an array (H, W) or a file, not 0 where they do
            not; they are left as they are.
        max_memory_gib: of this process; large images are cut into tiles.
        device: auto, cpu or cuda.
        tracking_uri: of the registry; default: MLFLOW_TRACKING_URI, else the database in the runs folder.
    Returns:
        The restored image in the array's shape (the region's, with `crop`), type and range, its PSF, γ and the report.
    Raises:
        ValueError: an option with a value that makes no sense, or that contradicts another.
        InputError, ModelError: both are ValueErrors of one sentence, see deepblur.platform.system.errors.
    """
    array = np.asarray(array)
    if axes is None:
        axes = "YXS" if array.ndim == 3 and array.shape[-1] in (3, 4) else "YX"
    alpha = array[..., 3:] if axes == "YXS" and array.shape[-1] == 4 else None
    recording = recording_of(array if alpha is None else array[..., :3], axes)
    choice = EngineChoice(
        method=method,
        model=model,
        optics=optics,
        psf=psf,
        restorer=restorer,
        device=device,
        tracking_uri=tracking_uri,
        cutoff=_each(cutoff),
        na=na,
        wavelength_nm=_each(wavelength_nm),
        pixel_nm=pixel_nm,
        index=index,
        eta_waves=eta,
        psf_size=psf_size,
    )
    options = Options(
        scale=scale,
        channels=channels,
        varying=varying,
        region=region,
        crop=crop,
        mask=mask,
        max_memory_gib=max_memory_gib,
    )
    check_together(choice, options)
    engine, note = choose_engine(choice)
    session = Session.of(engine, choice, recording, options, Path(tempfile.gettempdir()))
    frames = np.empty((recording.length, recording.channels, *session.size), recording.dtype)
    for i, frame in enumerate(session.frames()):
        frames[i] = frame
    image = assembled(frames, recording)
    if alpha is not None:
        image = np.concatenate([image, alpha[cut_of(options, recording.size)]], axis=-1)
    report = session.report((note,) if note else (), asked(choice, options, without=("tile",)))
    psfs = [blur.found.psf.numpy() for blur in report.blurs]
    several = len(psfs) > 1
    known = [blur.found.gamma.numpy() for blur in report.judged if blur.found.gamma is not None]
    gamma = None
    if len(known) == len(report.judged):
        nothing = np.full_like(known[0], np.nan)
        gammas = [nothing if blur.found.gamma is None else blur.found.gamma.numpy() for blur in report.blurs]
        gamma = np.stack(gammas) if several else gammas[0]
    shown = Shown.of(recording, frames, report, cut_of(options, recording.size))
    return Restored(image, np.stack(psfs) if several else psfs[0], gamma, report, shown)


def _each(value: float | Iterable[float] | None) -> float | tuple[float, ...] | None:
    """One number, or one for each channel."""
    return tuple(float(one) for one in value) if isinstance(value, Iterable) else value
