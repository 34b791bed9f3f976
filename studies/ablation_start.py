"""What should DN's iteration start from?

Claim    Algorithm 1 of the paper starts from the Tikhonov solution z_0 = R(0). A start from the blurry image leaves the
         first inversion to the second iteration; a start from zero loses the first iteration altogether, because a
         network without biases maps zero to zero.
Measure  PSNR, SSIM and seconds per image of the three starts, in training and in test, each with gamma = IN(y) of one
         IN, on the same held-out draws; paired differences to R(0), Holm over the others.
Cost     quick: some 5 min of one core; not timed on a quiet machine.
Run      python studies/ablation_start.py --preset quick
Outcome  quick (T = 2), 7 photographs, one seed, 2026-11-22, PSNR gain in dB: R(0) +2.97, blurry +2.96, zero +2.76; no
         difference in PSNR is confirmed. In SSIM at the highest noise blurry is ahead of R(0) by 0.0045 [+0.0022,
         +0.0065] and zero by 0.017 [+0.008, +0.030], confirmed: R(0) amplifies what the networks must then remove. Zero
         is a DN of T = 1, as it must be: it is worst without noise (+3.79 against +4.46).
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
