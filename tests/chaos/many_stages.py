"""Does a study of many short stages come to its end, whatever happens to it?

Claim    The same command, typed again, ends with the same bits as an undisturbed run.
Measure  Nothing that anybody should quote of the networks: they are tiny, and trained on dead leaves for seconds.
Cost     quick: 1 min on 2 cores.
Run      python tests/chaos/chaos.py
Outcome  The report that the command above writes.
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
    *, operator: Literal["true", "estimated"], data: Data, seed: int, unroll: int = 1, in_steps: int = 160,
    dn_steps: int = 80,
) -> Arm:  # fmt: skip
    degradation = Degradation(
        operator=ZernikeBlur(noll=(4, 5), psf_size=15),
        eta_waves=0.10,
        noise=NoiseRange(gain=(0.0, 0.01), read_std=(0.0, 0.02)),
        crop_px=32,
    )

    def optimization(steps: int) -> Optimization:
        return Optimization(steps=steps, batch=16, schedule="one_cycle", ema=0.9, validations=8, validation_draws=8)

    identify = Identify(
        train=data.train,
        validation=data.validation,
        degradation=degradation,
        optimization=optimization(in_steps),
        network={"arch": "compact", "widths": (8, 16), "log_spectrum": True, "output_scale": 0.10},
        loss="psf",
        seed=seed,
    )
    deblur = Deblur(
        train=data.train,
        validation=data.validation,
        degradation=degradation,
        optimization=optimization(dn_steps),
        network={"unroll": unroll, "widths": (4, 8), "blocks": 1},
        identify=identify if operator == "estimated" else None,
        seed=seed,
    )
    return Arm(identify=identify, deblur=deblur)


LEVELS = (NoiseLevel("clean", 0.0, 0.0), NoiseLevel("noisy", 0.01, 0.02))
STUDY = Study(
    name="many_stages",
    about=__doc__,
    arm=arm,
    arms={
        "true": {"operator": "true"},
        "estimated": {"operator": "estimated"},
        "deeper": {"operator": "estimated", "unroll": 2},
    },
    contrast=("estimated", "true"),
    presets={
        "quick": Preset(
            seeds=(0, 1, 2),
            grid=Grid(noise=LEVELS, eta_waves=(0.05, 0.10), images=4, draws=2, crop_px=48),
            data="dead-leaves",
        )
    },
)

if __name__ == "__main__":
    STUDY.main()
