"""How well does one image tell the aberrations that blurred it?

Claim    The paper, section 3.1.1: IN's relative squared error is below 5 % on average without noise (Fig. 4), below
         10 % with probability above one half up to a noise of 0.1 (Fig. 5a), and below 15 % at eta = 0.2 after training
         at 0.15 (Fig. 5b).
Measure  PSF SNR and relative squared error per draw, over noise levels and over eta, for K = 7 (Noll 4-10) and K = 8
         (with primary spherical, Noll 11); beside IN the model that ships, the training-free spectral likelihood, and
         the mean PSF.
Cost     quick: 7 min on 2 cores. standard is meant for one GPU, paper for several; neither has been timed yet.
Run      python studies/identify_zernike.py --preset quick
Outcome  quick, 7 photographs, one seed, 2026-11-22: minutes of training teach IN nothing at K = 7 or 8; its mean PSF
         SNR over all cells is 4.1 and 3.4 dB, that of the mean PSF 4.0 and 3.5. The spectral likelihood reaches 13.8
         and 13.7 dB without noise over all eta (a typical error of 2 % and 1 % at eta 0.15, 3 % and 12 % at 0.2), 7.0
         and 6.8 at a noise of 0.01, and no more than the mean PSF from 0.05 on. The model that ships, 2026-11-27: 15.7
         dB without noise at K = 7, then 10.0, 7.7 and 7.2 at 0.1; 15.3, 10.1, 7.3 and 7.0 at K = 8.
"""

from typing import Any

from deepblur.platform.study import Claim, Grid, NoiseLevel, Preset, Study, paper_claims
from deepblur.studies.ablation_true_vs_est import CLEAN, FOR_DERIVED
from deepblur.studies.loss_space import arm

NOLL = {"K = 7": (4, 5, 6, 7, 8, 9, 10), "K = 8": (4, 5, 6, 7, 8, 9, 10, 11)}
ALPHA = tuple(NoiseLevel(f"{std:g}", gain=0.0, read_std=std) for std in (0.01, 0.05, 0.1))
"""Standard deviations of white noise, as on the axis of Fig. 5a."""


def arms() -> dict[str, dict[str, Any]]:
    sources = {"IN": "identify", "shipped": "shipped", "spectral": "spectral", "mean PSF": "mean"}
    return {f"{name}, {k}": {"psf": psf, "noll": noll} for k, noll in NOLL.items() for name, psf in sources.items()}


def published(preset: str) -> tuple[Claim, ...]:
    keys = ("psf_snr_clean", "mean_error", "error_at_noise", "error_small_eta", "error_large_eta")
    if preset == "quick":
        return paper_claims(*keys, because="small networks trained for minutes")
    return paper_claims(*keys, because="" if preset == "paper" else "other training images and budget")


def grid(images: int, draws: int, crop_px: int) -> Grid:
    return Grid(noise=(CLEAN, *ALPHA), eta_waves=(0.05, 0.10, 0.15, 0.20), images=images, draws=draws, crop_px=crop_px)


BUDGET = FOR_DERIVED["quick"].settings
STUDY = Study(
    name="identify_zernike",
    about=__doc__,
    arm=arm,
    arms=arms(),
    contrast=("IN, K = 7", "mean PSF, K = 7"),
    published=published,
    presets={
        "quick": Preset(
            seeds=(0,),
            grid=grid(images=7, draws=1, crop_px=120),
            settings={**{name: value for name, value in BUDGET.items() if name not in ("noll", "eta_waves")},
                      "in_loss": "twin_psf", "read_std_max": 0.05},
        ),
        "standard": Preset(seeds=(0, 1, 2), grid=grid(32, 2, 128), settings=FOR_DERIVED["standard"].settings),
        "paper": Preset(seeds=(0, 1, 2), data="coco:~/coco", grid=grid(200, 2, 256),
                        settings=FOR_DERIVED["paper"].settings),
    },
)  # fmt: skip

if __name__ == "__main__":
    STUDY.main()
