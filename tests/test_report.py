"""The report says what the items say, stays one readable file, and claims nothing that the intervals do not."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from deepblur.platform.report import Picture, StudyResult, write_report

VOID = {"meta", "img", "br"}


def study(
    *,
    arms=("estimated", "true"),
    seeds=(0, 1),
    noises=("clean", "low"),
    etas=(0.05, 0.1),
    images=8,
    draws=2,
    lead_db=0.0,
    in_gain_db=5.0,
    dn_gain_db=2.0,
    pictures=1,
    one_psf=True,
):
    """A finished study made of random numbers with known means; the first arm leads by `lead_db`."""
    rng = np.random.default_rng(1)
    cells = pd.MultiIndex.from_product(
        [noises, etas, [f"photo {i}" for i in range(images)], range(draws)],
        names=["noise", "eta_waves", "image", "draw"],
    )
    shared = pd.DataFrame(index=cells).reset_index()
    shared["mean_psf_snr_db"] = 14 - 40 * shared["eta_waves"] + rng.normal(0, 0.5, len(shared))
    shared["blurry_psnr_db"] = 24 + rng.normal(0, 2, len(shared))
    shared["blurry_ssim"] = 0.6 + rng.normal(0, 0.02, len(shared))
    tables = []
    for seed in seeds:
        snr = shared["mean_psf_snr_db"] + in_gain_db + rng.normal(0, 1, len(shared))
        for i, arm in enumerate(arms):
            table = shared.assign(arm=arm, seed=seed, psf_ncc=0.95, gamma_rmse_waves=0.02)
            table["psf_snr_db"] = snr if one_psf else snr + rng.normal(0, 1, len(shared))
            table["psf_snr_registered_db"] = table["psf_snr_db"] + 0.5
            gain = dn_gain_db + (lead_db if i == 0 else 0) + rng.normal(0, 0.1, len(shared))
            table["psnr_db"], table["ssim"] = table["blurry_psnr_db"] + gain, table["blurry_ssim"] + 0.05 * gain
            table["oracle_psnr_db"], table["oracle_ssim"] = table["psnr_db"] + 0.5, table["ssim"] + 0.01
            tables.append(table)
    steps = np.arange(0, 400, 20)
    curve = pd.DataFrame({"step": steps, "loss": np.exp(-steps / 100) + 0.01, "lr": 1e-3, "images_per_s": 900.0})
    curves = {f"IN · seed {seed}": curve.assign(val_psf_snr_db=14.0, val_mean_psf_snr_db=10.0) for seed in seeds}
    gaps = np.where(steps % 100 == 0, 25.0, np.nan)
    curves |= {f"DN · {arm}": curve.assign(val_psnr_db=gaps, val_blurry_psnr_db=24.0) for arm in arms}
    image = rng.random((24, 40), dtype=np.float32)
    psf = np.outer(np.hanning(9), np.hanning(9)).astype(np.float32)
    psf /= psf.sum()
    picture = Picture(
        title="photo 0 · noise low · η 0.10",
        blurry=image / 2,
        sharp=image,
        restored=dict.fromkeys(arms, image),
        psf_true=psf,
        psf_estimated=psf.T,
        captions={"blurry": "21.0 dB", "psf": "14.2 dB", **dict.fromkeys(arms, "24.1 dB")},
    )
    return StudyResult(
        name="ablation_true_vs_est",
        title="Does DN learn to correct the errors of IN?",
        abstract={"Claim": "No difference.", "Outcome": "not run yet"},
        preset="quick",
        command="python studies/ablation_true_vs_est.py --preset quick",
        items=pd.concat(tables, ignore_index=True),
        contrast=("estimated", "true"),
        curves=curves,
        pictures=(picture,) * pictures,
        facts={"Git commit": "0123abc", "Device": "cpu, 2 threads"},
        parameters={arm: {"unroll": "4", "train_operator": arm} for arm in arms},
    )


class Balanced(HTMLParser):
    """Fails on a tag that is closed without being open; collects text and the addresses that a page refers to."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.addresses, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in {"href", "src", "srcset", "action"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in {"href", "src", "srcset", "action"}]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parse(html):
    parser = Balanced()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser


CASES = {
    "usual": {},
    "one seed": {"seeds": (0,)},
    "one image": {"images": 1, "seeds": (0,)},
    "one draw": {"images": 1, "seeds": (0,), "draws": 1, "noises": ("low",), "etas": (0.1,)},
    "one arm": {"arms": ("true",)},
    "a third arm": {"arms": ("estimated", "true", "other"), "one_psf": False},
    "seven arms": {"arms": ("estimated", "true", *"cdefg"), "images": 2, "draws": 1},
    "no picture": {"pictures": 0},
}


@pytest.mark.parametrize("case", CASES)
def test_the_report_is_one_well_formed_file_without_links_scripts_or_nan(case, tmp_path):
    path = write_report(study(**CASES[case]), tmp_path)
    html = path.read_text(encoding="utf-8")
    page = parse(html)
    assert path.name == "report.html"
    assert "http" not in html
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in page.addresses)
    assert not re.search(r"\b(nan|None|inf)\b", " ".join(page.text))
    ids = re.findall(r'\sid="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(ids)
