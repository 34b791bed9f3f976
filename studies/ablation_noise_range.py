"""Does it cost anything to train for a wide range of noise?

Claim    The paper trains for a wide range of noise and tests from none to its upper end. Networks trained for a narrow
         range should be better inside it and fail beyond.
Measure  PSF SNR, PSNR and SSIM of IN and DN trained for the whole range and for the lower 40 % of it, at every noise
         level of the grid, on the same held-out draws; paired differences to the wide range at every level.
Cost     quick: 8 min of one core of a busy machine.
Run      python studies/ablation_noise_range.py --preset quick
Outcome  quick, 7 photographs, 56 draws, one seed, 2026-11-23, narrow - wide: PSF SNR +0.68 dB [+0.13, +1.29] over all
         draws, SSIM +0.015 [+0.005, +0.025] without noise, both confirmed; PSNR +0.40 dB [-0.35, +0.76] without noise
         and -1.70 dB [-2.19, -1.24] at the noise 0.05 beyond its range, where it is worse than the blurry input; the
         latter confirmed.
"""

from dataclasses import replace
from typing import Any

from deepblur.platform.study import Grid, Method, NoiseLevel, Preset, Study, extends
from deepblur.studies.ablation_true_vs_est import CLEAN
from deepblur.studies.ablation_true_vs_est import STUDY as BASE
from deepblur.studies.ablation_unroll import PRESETS
from deepblur.studies.ablation_unroll import arm as blind


@extends(blind)
def arm(*, narrower: float = 1.0, gain_max: float = 0.05, read_std_max: float = 0.15, **training: Any) -> Method:
    """`narrower` divides both bounds of the noise in training."""
    return blind(gain_max=gain_max / narrower, read_std_max=read_std_max / narrower, **training)


def tested(preset: Preset, noise: tuple[NoiseLevel, ...]) -> Preset:
    assert isinstance(preset.grid, Grid)
    return replace(preset, grid=replace(preset.grid, noise=noise))


LEVELS = (CLEAN, *(NoiseLevel(f"{std:g}", gain=0.0, read_std=std) for std in (0.01, 0.02, 0.05)))
QUICK = tested(PRESETS["quick"], LEVELS)
WIDE = replace(QUICK, settings={**QUICK.settings, "read_std_max": 0.05})
"""The quick preset with more noise, so that the lower 40 % of it are the range of the other studies."""

PAPER = BASE.presets["paper"]
assert isinstance(PAPER.grid, Grid)

STUDY = Study(
    name="ablation_noise_range",
    about=__doc__,
    arm=arm,
    arms={"wide": {"narrower": 1.0}, "narrow": {"narrower": 2.5}},
    contrast=("wide", "narrow"),
    presets={
        "quick": WIDE,
        "standard": tested(PRESETS["standard"], PAPER.grid.noise),
        "paper": tested(PRESETS["paper"], PAPER.grid.noise),
    },
)

if __name__ == "__main__":
    STUDY.main()
