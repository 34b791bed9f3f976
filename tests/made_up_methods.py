"""Finished comparisons made of random numbers with known means: no study needs to run to test its report."""

import numpy as np
import pandas as pd

from deepblur.platform.arms.methods.collect import MethodsStudy
from deepblur.platform.arms.methods.result import LOST, MethodPicture

ARMS = {  # arm → PSF SNR without noise (None: estimates no PSF), PSNR gain (None: restores nothing), seconds
    "blurry": (None, 0.0, 0.001),
    "deep-blur": (14.0, 3.0, 0.4),
    "l0_gradient": (2.0, 0.5, 1.4),
    "goldstein_fattal": (1.0, -0.5, 24.0),
    "spectral": (15.0, 2.0, 4.0),
    "NAFNet": (None, 2.5, 0.2),
    "IN only": (14.0, None, 0.05),
    "IN + TV": (14.0, 1.8, 0.9),
    "mean PSF + Wiener": (4.2, 0.8, 0.02),
    "oracle": (30.0, 4.0, 0.35),
}
PSF_SCORES = ("psf_snr_db", "psf_snr_registered_db", "psf_ncc", "otf_error", "wavefront_error_waves", "psf_error")
IMAGE_SCORES = ("psnr_db", "ssim")
NOISES = {"clean": 0.0, "low": 0.02, "high": 0.12}


def table(arms=ARMS, *, seeds=(0,), noises=NOISES, etas=(0.05, 0.1, 0.15), images=8, draws=1, lost=(), real=False):
    """Items; `lost` names arms of which every fifth draw is lost."""
    rng = np.random.default_rng(0)
    cells = pd.MultiIndex.from_product([noises, etas, [f"image {i}" for i in range(images)], range(draws)])
    shared = cells.to_frame(index=False, name=["noise", "eta_waves", "image", "draw"])
    n = len(shared)
    shared["noise_std"] = shared["noise"].map(noises).astype(float)
    of_image = pd.DataFrame(
        {
            "local_std": rng.uniform(0.02, 0.2, images),
            "edge_density": rng.uniform(0, 0.3, images),
            "categories": [("person", "dog", "dog;car", "", "person;bicycle")[i % 5] for i in range(images)],
        },
        index=[f"image {i}" for i in range(images)],
    )
    shared = shared.join(of_image, on="image")
    shared["gain"] = 0.0
    shared["blurry_psnr_db"], shared["blurry_ssim"] = 24 + rng.normal(0, 2, n), 0.6 + rng.normal(0, 0.05, n)
    hard = -40 * (shared["eta_waves"] - 0.1) - 45 * shared["noise_std"] + 15 * (shared["local_std"] - 0.1)
    tables = []
    for arm, (snr, gain, seconds) in arms.items():
        for seed in seeds if arm in ("deep-blur", "NAFNet", "IN only", "oracle") else seeds[:1]:
            rows = shared.assign(arm=arm, seed=seed, status="ok", reason="", peak_mb=rng.uniform(50, 60, n))
            rows["seconds"] = seconds * rng.lognormal(0, 0.2, n)
            rows["whiteness"] = np.nan if snr is None or gain is None else rng.uniform(0.1, 0.4, n)
            rows["psf_snr_db"] = np.nan if snr is None else snr + hard + rng.normal(0, 2, n)
            rows["psf_snr_registered_db"] = rows["psf_snr_db"] + 0.5
            rows["psf_ncc"] = np.nan if snr is None else 1 - 10 ** (-rows["psf_snr_db"] / 10) / 20
            rows["otf_error"] = 0.5 * 10 ** (-rows["psf_snr_db"] / 20)
            rows["wavefront_error_waves"] = 0.3 * rows["otf_error"]
            rows["psf_error"] = 10 ** (-rows["psf_snr_db"] / 10)
            gained = np.nan if gain is None else gain + (0.0 if arm == "blurry" else rng.normal(0, 0.4, n))
            rows["psnr_db"], rows["ssim"] = rows["blurry_psnr_db"] + gained, rows["blurry_ssim"] + 0.04 * gained
            if arm in lost:
                where = np.arange(n) % 5 == 3
                rows.loc[where, "status"] = [LOST[i % 3] for i in range(where.sum())]
                rows.loc[where, "reason"] = "the kernel is empty"
                rows.loc[where, [*PSF_SCORES, *IMAGE_SCORES, "whiteness"]] = np.nan
            tables.append(rows)
    items = pd.concat(tables, ignore_index=True)
    if real:
        items[[*PSF_SCORES, *IMAGE_SCORES, "blurry_psnr_db", "blurry_ssim", "local_std", "edge_density"]] = np.nan
        items = items.assign(categories="", eta_waves=0.0)
    return items


def scene(rng, side=96):
    """Smooth blobs, so that a picture of the tests looks like one."""
    y, x = np.mgrid[:side, : side + 32] / side
    image = sum(
        np.exp(-((y - a) ** 2 + (x - b) ** 2) / c**2) for a, b, c in rng.uniform(0.05, 1, (30, 3)) * [1, 1.3, 0.2]
    )
    return (image / image.max()).astype(np.float32)


def picture(arms=ARMS, *, real=False, lost=(), title="image 0 · noise low · η 0.15"):
    rng = np.random.default_rng(2)
    sharp = scene(rng)
    blurry = (sharp + np.roll(sharp, 3, 1) + np.roll(sharp, 3, 0)) / 3 + rng.normal(0, 0.02, sharp.shape)
    psf = np.outer(np.hanning(15), np.hanning(15)).astype(np.float32)
    psf = np.roll(psf, 3, 0) + psf
    psf /= psf.sum()
    restores = {arm for arm, (_, gain, _) in arms.items() if gain is not None}
    estimates = {arm for arm, (snr, _, _) in arms.items() if snr is not None}
    restored = {arm: sharp if arm in restores and arm not in lost else None for arm in arms} | {"blurry": blurry}
    psfs = {arm: psf.T if arm in estimates and arm not in lost else None for arm in arms}
    residuals = {arm: blurry - sharp if arm in restores & estimates and arm not in lost else None for arm in arms}
    captions = {"blurry": "21.0 dB", **{arm: "diverged" if arm in lost else "24.1 dB, PSF 12 dB" for arm in arms}}
    return MethodPicture(
        title=title,
        blurry=blurry,
        sharp=None if real else sharp,
        psf_true=None if real else psf,
        restored=restored,
        psfs=psfs,
        residuals=residuals,
        captions={} if real else captions,
    )


def result(items=None, **fields):
    """A finished comparison; keyword arguments of `table` come through `items`."""
    steps = np.arange(0, 400, 20)
    curve = pd.DataFrame({"step": steps, "loss": np.exp(-steps / 100) + 0.01, "val_psnr_db": 24 + steps / 200})
    given = {
        "name": "compare_methods",
        "title": "Who deblurs best, and by how much?",
        "abstract": {"Claim": "Learned beats handcrafted.", "Outcome": "not run yet"},
        "preset": "quick",
        "command": "python studies/compare_methods.py --preset quick",
        "items": table() if items is None else items,
        "reference": "deep-blur",
        "informed": ("oracle",),
        "trained_eta_waves": 0.15,
        "curves": {"DN": curve, "NAFNet": curve.assign(val_psnr_db=curve["val_psnr_db"] - 0.3)},
        "pictures": (picture(),),
        "facts": {"Git commit": "0123abc", "Device": "cpu, 2 threads"},
        "parameters": {"deep-blur": {"unroll": "4"}, "l0_gradient": {"lambda": "0.01"}},
    }
    return MethodsStudy(**given | fields)
