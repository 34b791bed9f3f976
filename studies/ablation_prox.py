"""Does each iteration of DN need a proximal network of its own?

Claim    The paper trains a network per iteration, four times the parameters of one that serves them all.
Measure  PSNR, SSIM and seconds per image of one network per iteration and of a shared one at equal T = 4, widths and
         training steps, each with gamma = IN(y) of one IN, on the same held-out draws; paired differences.
Cost     quick: not run yet
Run      python studies/ablation_prox.py --preset quick
Outcome  not run yet
"""

from deepblur.platform.study import Study
from deepblur.studies.ablation_unroll import PRESETS, arm

STUDY = Study(
    name="ablation_prox",
    about=__doc__,
    arm=arm,
    arms={
        "one per iteration": {"dn_unroll": 4},
        "shared": {"dn_unroll": 4, "dn_shared": True},
    },
    contrast=("one per iteration", "shared"),
    presets=PRESETS,
)

if __name__ == "__main__":
    STUDY.main()
