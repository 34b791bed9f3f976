"""Does it matter what the image shows?

Claim    None of the paper's. Identification reads the blur off edges and texture, so smooth images should be harder.
Measure  PSF error and restoration gain of each method per COCO category of the image and per bin of local standard
         deviation and of edge density of the sharp crop, with intervals and counts.
Cost     quick: see Outcome, on 2 cores. Categories need `--data coco:ROOT`; the photographs have none.
Run      python studies/content.py --preset quick
Outcome  not run yet
"""

from deepblur.platform.stages import Grid
from deepblur.platform.study import Preset, Study
from deepblur.studies.ablation_true_vs_est import CLEAN
from deepblur.studies.ablation_true_vs_est import STUDY as BASE
from deepblur.studies.compare_methods import ARMS
from deepblur.studies.compare_methods import STUDY as COMPARISON

STUDY = Study(
    name="content",
    about=__doc__,
    arm=COMPARISON.arm,
    arms={name: ARMS[name] for name in ("deep-blur", "spectral", "spectral + DN", "blurry", "true + DN")},
    contrast=("deep-blur", "blurry"),
    presets={
        "quick": Preset(
            seeds=(0,),
            grid=Grid(noise=(CLEAN,), eta_waves=(0.10,), images=64, draws=4, crop_px=120),
            settings=COMPARISON.presets["quick"].settings,
        ),
        "standard": Preset(
            seeds=(0, 1, 2),
            grid=Grid(noise=(CLEAN,), eta_waves=(0.15,), images=64, draws=8, crop_px=128),
            settings=COMPARISON.presets["standard"].settings,
        ),
        "paper": Preset(
            seeds=(0, 1, 2),
            data="coco:~/coco",
            grid=Grid(noise=(CLEAN,), eta_waves=(0.15,), images=5000, draws=2, crop_px=256),
            settings=BASE.presets["paper"].settings,
        ),
    },
)

if __name__ == "__main__":
    STUDY.main()
