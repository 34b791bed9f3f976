"""Are IN and DN better trained together?

Claim    The paper trains IN first and DN afterwards, on IN's estimates, because both at once do not fit into memory; it
         shows no comparison. Together, IN could learn what DN needs, and DN what IN gets wrong.
Measure  PSF SNR, PSNR and SSIM on the same held-out draws, seconds and memory of training, of: sequential training;
         joint training that goes on from the same trained IN, with as many steps and images for DN as the sequential
         arm has; and joint training from nothing, with joint_steps of DN's batches. Paired differences to sequential,
         Holm over the others. Seconds and memory of a training process stand in its curve (train_s, peak_mb).
Cost     quick: about 20 min on 2 quiet cores, most of it joint training from nothing (an estimate from its steps).
Run      python studies/ablation_joint.py --preset quick
Outcome  quick, one seed, 7 photographs, 42 draws, 2026-11-23 (--local): joint - sequential = -0.09 dB of PSNR [-0.27,
         +0.08], PSF SNR -0.4 dB [-1.1, +0.2]: nothing gained over all draws; without noise joint is worse by 0.38 dB
         [-0.66, -0.14], confirmed after Holm, at high noise better in SSIM by 0.016 [+0.007, +0.029], confirmed. From
         nothing +0.00 dB [-0.90, +0.58], PSF SNR -1.1 dB [-2.7, +0.6], for four times the steps of DN. Memory and
         seconds are not told by that run, whose stages shared one process on a busy machine; run it with Ray for them.
"""

from dataclasses import replace
from typing import Any, Literal

from deepblur.platform.study import Arm, Data, Joint, Method, Study, Training, extends
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
