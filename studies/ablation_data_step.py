"""Is the closed form good enough for DN's data step, and how many conjugate-gradient iterations replace it?

Claim    The paper inverts by 20 iterations of conjugate gradient. With one PSF per image the closed form on a torus,
         after the data have been extended smoothly by half a PSF, is exact and cheaper, but believes in that extension.
Measure  PSNR, SSIM and seconds per image of the closed form and of 2, 5 and 20 iterations, in training and in test,
         each with gamma = IN(y) of one IN, on the same held-out draws; paired differences to the closed form, Holm over
         the others. Conjugate gradient restores the larger scene that a valid blur sees, and DN's networks see that.
Cost     quick: minutes on 2 cores; not timed yet.
Run      python studies/ablation_data_step.py --preset quick
Outcome  not run yet
"""

from deepblur.platform.study import Study
from deepblur.studies.ablation_unroll import PRESETS, arm

STUDY = Study(
    name="ablation_data_step",
    about=__doc__,
    arm=arm,
    arms={
        "closed form": {"dn_data_step": "closed_form"},
        **{f"CG, {n}": {"dn_data_step": "cg", "dn_cg_iterations": n} for n in (2, 5, 20)},
    },
    contrast=("closed form", "CG, 20"),
    presets=PRESETS,
)

if __name__ == "__main__":
    STUDY.main()
