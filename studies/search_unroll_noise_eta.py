"""Which depth of unrolling, noise range and PSF complexity restore best, and at what cost?

Claim    A search that learns from its trials finds a better configuration than random search with as many trials, and
         one that beats the defaults on images that the search has not seen.
Measure  PSNR gain of blind restoration over the blurry input, against operations per crop, on one fixed grid (noise x
         eta) of validation images, whatever noise and eta a trial was trained on; then best against default on the test
         images, paired by image, operator and noise draw.
Cost     quick, 24 trials of each sampler: 25 min on 2 cores that a benchmark and a test suite shared, two kills of the
         driver included; 26 and 32 core-minutes of stages, had each sampler run alone.
Run      python studies/search_unroll_noise_eta.py --preset quick --trials 24
Outcome  quick, one seed, 7 photographs, 2026-11-23: no sampler can be called better; random search found 1.58 dB on the
         validation grid at 0.47 GMAC, TPE 1.28 dB at 1.70 GMAC, the defaults have 0.32 dB at 0.71 GMAC. TPE's best
         against the defaults on the test images: +0.43 dB [-0.62, +2.02], p = 0.59, no difference shown; its IN,
         trained at eta 0.15, is worse by 3.8 dB of PSF SNR [-5.2, -2.2]. The learning rate of DN matters most (48 % of
         the variance, fANOVA). ASHA pruned 12 of 24 trials of TPE and 7 of random search; sharing stages saved 45 and
         42 % of the compute. standard and paper: not run yet.
"""

from dataclasses import replace
from typing import Any

from deepblur.platform.study import Between, Data, Grid, OneOf, Preset, Pruner, Sampler, Search, Study, extends
from deepblur.studies.ablation_true_vs_est import FOR_DERIVED
from deepblur.studies.ablation_true_vs_est import STUDY as BASE

QUICK: dict[str, Between | OneOf] = {  # what IN depends on has few values, so that trials share what they train
    "eta_waves": OneOf((0.05, 0.10, 0.15)),
    "read_std_max": OneOf((0.01, 0.02, 0.05)),
    "dn_unroll": Between(1, 8, integer=True),
    "dn_shared": OneOf((False, True)),
    "dn_widths": OneOf(((8, 16), (16, 32))),
    "dn_learn_lam": OneOf((False, True)),
    "dn_lam": Between(1e-3, 0.3, log=True, when={"dn_learn_lam": False}),
    "dn_lr": Between(3e-4, 1e-2, log=True),
}
FULL: dict[str, Between | OneOf] = {
    "eta_waves": Between(0.05, 0.20, step=0.05),
    "gain_max": OneOf((0.0, 0.01, 0.05)),
    "read_std_max": OneOf((0.02, 0.05, 0.15)),
    "in_loss": OneOf(("psf", "twin", "half_space", "twin_psf")),
    "in_lr": OneOf((3e-4, 1e-3, 3e-3)),
    "dn_unroll": Between(1, 8, integer=True),
    "dn_shared": OneOf((False, True)),
    "dn_widths": OneOf(((16, 32, 64), (32, 64, 128), (32, 64, 128, 256))),
    "dn_learn_lam": OneOf((False, True)),
    "dn_lam": Between(1e-3, 0.3, log=True, when={"dn_learn_lam": False}),
    "dn_lr": Between(1e-4, 3e-3, log=True),
}


@extends(BASE.arm, without=("operator",))
def arm(
    *,
    sampler: Sampler,
    data: Data,
    seed: int,
    trials: int = 24,
    concurrent: int | None = None,
    objectives: tuple[str, ...] = ("psnr_gain_db", "gmacs"),
    pruner: Pruner = "asha",
    startup: int = 8,
    warm_start: str = "",
    full_space: bool = True,
    **training: Any,
) -> Search:
    return Search(
        base=BASE,
        arm="true",
        settings=training,
        space=FULL if full_space else QUICK,
        objectives=objectives,
        sampler=sampler,
        pruner=pruner,
        trials=trials,
        concurrent=concurrent,
        startup=startup,
        warm_start=warm_start,
        data=data,
        seed=seed,
    )


def _preset(name: str, **changes: Any) -> Preset:
    preset = FOR_DERIVED[name]
    return replace(preset, seeds=preset.seeds[:1], settings={**preset.settings, "validations": 9, **changes})


def _quick() -> Preset:
    """Fewer steps and draws than elsewhere: many trials have to fit into minutes."""
    preset = _preset("quick", full_space=False, in_steps=300, dn_steps=80, dn_batch=8)
    assert isinstance(preset.grid, Grid)
    return replace(preset, grid=replace(preset.grid, draws=1))


STUDY = Study(
    name="search_unroll_noise_eta",
    about=__doc__,
    arm=arm,
    arms={"tpe": {"sampler": "tpe"}, "random": {"sampler": "random"}},
    contrast=("tpe", "random"),
    presets={
        "quick": _quick(),
        "standard": _preset("standard"),
        "paper": _preset("paper"),
    },
)

if __name__ == "__main__":
    STUDY.main()
