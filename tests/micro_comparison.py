"""Does the machinery of comparing methods hold?

Claim    A comparison small enough for a test: two modes, tiny networks, dead leaves.
Measure  Nothing that anybody should quote.
"""

from typing import Any

from micro_study import STUDY as BASE

from deepblur.platform.study import Data, Grid, Method, NoiseLevel, Preset, Restore, Study, extends

LEVELS = (NoiseLevel("clean", 0.0, 0.0), NoiseLevel("noisy", 0.0, 0.02))


@extends(BASE.arm, without=("operator",))
def arm(*, psf: str, image: str, data: Data, seed: int, settings: tuple = (), **training: Any) -> Method:
    base = BASE.arm(operator="true", data=data, seed=seed, **training)
    nafnet = Restore(
        train=data.train,
        validation=data.validation,
        degradation=base.deblur.degradation,
        optimization=base.deblur.optimization,
        network={"width": 4, "encoder_blocks": (1,), "decoder_blocks": (1,)},
        seed=seed,
    )
    needed = {"identify": base.identify, "deblur": base.deblur, "restore": nafnet, "patchwise": base.identify}
    networks = tuple(dict.fromkeys(needed[part] for part in (psf, image) if part in needed))
    return Method(
        degradation=base.identify.degradation, psf=psf, image=image, networks=networks, settings=dict(settings)
    )


STUDY = Study(
    name="micro_comparison",
    about=__doc__,
    arm=arm,
    arms={
        "deep-blur": {"psf": "identify", "image": "deblur"},
        "NAFNet": {"psf": "none", "image": "restore"},
        "Wiener": {"psf": "true", "image": "wiener"},
        "IN": {"psf": "identify", "image": "none"},
        "blurry": {"psf": "none", "image": "blurry"},
        "broken": {"psf": "mean", "image": "wiener", "settings": (("balance", -1.0),)},
    },
    contrast=("deep-blur", "blurry"),
    presets={"quick": Preset(seeds=(0,), grid=Grid(noise=LEVELS, eta_waves=(0.10,), images=2, draws=2, crop_px=48))},
)

if __name__ == "__main__":
    STUDY.main()
