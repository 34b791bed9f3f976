"""Which loss should IN be trained with: in the space of gamma, or of the PSF?

Claim    In focus, flipping all even orders of gamma leaves the PSF unchanged (the twin), so a squared loss on gamma, as
         in the paper, learns to erase defocus and astigmatism; a loss that knows the twin does not.
Measure  PSF SNR on the fixed grid (noise x eta), paired by image, operator and noise draw, of one IN per loss under
         equal budgets; beside them the mean PSF, no aberration at all, and the oracle that knows the odd modes only,
         which is the best that a loss on gamma can hope for.
Cost     quick: 10 min a seed on 2 cores.
Run      python studies/loss_space.py --preset quick
Outcome  not run yet
"""

from typing import Any

from deepblur.platform.methods import Method
from deepblur.platform.published import Claim, paper_claims
from deepblur.platform.sources import Data
from deepblur.platform.stages import Arm
from deepblur.platform.study import Preset, Study, extends
from deepblur.studies.ablation_true_vs_est import STUDY as BASE


@extends(BASE.arm, without=("operator",))
def arm(*, psf: str, data: Data, seed: int, **training: Any) -> Method:
    base = BASE.arm(operator="true", data=data, seed=seed, **training)
    assert isinstance(base, Arm)
    networks = (base.identify,) if psf == "identify" else ()
    return Method(degradation=base.identify.degradation, psf=psf, image="none", networks=networks)


def published(preset: str) -> tuple[Claim, ...]:
    because = "" if preset == "paper" else "other images, coefficients and training budget"
    return paper_claims("psf_snr_clean", "psf_snr_noisy", "mean_error", because=because)


STUDY = Study(
    name="loss_space",
    about=__doc__,
    arm=arm,
    arms={
        **{loss: {"psf": "identify", "in_loss": loss} for loss in ("psf", "gamma", "twin", "half_space", "twin_psf")},
        "odd modes known": {"psf": "odd"},
        "mean PSF": {"psf": "mean"},
        "no aberration": {"psf": "unaberrated"},
    },
    contrast=("psf", "gamma"),
    published=published,
    presets={
        name: Preset(seeds=(0,) if name == "quick" else preset.seeds, grid=preset.grid, data=preset.data,
                     settings=preset.settings)
        for name, preset in BASE.presets.items()
    },
)  # fmt: skip

if __name__ == "__main__":
    STUDY.main()
