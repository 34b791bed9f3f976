"""What should DN's iteration start from?

Claim    Algorithm 1 of the paper starts from the Tikhonov solution z_0 = R(0). A start from the blurry image leaves the
         first inversion to the second iteration; a start from zero loses the first iteration altogether, because a
         network without biases maps zero to zero.
Measure  PSNR, SSIM and seconds per image of the three starts, in training and in test, each with gamma = IN(y) of one
         IN, on the same held-out draws; paired differences to R(0), Holm over the others.
Cost     quick: not run yet
Run      python studies/ablation_start.py --preset quick
Outcome  not run yet
"""

from deepblur.platform.study import Study
from deepblur.studies.ablation_unroll import PRESETS, arm

STUDY = Study(
    name="ablation_start",
    about=__doc__,
    arm=arm,
    arms={name: {"dn_start": start} for name, start in {"R(0)": "inverse", "blurry": "blurry", "zero": "zero"}.items()},
    contrast=("R(0)", "blurry"),
    presets=PRESETS,
)

if __name__ == "__main__":
    STUDY.main()
