"""Does a search hold?

Claim    A search small enough for a test.
Measure  Nothing that anybody should quote.
"""

from dataclasses import replace
from typing import Any

from micro_study import STUDY as BASE

from deepblur.platform.study import Between, Data, OneOf, Pruner, Sampler, Search, Study, extends

SPACE = {
    "in_steps": OneOf((6, 12)),
    "dn_steps": Between(3, 9, integer=True),
    "lr": Between(1e-4, 1e-1, log=True, when={"in_steps": 12}),
}


@extends(BASE.arm, without=("operator",))
def arm(
    *,
    sampler: Sampler,
    data: Data,
    seed: int,
    trials: int = 6,
    concurrent: int | None = None,
    objectives: tuple[str, ...] = ("psnr_gain_db", "parameters"),
    pruner: Pruner = "median",
    startup: int = 2,
    warm_start: str = "",
    **training: Any,
) -> Search:
    return Search(
        base=BASE,
        arm="true",
        settings=training,
        space=SPACE,
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


STUDY = Study(
    name="micro_search",
    about=__doc__,
    arm=arm,
    arms={name: {"sampler": name} for name in ("tpe", "random", "nsga2", "gp")},
    contrast=("tpe", "random"),
    presets={"quick": replace(BASE.presets["quick"], settings={})},
)

if __name__ == "__main__":
    STUDY.main()
