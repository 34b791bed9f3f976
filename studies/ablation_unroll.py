"""How many unrolled iterations does DN need?

Claim    The paper unrolls T = 4 iterations and does not justify it; each adds a network of its own and its cost.
Measure  PSNR, SSIM and seconds per image of T = 1, 2, 4 and 8 under equal numbers of training steps, each with gamma =
         IN(y) of one IN, on the same held-out draws; paired differences to T = 4, Holm over the others.
Cost     quick: some 7 min of one core without T = 8; not timed on a quiet machine.
Run      python studies/ablation_unroll.py --preset quick
Outcome  quick --arms "T = 4,T = 1,T = 2", 7 photographs, one seed, 2026-11-22, PSNR gain in dB: T = 4 +2.83,
         T = 2 +2.97, T = 1 +2.45. Without noise T = 1 is 0.96 dB worse than T = 4 [-1.90, -0.42] and T = 2 is 0.47 dB
         better [+0.28, +0.70], both confirmed; over all draws nothing is. Another initialisation of T = 1 gives +2.76
         (`ablation_start`, zero), so 0.3 dB may be a seed's luck. T = 8: not run yet.
"""

from typing import Any

from deepblur.platform.study import Arm, Data, Method, Preset, Study, extends
from deepblur.studies.ablation_true_vs_est import FOR_DERIVED
from deepblur.studies.ablation_true_vs_est import STUDY as BASE
from deepblur.studies.compare_methods import STUDY as COMPARISON


@extends(BASE.arm, without=("operator",))
def arm(*, data: Data, seed: int, **training: Any) -> Method:
    """Blind restoration by IN and by a DN trained on true operators, which therefore does not depend on the IN."""
    base = BASE.arm(operator="true", data=data, seed=seed, **training)
    assert isinstance(base, Arm)
    return Method(
        degradation=base.identify.degradation, psf="identify", image="deblur", networks=(base.identify, base.deblur)
    )


PRESETS = {
    name: Preset(
        seeds=(0,) if name == "quick" else preset.seeds,
        grid=COMPARISON.presets[name].grid,
        data=preset.data,
        settings=preset.settings,
    )
    for name, preset in FOR_DERIVED.items()
}

STUDY = Study(
    name="ablation_unroll",
    about=__doc__,
    arm=arm,
    arms={f"T = {unroll}": {"dn_unroll": unroll} for unroll in (4, 1, 2, 8)},
    contrast=("T = 4", "T = 1"),
    presets=PRESETS,
)

if __name__ == "__main__":
    STUDY.main()
