"""Does each iteration of DN need a proximal network of its own?

Claim    The paper trains a network per iteration, four times the parameters of one that serves them all.
Measure  PSNR, SSIM and seconds per image of one network per iteration and of a shared one at equal T = 4, widths and
         training steps, each with gamma = IN(y) of one IN, on the same held-out draws; paired differences.
Cost     quick: some 7 min of one core; not timed on a quiet machine.
Run      python studies/ablation_prox.py --preset quick
Outcome  quick, 7 photographs, one seed, 2026-11-22, 128,128 parameters against 32,032: no difference shown over all
         draws, shared - distinct = +0.08 dB of PSNR [-0.30, +0.41], SSIM -0.007 [-0.020, +0.003]. Shared is better
         without noise, +0.51 dB [+0.30, +0.71], and worse in SSIM at the highest, -0.029 [-0.048, -0.016], both with
         p = 0.016 for one training seed each; seeds alone may move PSNR by 0.3 dB (`ablation_unroll`).
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
