"""Which loss should IN be trained with?

Claim    In focus, flipping all even orders of gamma leaves the PSF unchanged (the twin), so a squared loss on gamma, as
         in the paper, learns to erase defocus and astigmatism; a loss that knows the twin does not.
Measure  PSF SNR on the fixed grid (noise x eta), paired by image, operator and noise draw, against the mean PSF; the
         restoration by one DN, trained on true operators and shared by all arms, follows from it.
Cost     quick: about 15 min on 2 cores.
Run      python studies/identification_loss.py --preset quick
Outcome  not run yet
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
