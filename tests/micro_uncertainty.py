"""Does it know?

Claim    A study of uncertainties small enough for a test.
Measure  Nothing that anybody should quote.
"""

from typing import Any

from micro_study import STUDY as BASE

from deepblur.platform.study import Answer, Data, Grid, NoiseLevel, Preset, Study, Uncertainty, extends


@extends(BASE.arm, without=("operator",))
def arm(*, answer: Answer, members: int = 1, data: Data, seed: int, **training: Any) -> Uncertainty:
    built = [BASE.arm(operator="true", data=data, seed=seed + i, **training) for i in range(members)]
    return Uncertainty(answer=answer, members=tuple(part.identify for part in built))


STUDY = Study(
    name="micro_uncertainty",
    about=__doc__,
    arm=arm,
    arms={
        "constant": {"answer": "constant"},
        "views + floor": {"answer": "views + floor"},
        "ensemble": {"answer": "ensemble", "members": 2},
    },
    contrast=("constant", "views + floor"),
    presets={
        "quick": Preset(
            seeds=(0,),
            grid=Grid(
                noise=(NoiseLevel("clean", 0.0, 0.0), NoiseLevel("loud", 0.0, 0.2)),
                eta_waves=(0.10,),
                images=2,
                draws=2,
                crop_px=40,
            ),
            settings={"in_steps": 3},
        )
    },
)

if __name__ == "__main__":
    STUDY.main()
