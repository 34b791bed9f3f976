"""Does IN know when it is wrong?

Claim    None of the paper's, which states no uncertainty. A stated deviation of each coefficient that is right in size
         and larger where the error is larger can be had without another network: from how much IN contradicts itself
         on turned, flipped and shifted views of the same image.
Measure  -log likelihood, coverage at 50, 68, 90 and 95 %, calibration error and rank correlation with the error
         (towards the nearer twin), on test draws within the trained range and beyond it (more noise, larger eta), of:
         one constant per coefficient; the spread over views; the same with a fitted floor; the spread over three INs of
         other seeds, without and with a floor; a head on summary statistics. Each is fitted on one half of the
         validation draws and scaled by one temperature on the other half. Reliability diagram and risk-coverage curve
         in the report.
Cost     quick: 4 min on 2 quiet cores, most of it the training of three INs.
Run      python studies/uncertainty.py --preset quick
Outcome  quick, 168 test draws within the trained range, 2026-11-26: no. -log likelihood of constant 2.87, views +
         floor 2.91 (difference +0.04 [-0.01, +0.08]), ensemble of three + floor 2.79 (-0.08 [-0.19, +0.03]), head 3.00
         (+0.13 [+0.00, +0.32]); bare spreads have the wrong shape whatever their scale (views 3.72, ensemble 4.63).
         Stated and actual error correlate by 0.16 at best: an IN trained for minutes errs by 0.041 of 0.10 waves and
         repeats its errors on every view. The ensemble's mean errs less (0.036), at three times the cost. At nominally
         90 % views + floor covers 92 %, and 77 % beyond the trained range, where 55 % of the draws are flagged; it is
         the default of `identify`, because it needs one network and falls back to the constant. Recorded in the MLflow
         experiment of this name, run "uncertainty quick".
"""

from dataclasses import replace
from typing import Any

from deepblur.platform.study import Answer, Arm, Data, Grid, NoiseLevel, Preset, Study, Uncertainty, extends
from deepblur.studies.ablation_true_vs_est import FOR_DERIVED
from deepblur.studies.ablation_true_vs_est import STUDY as BASE


@extends(BASE.arm, without=("operator",))
def arm(*, answer: Answer, members: int = 1, data: Data, seed: int, **training: Any) -> Uncertainty:
    """`members` is the number of INs; the first is the one that the other answers ask."""

    def member(number: int) -> Arm:
        built = BASE.arm(operator="true", data=data, seed=number, **training)
        assert isinstance(built, Arm)
        return built

    numbers = [seed + 1000 * i for i in range(members)]
    return Uncertainty(answer=answer, members=tuple(member(number).identify for number in numbers))


def grid(preset: str, draws: int, beyond: NoiseLevel, eta_waves: tuple[float, ...]) -> Grid:
    """That of the base study, with a noise level and an η that the networks have not seen."""
    known = FOR_DERIVED[preset].grid
    assert isinstance(known, Grid)
    return replace(known, noise=(*known.noise, beyond), eta_waves=eta_waves, draws=draws)


def preset(name: str, given: Grid, **changes: Any) -> Preset:
    base = FOR_DERIVED[name]
    return Preset(seeds=(0,), grid=given, data=base.data, settings={**base.settings, **changes})


BEYOND = NoiseLevel("beyond", gain=0.0, read_std=0.05)
FAR_BEYOND = NoiseLevel("beyond", gain=0.1, read_std=0.25)
STUDY = Study(
    name="uncertainty",
    about=__doc__,
    arm=arm,
    arms={
        "constant": {"answer": "constant"},
        "views": {"answer": "views"},
        "views + floor": {"answer": "views + floor"},
        "ensemble": {"answer": "ensemble", "members": 3},
        "ensemble + floor": {"answer": "ensemble + floor", "members": 3},
        "head": {"answer": "head"},
    },
    contrast=("constant", "views + floor"),
    presets={
        # three INs in the time of other studies' one or two: half the steps
        "quick": preset("quick", grid("quick", 4, BEYOND, (0.05, 0.10, 0.15)), in_steps=400),
        "standard": preset("standard", grid("standard", 4, FAR_BEYOND, (0.05, 0.10, 0.15, 0.20))),
        "paper": preset("paper", grid("paper", 4, FAR_BEYOND, (0.05, 0.10, 0.15, 0.20))),
    },
)  # fmt: skip

if __name__ == "__main__":
    STUDY.main()
