"""Which loss should IN be trained with?

Claim    In focus, flipping all even orders of gamma leaves the PSF unchanged (the twin), so a squared loss on gamma, as
         in the paper, learns to erase defocus and astigmatism; a loss that knows the twin does not.
Measure  PSF SNR on the fixed grid (noise x eta), paired by image, operator and noise draw, against the mean PSF; the
         restoration by one DN, trained on true operators and shared by all arms, follows from it.
Cost     quick: 10 min a seed on 2 cores.
Run      python studies/identification_loss.py --preset quick
Outcome  quick --seeds 0, 7 photographs, 2026-11-22, PSF SNR at the trained eta 0.10 in dB (mean PSF 12.9): gamma 8.7,
         half_space 13.1, twin 13.8, twin_psf 14.7, psf 15.7. gamma learns nothing: its estimate is close to zero. At
         eta 0.05 the order turns round (psf 15.6, twin_psf 20.2, half_space 22.0), and guessing no aberration at all,
         which is what gamma does, scores 21.1. One seed; the contrast's restorations do not differ (psf - gamma =
         -0.10 dB of PSNR [-0.49, +0.15]). The default stays psf, best where it was trained.
"""

from deepblur.platform.study import Study
from deepblur.studies.ablation_true_vs_est import STUDY as BASE

STUDY = Study(
    name="identification_loss",
    about=__doc__,
    arm=BASE.arm,
    arms={loss: {"operator": "true", "in_loss": loss} for loss in ("gamma", "twin", "psf", "half_space", "twin_psf")},
    contrast=("psf", "gamma"),
    presets=BASE.presets,
)

if __name__ == "__main__":
    STUDY.main()
