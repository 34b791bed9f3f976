"""How many unrolled iterations does DN need?

Claim    The paper unrolls T = 4 iterations and does not justify it; each adds a network of its own and its cost.
Measure  PSNR, SSIM and seconds per image of T = 1, 2, 4 and 8 under equal numbers of training steps, each with gamma =
         IN(y) of one IN, on the same held-out draws; paired differences to T = 4, Holm over the others.
Cost     quick: not run yet
Run      python studies/ablation_unroll.py --preset quick
Outcome  not run yet
"""

from typing import Any

from deepblur.platform.methods import Method
from deepblur.platform.sources import Data
from deepblur.platform.stages import Arm
from deepblur.platform.study import Preset, Study, extends
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
    for name, preset in BASE.presets.items()
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
