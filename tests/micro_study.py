"""Does the machinery hold?

Claim    A study small enough for a test: two modes, tiny networks, dead leaves.
Measure  Nothing that anybody should quote.
"""

from typing import Literal

from deepblur.operators import NoiseRange, ZernikeBlur
from deepblur.platform.study import (
    Arm,
    Data,
    Deblur,
    Degradation,
    Grid,
    Identify,
    NoiseLevel,
    Optimization,
    Preset,
    Study,
)


def arm(
    *,
    operator: Literal["true", "estimated"],
    data: Data,
    seed: int,
    eta_waves: float = 0.10,
    in_steps: int = 12,
    dn_steps: int = 6,
    batch: int = 16,
    lr: float = 1e-3,
    ema: float | None = None,
) -> Arm:
    degradation = Degradation(
        operator=ZernikeBlur(noll=(4, 5), psf_size=15),
        eta_waves=eta_waves,
        noise=NoiseRange(gain=(0.0, 0.01), read_std=(0.0, 0.02)),
        crop_px=32,
    )

    def optimization(steps: int) -> Optimization:
        return Optimization(
            steps=steps, batch=batch, lr=lr, schedule="one_cycle", ema=ema, validations=3, validation_draws=8
        )

    identify = Identify(
        train=data.train,
        validation=data.validation,
        degradation=degradation,
        optimization=optimization(in_steps),
        network={"arch": "compact", "widths": (8, 16), "log_spectrum": True, "output_scale": eta_waves},
        loss="psf",
        seed=seed,
    )
    deblur = Deblur(
        train=data.train,
        validation=data.validation,
        degradation=degradation,
        optimization=optimization(dn_steps),
        network={"unroll": 1, "widths": (4, 8), "blocks": 1},
        identify=identify if operator == "estimated" else None,
        seed=seed,
    )
    return Arm(identify=identify, deblur=deblur)


STUDY = Study(
    name="micro_study",
    about=__doc__,
    arm=arm,
    arms={"true": {"operator": "true"}, "estimated": {"operator": "estimated"}},
    contrast=("estimated", "true"),
    presets={
        "quick": Preset(
            seeds=(0,),
            grid=Grid(noise=(NoiseLevel("clean", 0.0, 0.0),), eta_waves=(0.05, 0.10), images=2, draws=2, crop_px=48),
        )
    },
)

if __name__ == "__main__":
    STUDY.main()
