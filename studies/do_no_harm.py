"""Does it leave an image alone whose lens has no aberrations?

Claim    Images of an ideal lens come out no worse: the aberrations that are found stay below 1/14 wave (Marechal's
         criterion), PSNR does not fall, and at high frequencies a method adds less than the noise did.
Measure  Images blurred by the ideal lens alone (eta = 0), noise none, white of 0.01 and 0.05. Wavefront error: as the
         truth is gamma = 0, the root mean square of what was found. PSNR gain, which must not be negative. Invented
         texture: the root mean square, full scale 1, of what a restored image has from half the cutoff on and no fading
         of the sharp image explains; of the blurry image it is the noise. Methods expect up to 0.20 waves.
Cost     quick: 3 min of one core.
Run      python studies/do_no_harm.py --preset quick
         python studies/do_no_harm.py --test folder:MICROGRAPHS --crop 192 --images 13
Outcome  quick, 2026-11-30, compact, no noise / 0.01 / 0.05. On 7 photographs PSNR gains +1.36 [-2.89, +4.81] / +3.92
         [+2.90, +4.93] / +4.32 dB [+1.89, +8.12], on 13 micrographs of sources that nothing was trained on +2.81
         [+0.72, +4.89] / +4.43 [+3.24, +5.45] / +10.24 [+9.42, +11.05]. Texture that it invents on micrographs: 0.003
         [0.003, 0.004], the noise of the blurry image over all three 0.019. Wavefront error on micrographs 0.094 /
         0.068 / 0.121 waves, 1/14 being 0.071. So it does no harm where there is noise, and to micrographs without;
         that it does none to noiseless photographs is not shown, and the aberrations that it finds are not there. The
         likelihood alone with TV does harm: -1.42 dB to the photographs and -3.43 to the micrographs. Photographs again
         after identification left out dim parts: compact +1.01 [-2.95, +3.87] / +3.81 / +4.23, no different.
"""

import torch
from torch import Tensor

from deepblur.platform.study import Grid, Metric, Preset, Study
from deepblur.studies.identify_zernike import NOLL
from deepblur.studies.protocol import LEVELS, WAYS, arm

FROM = 0.2
"""Cycles per pixel: half of what the lens of `protocol` transmits."""


def invented_texture(restored: Tensor, sharp: Tensor) -> float:
    """Root mean square of what a restored image (H, W) has above `FROM` and no fading of the sharp image explains.

    On every ring of frequencies the spectrum is held against a times that of the sharp image, by least squares with
    0 <= a <= 1; the rest is what was invented: texture that does not correlate with the truth, and contrast beyond it.

    Source: without the bounds on a, the rest is the noise of the spectral signal-to-noise ratio of Unser, Trus and
        Steven, Ultramicroscopy 23, 1987, (1 - FRC^2) times the power, FRC being the Fourier ring correlation.
    """
    h, w = sharp.shape
    window = torch.outer(*(torch.hann_window(n, periodic=False, dtype=torch.float64) for n in (h, w)))
    found, true = (torch.fft.fft2((image.double() - image.double().mean()) * window) for image in (restored, sharp))
    radius = torch.hypot(torch.fft.fftfreq(h)[:, None], torch.fft.fftfreq(w))
    high = radius > FROM
    ring = (radius[high] * max(h, w)).round().long()

    def sums(values: Tensor) -> Tensor:
        return torch.bincount(ring, values[high])

    power, shared = sums(true.abs().square()), sums((found * true.conj()).real)
    kept = (shared / power.clamp_min(torch.finfo(power.dtype).tiny)).clamp(0, 1)
    rest = sums(found.abs().square()) - 2 * kept * shared + kept.square() * power
    return float((rest.sum() / (h * w * window.square().sum())).clamp_min(0).sqrt())


def grid(images: int, crop_px: int) -> Grid:
    return Grid(noise=LEVELS[:3], eta_waves=(0.0,), images=images, draws=1, crop_px=crop_px)


STUDY = Study(
    name="do_no_harm",
    about=__doc__,
    arm=arm,
    arms={
        name: {"psf": psf, "image": image, "noll": NOLL["K = 7"]}
        for name, (psf, image) in WAYS.items()
        if name != "true + compact"
    },
    contrast=("compact", "blurry"),
    metrics=(Metric(invented_texture, label="invented texture", decimals=4, higher_is_better=False),),
    presets={"quick": Preset(seeds=(0,), grid=grid(images=7, crop_px=120))},
)

if __name__ == "__main__":
    STUDY.main()
