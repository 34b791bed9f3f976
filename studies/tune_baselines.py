"""What do the handcrafted methods reach when they are tuned as carefully as a network is trained?

Claim    None of the paper's, which tuned its rivals by hand for each noise level.
Measure  Mean PSNR gain over the blurry input on validation images at one noise level; trial 0 is the published
         defaults, the others are Optuna's (TPE), as many for every method. Non-blind restorations are tuned with the
         true PSF, and again with the mean PSF, which asks for less strength.
Cost     quick: 12 min on 2 cores, nearly all of it Goldstein-Fattal's.
Run      python studies/tune_baselines.py --preset quick
         The last lines name the file of tuned settings, which studies/compare_methods.py takes with
         --set tuned_file=FILE. The file beside the studies is the one of the quick preset.
Outcome  quick, 3 photographs, 12 trials each, 2026-11-22, dB at no, low and high noise, defaults -> tuned: l0 -1.6 ->
         -0.7, -2.3 -> +0.3, -5.3 -> +1.3; Goldstein-Fattal -1.3 -> +1.2, -2.4 -> +1.5, -5.4 -> +1.9. The rules by which
         TV, Wiener and Richardson-Lucy follow the noise leave little to tune (up to +0.1 dB with noise, +1.4 without).
"""

from typing import Any

from deepblur.baselines import RESTORERS
from deepblur.platform.study import Arm, Between, Data, Grid, Method, OneOf, Preset, Study, Tuning, extends
from deepblur.studies.ablation_true_vs_est import STUDY as BASE
from deepblur.studies.compare_methods import STUDY as COMPARISON

SPACES: dict[str, dict[str, Between | OneOf]] = {
    "l0_gradient": {
        "lam": Between(1e-3, 3e-2, log=True),
        "lam_min": Between(1e-3, 5e-2, log=True),
        "gamma": Between(1.0, 200.0, log=True),
        "kernel_step": OneOf(("iterative", "basic")),
        "tv_weight": Between(5e-4, 5e-2, log=True),
    },
    "goldstein_fattal": {
        "alpha": Between(1.5, 3.0),
        "median": OneOf((True, False)),
        "tv_weight": Between(100.0, 30_000.0, log=True),
    },
    "wiener": {"relative": Between(0.01, 100.0, log=True)},
    "richardson_lucy": {"relative": Between(0.1, 10.0, log=True)},
    "tv": {"relative": Between(0.01, 100.0, log=True)},
}


@extends(BASE.arm, without=("operator",))
def arm(*, method: str, psf: str, trials: int = 40, data: Data, seed: int, **training: Any) -> Tuning:
    base = BASE.arm(operator="true", data=data, seed=seed, **training)
    assert isinstance(base, Arm)
    tried = Method(degradation=base.identify.degradation, psf=psf, image="own" if psf == method else method)
    return Tuning(method=tried, space=SPACES[method], trials=trials)


def grid(like: Grid, images: int, draws: int) -> Grid:
    """The comparison's noise levels, on draws of other images."""
    return Grid(
        noise=like.noise, eta_waves=like.eta_waves[-1:], images=images, draws=draws, crop_px=like.crop_px, seed=1
    )


def preset(name: str, images: int, draws: int, trials: int) -> Preset:
    compared = COMPARISON.presets[name]
    assert isinstance(compared.grid, Grid)
    settings = {key: value for key, value in compared.settings.items() if not key.startswith("nafnet")}
    return Preset(seeds=(0,), grid=grid(compared.grid, images, draws), data=compared.data,
                  settings={**settings, "trials": trials})  # fmt: skip


STUDY = Study(
    name="tune_baselines",
    about=__doc__,
    arm=arm,
    arms={
        **{name: {"method": name, "psf": name} for name in ("l0_gradient", "goldstein_fattal")},
        **{name: {"method": name, "psf": "true"} for name in RESTORERS},
        **{f"{name} mean": {"method": name, "psf": "mean"} for name in RESTORERS},
    },
    contrast=("l0_gradient", "goldstein_fattal"),
    presets={
        "quick": preset("quick", images=3, draws=1, trials=12),
        "standard": preset("standard", images=16, draws=1, trials=40),
        "paper": preset("paper", images=64, draws=1, trials=100),
    },
)

if __name__ == "__main__":
    STUDY.main()
