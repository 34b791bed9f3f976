"""Does DN restore better when its networks are told how strong the noise is?

Claim    DRUNet was made to be told the noise by a map beside the image; the paper's proximal networks have none, and
         one network serves all noise levels.
Measure  PSNR, SSIM and seconds per image without a map and with one that holds the standard deviation estimated from
         the image, over a wide range of noise, each with gamma = IN(y) of one IN, on the same held-out draws; paired
         differences to the network without a map.
Cost     quick: 8 min of one core of a busy machine.
Run      python studies/ablation_noise_map.py --preset quick
Outcome  quick, 7 photographs, 56 draws, one seed, 2026-11-23: the map helps, +0.149 dB of PSNR [+0.098, +0.196] and
         +0.0151 of SSIM [+0.0072, +0.0228] over all draws, both confirmed (p = 0.016, the least that 7 images allow);
         +0.61 dB [+0.35, +0.92] at the highest noise 0.05, nothing shown without noise and at 0.01.
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
