"""Can one image tell a blur that changes over the field, and what does it cost to ignore the change?

Claim    The paper, section 3.2 and Fig. 10: after a calibration with beads, K = 16 numbers hold the blur of a
         microscope all over its field; a network trained on natural images reads them from one image of cells, blurred
         by operators that it has not seen, and the restored image is better in all cases.
Measure  SNR of the PSFs, together over 5 x 5 places of the field, and gain of PSNR and SSIM over the blurry image, at
         white noise of 0.01 and without. Optics: bead stacks of a virtual microscope (x100, NA 1.49) are simulated and
         calibrated (I = J = 4); states of further slides are kept for the test. All rows that restore share one DN:
         with IN's parameters of the whole field; with the parameters that fit IN's readings of 5 x 5 patches; with
         those patches, each for itself (the classical way); with the field's mean PSF everywhere (what ignoring the
         change costs); with the true parameters. The last two rows blur with the microscope itself, of which the
         calibrated family knows 12 dB: with IN's parameters, and with the best that the family has.
Cost     quick: 6 min on 2 cores. standard has not been run: by its 3e17 operations about an hour a seed on an H100.
Run      python studies/space_varying.py --preset quick
         python studies/space_varying.py --test folder:cells                  (your own sharp images)
         python studies/space_varying.py --arms "fitted patches" --set optics=scope.safetensors
                                         (networks for a calibrated microscope, for deepblur restore --optics)
Outcome  quick --test folder:..., 8 micrographs, 64 draws, one seed, 2026-11-26. PSF SNR / PSNR gain in dB: whole field
         7.4 [5.2, 10.0] / +1.14 [+0.26, +2.03], fitted patches 7.1 / +0.97, patches 7.1 / +0.89, no variation 7.1 /
         +0.92, mean PSFs 7.2, true operator - / +3.76 [+2.46, +4.88] (SSIM +0.077, told the truth +0.098); the lens
         itself 5.8 / +1.11, best of the family 13.1 / +1.91. So images are restored, and seeing the variation helps
         (+0.22 dB of PSNR [+0.04, +0.49], +0.35 dB of PSF SNR [+0.12, +0.62], confirmed); but of micrographs the
         networks know hardly more than the mean PSF, though on photographs they do (validation: 8.8 against 7.4,
         patches 9.6 against 8.3). 115 COCO photographs instead of 8, twice the steps (--data
         coco:... --set in_steps=2400, 16 min): whole field 7.4 / +1.22, fitted patches 7.5 / +1.41; at a noise of 0.01
         these reach 8.1, without noise 6.9, where the grain of the references, blurred with them, misleads most.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from deepblur.operators import NoiseRange
from deepblur.platform.study import (
    Data,
    Deblur,
    Degradation,
    FieldBlur,
    Grid,
    Identify,
    Method,
    NoiseLevel,
    OpticsFile,
    Optimization,
    Preset,
    Slide,
    Study,
    VirtualScope,
    keep_networks,
)
from deepblur.studies.ablation_true_vs_est import CLEAN


def arm(
    *,
    psf: Literal["identify", "fitted", "patches", "average", "mean", "true", "calibrated"],
    data: Data,
    seed: int,
    image: Literal["deblur", "none"] = "deblur",
    truth: Literal["calibrated", "microscope"] = "calibrated",
    optics: str = "",
    eigen_psfs: int = 4,
    space_maps: int = 4,
    stacks: int = 18,
    beads: int = 60,
    planes: int = 5,
    eta: float = 1.0,
    gain_max: float = 0.0,
    read_std_max: float = 0.02,
    crop_px: int = 256,
    patch_px: int = 128,
    in_arch: str = "resnet18",
    in_widths: tuple[int, ...] = (32, 64, 128, 256),
    in_log_spectrum: bool = True,
    in_steps: int = 40_000,
    in_batch: int = 64,
    in_lr: float = 1e-3,
    dn_unroll: int = 4,
    dn_widths: tuple[int, ...] = (32, 64, 128, 256),
    dn_blocks: int = 4,
    dn_lam: float = 0.01,
    dn_cg_iterations: int = 10,
    dn_steps: int = 20_000,
    dn_batch: int = 16,
    dn_lr: float = 1e-3,
    clip_norm: float | None = 1.0,
    precision: Literal["float32", "bfloat16"] = "float32",
    validations: int = 10,
) -> Method:
    source = OpticsFile.of(Path(optics).expanduser().resolve()) if optics else VirtualScope(
        slide=Slide(beads=beads, planes=planes), stacks=stacks, eigen_psfs=eigen_psfs, space_maps=space_maps
    )  # fmt: skip

    def degradation(varying: bool, side: int) -> Degradation:
        noise = NoiseRange(gain=(0.0, gain_max), read_std=(0.0, read_std_max))
        return Degradation(operator=FieldBlur(source, varying), eta_waves=eta, noise=noise, crop_px=side)

    def training(steps: int, batch: int, lr: float) -> Optimization:
        return Optimization(steps=steps, batch=batch, lr=lr, schedule="one_cycle", clip_norm=clip_norm,
                            precision=precision, validations=validations)  # fmt: skip

    by_patches = psf in ("fitted", "patches")
    identify = Identify(
        train=data.train,
        validation=data.validation,
        degradation=degradation(not by_patches, patch_px if by_patches else crop_px),
        optimization=training(in_steps, in_batch, in_lr),
        network={"arch": in_arch, "widths": in_widths, "log_spectrum": in_log_spectrum},
        loss="gamma",
        seed=seed,
    )
    deblur = Deblur(
        train=data.train,
        validation=data.validation,
        degradation=degradation(True, crop_px),
        optimization=training(dn_steps, dn_batch, dn_lr),
        network={"unroll": dn_unroll, "widths": dn_widths, "blocks": dn_blocks, "lam": dn_lam, "learn_lam": True,
                 "data_step": "cg", "cg_iterations": dn_cg_iterations, "start": "blurry"},
        identify=None,
        seed=seed,
    )  # fmt: skip
    networks = () if psf in ("true", "mean", "calibrated") else (identify,)
    restores = (deblur,) if image == "deblur" else ()
    seen, knows = degradation(True, crop_px), None
    if truth == "microscope":  # nearly all that the simulated lens does, of which the calibration knows K numbers
        lens = VirtualScope(slide=Slide(planes=planes), exact=True, eigen_psfs=60, space_maps=25, stacks=8,
                            unseen_stacks=6, seed=1)  # fmt: skip
        seen, knows = replace(seen, operator=FieldBlur(lens)), FieldBlur(source)
    return Method(degradation=seen, psf=psf, image=image, networks=(*networks, *restores), knows=knows)


LOW = NoiseLevel("0.01", gain=0.0, read_std=0.01)
"""The white noise of the paper's Fig. 10."""
ROWS: dict[str, dict[str, Any]] = {
    "whole field": {"psf": "identify"},
    "fitted patches": {"psf": "fitted"},
    "patches": {"psf": "patches"},
    "no variation": {"psf": "average"},
    "mean PSFs": {"psf": "mean", "image": "none"},
    "true operator": {"psf": "true"},
    "lens: whole field": {"psf": "identify", "truth": "microscope"},
    "lens: best of family": {"psf": "calibrated", "truth": "microscope"},
}

STUDY = Study(
    name="space_varying",
    about=__doc__,
    arm=arm,
    arms=ROWS,
    contrast=("no variation", "whole field"),
    after=keep_networks,
    presets={
        "quick": Preset(
            seeds=(0,),
            grid=Grid(noise=(CLEAN, LOW), eta_waves=(1.0,), images=8, draws=4, crop_px=192),
            settings={
                "stacks": 8,
                "read_std_max": 0.01,
                "crop_px": 128,
                "in_arch": "compact",
                "in_widths": (16, 32, 64, 128),
                "in_steps": 1200,
                "in_batch": 24,
                "in_lr": 2e-3,
                "dn_unroll": 2,
                "dn_widths": (16, 32),
                "dn_blocks": 1,
                "dn_cg_iterations": 6,
                "dn_steps": 150,
                "dn_batch": 8,
            },
        ),
        "standard": Preset(
            seeds=(0, 1, 2),
            data="coco:~/coco",
            grid=Grid(noise=(CLEAN, LOW), eta_waves=(0.5, 1.0), images=32, draws=4, crop_px=256),
            settings={"precision": "bfloat16", "validations": 40},
        ),
    },
)

if __name__ == "__main__":
    STUDY.main()
