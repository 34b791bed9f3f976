"""What do the methods make of real microscopy, where nobody knows the truth?

Claim    The paper, Fig. 9: real images come out denoised and with better contrast; judged by eye, there is no truth.
Measure  Side by side, every blind method's restoration, PSF and re-blur residual; the residual's whiteness says whether
         image and PSF together explain the data. No PSNR, no SSIM: a truth would have to be invented.
Cost     quick: 4 min on 2 cores for 14 images.
Run      python studies/real_microscopy.py --preset quick
Outcome  quick --test folder:... with 14 microscopy images, 2026-11-22, whiteness of the residual (0 is white): spectral
         0.057, mean PSF + TV 0.063, IN + TV 0.064, l0 0.065, deep-blur 0.071, Goldstein-Fattal 0.195; no difference is
         confirmed after Holm. None is white: no method explains these data entirely. The model that ships, on the same
         images, 2026-11-27: 0.067, its PSF with TV 0.063.
"""

from deepblur.platform.study import Preset, RealImages, Study
from deepblur.studies.compare_methods import ARMS
from deepblur.studies.compare_methods import STUDY as COMPARISON

BLIND = {name: keywords for name, keywords in ARMS.items() if keywords["psf"] != "true" and "tuned" not in keywords}
"""Tuned settings go by the noise level, which nobody states of a real image."""

STUDY = Study(
    name="real_microscopy",
    about=__doc__,
    arm=COMPARISON.arm,
    arms=BLIND | {"IN + TV": {"psf": "identify", "image": "tv"}, "mean + TV": {"psf": "mean", "image": "tv"}},
    contrast=("deep-blur", "blurry"),
    presets={
        name: Preset(seeds=preset.seeds[:1], grid=RealImages(images=16, crop_px=256), data=preset.data,
                     test="microscopy", settings=preset.settings)
        for name, preset in COMPARISON.presets.items()
    },
)  # fmt: skip

if __name__ == "__main__":
    STUDY.main()
