"""Does DN restore better when its networks are told how strong the noise is?

Claim    DRUNet was made to be told the noise by a map beside the image; the paper's proximal networks have none, and
         one network serves all noise levels.
Measure  PSNR, SSIM and seconds per image without a map and with one that holds the standard deviation estimated from
         the image, over a wide range of noise, each with gamma = IN(y) of one IN, on the same held-out draws; paired
         differences to the network without a map.
Cost     quick: minutes on 2 cores; not timed yet.
Run      python studies/ablation_noise_map.py --preset quick
Outcome  not run yet
"""

from deepblur.platform.study import Study
from deepblur.studies.ablation_noise_range import WIDE
from deepblur.studies.ablation_unroll import PRESETS, arm

STUDY = Study(
    name="ablation_noise_map",
    about=__doc__,
    arm=arm,
    arms={"no map": {"dn_noise_map": False}, "noise map": {"dn_noise_map": True}},
    contrast=("no map", "noise map"),
    presets={**PRESETS, "quick": WIDE},
)

if __name__ == "__main__":
    STUDY.main()
