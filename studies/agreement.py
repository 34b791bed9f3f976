"""Do the parts of one recording tell of one lens?

Claim    None of the paper's. One microscope has one lens, so the parts of one frame, and two exposures of one field,
         must give the same PSF: a measure on real recordings that needs no truth.
Measure  Each method's PSF of one part against that of another, in dB: mean power over that of the difference, a turn
         by 180 degrees allowed, which no spectrum sees. Parts are the quarters of a frame's middle; two exposures,
         whose names differ in _highsnr and _lowsnr; and successive frames, whose names differ in _frame1, _frame2 and
         so on. Beside it the share of coefficients at the bound of the search, and of parts that `deepblur restore`
         would call good, doubtful or poor, had it been told the cutoff. The mean PSF agrees with itself entirely and
         knows nothing: agreement counts only beside accuracy, which `protocol` measures.
Cost     quick: a minute of one core a recording.
Run      python studies/agreement.py --test folder:/my/recordings
Outcome  quick --test folder:..., 14 micrographs, 2026-11-30: quarters agree to 11.3 dB [8.6, 14.4] by compact, 10.1
         [8.5, 12.0] by the likelihood alone; compact - likelihood +1.2 dB [-1.0, +3.8], not shown. At the bound are 2 %
         of compact's coefficients and 7 % of the likelihood's. Compact ranges from 3.2 dB (20x actin) to 20.5;
         its least pair is 0.6 dB. Of the one field with two exposures compact's PSFs agree to 13.7 dB, the likelihood's
         to 14.7. Quarters of whole frames, up to 1024 pixels (--crop 1024 --arms compact): 12.0 dB [9.4, 14.9], least
         1.6. Before dim parts were left out 11.0 [7.9, 14.1] and 8.7 [6.3, 11.2]; before means of PSFs 10.8 and 6.5;
         l0 4.5 [2.6, 6.7]. Verdicts on the parts, good, doubtful and poor: compact 29, 23, 48 %, the likelihood 12,
         45, 43, and before, l0 48, 30, 21, the mean PSF 18, 4, 79. So a verdict is no measure of agreement: l0's parts
         are called good most often and agree least.
"""

from typing import Any

from deepblur.operators import NoiseRange, ZernikeBlur
from deepblur.platform.study import Agreement, Data, Degradation, Method, Preset, RealImages, Study, reference_for

ARMS: dict[str, dict[str, Any]] = {
    "compact": {"psf": "shipped"},
    "spectral": {"psf": "spectral"},
    "l0": {"psf": "l0_gradient"},
    "mean PSF": {"psf": "mean"},
}


def arm(
    *, psf: str, eta_waves: float = 0.15, cutoff: float = 0.2, noll: tuple[int, ...] = (4, 5, 6, 7, 8, 9, 10),
    data: Data, seed: int,
) -> Agreement:  # fmt: skip
    """`eta_waves` is the largest coefficient that a method expects, `cutoff` the pupil's radius in cycles per pixel."""
    operator, noise = ZernikeBlur(noll=noll, cutoff=cutoff), NoiseRange(gain=(0.0, 0.24), read_std=(0.0, 0.12))
    degradation = Degradation(operator=operator, eta_waves=eta_waves, noise=noise, crop_px=256)
    image = "shipped" if psf == "shipped" else "tv"
    return Agreement(method=Method(degradation=degradation, psf=psf, image=image, shipped=reference_for(psf, image)))


STUDY = Study(
    name="agreement",
    about=__doc__,
    arm=arm,
    arms=ARMS,
    contrast=("compact", "spectral"),
    presets={"quick": Preset(seeds=(0,), grid=RealImages(images=16, crop_px=512), test="microscopy")},
)

if __name__ == "__main__":
    STUDY.main()
