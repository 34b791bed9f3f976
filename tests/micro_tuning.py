"""What is best?

Claim    A tuning small enough for a test.
Measure  Nothing that anybody should quote.
"""

from micro_comparison import LEVELS
from micro_comparison import STUDY as COMPARISON

from deepblur.platform.study import Between, Data, Grid, Method, Preset, Study, Tuning

SPACES = {
    "wiener": {"balance": Between(1e-5, 1.0, log=True)},
    "richardson_lucy": {"iterations": Between(1, 30, integer=True)},
}


def arm(*, method: str, data: Data, seed: int, trials: int = 4) -> Tuning:
    degradation = COMPARISON.build("Wiener", settings={}, data=data, seed=seed).degradation
    return Tuning(method=Method(degradation=degradation, psf="true", image=method), space=SPACES[method], trials=trials)


STUDY = Study(
    name="micro_tuning",
    about=__doc__,
    arm=arm,
    arms={name: {"method": name} for name in SPACES},
    contrast=("wiener", "richardson_lucy"),
    presets={"quick": Preset(seeds=(0,), grid=Grid(noise=LEVELS, eta_waves=(0.1,), images=1, draws=1, crop_px=48))},
)

if __name__ == "__main__":
    STUDY.main()
