"""What if a method takes its process down?

Claim    It costs its own rows only.
Measure  Nothing that anybody should quote.
"""

from micro_comparison import STUDY as BASE

from deepblur.platform.study import Grid, Preset, Study

STUDY = Study(
    name="slow_comparison",
    about=__doc__,
    arm=BASE.arm,
    arms={
        "blurry": {"psf": "none", "image": "blurry"},
        "slow": {"psf": "goldstein_fattal", "image": "own", "settings": (("inner", 1_000_000),)},
    },
    contrast=("blurry", "slow"),
    presets={
        "quick": Preset(
            seeds=(0,),
            grid=Grid(noise=BASE.presets["quick"].grid.noise[:1], eta_waves=(0.1,), images=1, draws=1, crop_px=48),
        )
    },
)

if __name__ == "__main__":
    STUDY.main()
