"""How many numbers, beads and photons does it take to know the blur of a microscope all over its field?

Claim    The paper, section 2.1.3: I = J = 4, K = 16 numbers, summarise the blur of a wide-field microscope.
Measure  SNR of the PSFs at 5 x 5 places without beads, of slides that no calibration has seen, when the calibrated
         family is given the parameters that fit the true PSFs best. The truth is a virtual microscope (x100, NA 1.49)
         with astigmatism and coma growing off-axis, field curvature, a tilted cover glass and spherical aberration by
         depth, within 0.4 um of focus; every calibration sees its own bead stacks of it, with camera noise.
Cost     quick: 2 min on 2 cores; nothing is trained.
Run      python studies/calibrate_beads.py --preset quick
Outcome  quick, 40 draws of 30 states, 2026-11-26: the more numbers, the better, and 16 are few for this lens. PSF SNR
         9.3 dB with 2x2, 9.4 with 4x1 (no variation), 11.6 with 4x4, 10.3 with 8x1 (none), 14.4 with 8x4,
         16.0 with 8x8, 20.4 with 16x8. At 16x8 beads are not what lacks: 15 instead of 60 a stack cost 0.4 dB,
         a tenth of the light 0.8; two slides instead of eight 2.5, maps that are planes 4.2, quadratic ones 0.8.
         Recorded in the MLflow experiment of this name, run "calibrate_beads quick".
"""

from typing import Any, Literal

from deepblur.operators import NoiseRange
from deepblur.platform.study import Data, Degradation, FieldBlur, Grid, Method, Preset, Slide, Study, VirtualScope
from deepblur.studies.ablation_true_vs_est import CLEAN


def arm(
    *,
    data: Data,
    seed: int,
    eigen_psfs: int = 4,
    space_maps: int = 4,
    stacks: int = 8,
    beads: int = 60,
    photons: float = 60_000.0,
    field_model: Literal["spline", "plane", "quadratic", "cubic"] = "spline",
    planes: int = 5,
    crop_px: int = 96,
) -> Method:
    truth = VirtualScope(slide=Slide(planes=planes), exact=True, eigen_psfs=60, space_maps=25, stacks=8,
                         unseen_stacks=6, seed=1)  # fmt: skip
    known = VirtualScope(
        slide=Slide(planes=planes, beads=beads, photons=photons),
        stacks=stacks,
        unseen_stacks=0,
        eigen_psfs=eigen_psfs,
        space_maps=space_maps,
        field_model=field_model,
        seed=1000 + seed,
    )
    degradation = Degradation(
        operator=FieldBlur(truth), eta_waves=1.0, noise=NoiseRange((0.0, 0.0), (0.0, 0.0)), crop_px=crop_px
    )
    return Method(degradation=degradation, psf="calibrated", image="none", knows=FieldBlur(known))


SIZES = ((2, 2), (4, 1), (4, 4), (8, 1), (8, 4), (8, 8), (16, 8))
"""I and J."""
LESS: dict[str, dict[str, Any]] = {
    "15 beads": {"beads": 15},
    "30 beads": {"beads": 30},
    "light by 10": {"photons": 6_000.0},
    "2 slides": {"stacks": 2},
    "quadratic": {"field_model": "quadratic"},
    "plane": {"field_model": "plane"},
}
"""What a calibration with I = 16 and J = 8 can lack: beads, light, slides, freedom of the maps."""
GRID = Grid(noise=(CLEAN,), eta_waves=(1.0,), images=4, draws=10, crop_px=96)
STUDY = Study(
    name="calibrate_beads",
    about=__doc__,
    arm=arm,
    arms={
        **{f"{i}x{j}": {"eigen_psfs": i, "space_maps": j} for i, j in SIZES},
        **{f"16x8 {name}": {"eigen_psfs": 16, "space_maps": 8, **less} for name, less in LESS.items()},
    },
    contrast=("4x4", "16x8"),
    presets={
        "quick": Preset(seeds=(0,), grid=GRID, settings={}),
        "standard": Preset(seeds=(0, 1, 2), grid=GRID, settings={}),
    },
)

if __name__ == "__main__":
    STUDY.main()
