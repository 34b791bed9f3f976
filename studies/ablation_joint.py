"""Are IN and DN better trained together?

Claim    The paper trains IN first and DN afterwards, on IN's estimates, because both at once do not fit into memory; it
         shows no comparison. Together, IN could learn what DN needs, and DN what IN gets wrong.
Measure  PSF SNR, PSNR and SSIM on the same held-out draws, seconds and memory of training, of: sequential training;
         joint training that goes on from the same trained IN, with as many steps and images for DN as the sequential
         arm has; and joint training from nothing, with joint_steps of DN's batches. Paired differences to sequential,
         Holm over the others. Seconds and memory of a training process stand in its curve (train_s, peak_mb).
Cost     quick: minutes on 2 cores; not timed yet.
Run      python studies/ablation_joint.py --preset quick
Outcome  not run yet
"""

from dataclasses import replace
from typing import Any, Literal

from deepblur.platform.methods import Method
from deepblur.platform.sources import Data
from deepblur.platform.stages import Arm, Joint, Training
from deepblur.platform.study import Study, extends
from deepblur.studies.ablation_true_vs_est import STUDY as BASE
from deepblur.studies.ablation_unroll import PRESETS


@extends(BASE.arm, without=("operator",))
def arm(
    *,
    training: Literal["sequential", "joint"],
    pretrained: bool = True,
    joint_steps: int = 300_000,
    joint_weight: float = 0.1,
    data: Data,
    seed: int,
    **settings: Any,
) -> Method:
    """`joint_weight` is that of IN's loss beside DN's; `joint_steps` are those of a joint training from nothing."""
    base = BASE.arm(operator="estimated", data=data, seed=seed, **settings)
    assert isinstance(base, Arm)
    networks: tuple[Training, ...] = (base.identify, base.deblur)
    if training == "joint":
        budget = base.deblur.optimization
        joint = Joint(
            train=data.train,
            validation=data.validation,
            degradation=base.deblur.degradation,
            optimization=budget if pretrained else replace(budget, steps=joint_steps),
            network=base.deblur.network,
            identify=base.identify,
            pretrained=pretrained,
            weight=joint_weight,
            seed=seed,
        )
        networks = (joint,)
    return Method(degradation=base.identify.degradation, psf="identify", image="deblur", networks=networks)


STUDY = Study(
    name="ablation_joint",
    about=__doc__,
    arm=arm,
    arms={
        "sequential": {"training": "sequential"},
        "joint": {"training": "joint"},
        "joint from nothing": {"training": "joint", "pretrained": False},
    },
    contrast=("sequential", "joint"),
    presets={
        name: replace(preset, settings={**preset.settings, "joint_steps": steps})
        for (name, preset), steps in zip(PRESETS.items(), (800, 60_000, 800_000), strict=True)
    },
)

if __name__ == "__main__":
    STUDY.main()
