"""The gallery shows the draws that it says, with the images that were measured."""

import re
from dataclasses import replace

import pandas as pd
import pytest
import torch
from micro_comparison import STUDY
from skimage.io import imread

from deepblur.platform.arms.methods import gallery, strips
from deepblur.platform.evaluation.metrics import psnr_db
from deepblur.platform.experiment.main import main

ARM = "Wiener"


def test_a_gallery_shows_the_worst_the_median_and_the_best_draws(tmp_path, monkeypatch):
    shown, left = [], {}
    real = strips.strips

    def after(plan, graph):
        monkeypatch.setattr(strips, "strips", lambda pictures, arms: shown.append(pictures) or real(pictures, arms))
        left["files"] = gallery.gallery(plan, graph, ARM, each=2)
        left["networks of its own"] = gallery.gallery(plan, graph, "deep-blur")
        left["left out"] = gallery.gallery(plan, graph, "nobody")
        rows = [pd.read_parquet(graph.works[key].folder / "items.parquet") for key in graph.results[ARM, 0]]
        left["rows"] = pd.concat(rows)

    arms = {"blurry": STUDY.arms["blurry"], ARM: STUDY.arms[ARM]}
    study = replace(STUDY, arms=arms, contrast=(ARM, "blurry"), after=after)
    options = ["--local", "--data", "photos", "--tracking-uri", "none", "--runs", str(tmp_path)]
    assert main(study, options) == 0
    assert [file.name for file in left["files"]] == [f"{ARM}_{name}.png" for name in ("worst", "median", "best")]
    assert imread(left["files"][0]).ndim == 3
    assert left["networks of its own"] == left["left out"] == []
    gains = (left["rows"]["psnr_db"] - left["rows"]["blurry_psnr_db"]).sort_values().tolist()
    told = [[re.search(r": ([+−][\d.]+) dB", p.title)[1].replace("−", "-") for p in pictures] for pictures in shown]
    told = [list(map(float, gains)) for gains in told]
    assert told[0] == pytest.approx(gains[:2], abs=0.051)
    assert told[1] == pytest.approx(gains[3:5], abs=0.051)
    assert told[2] == pytest.approx(gains[::-1][:2], abs=0.051)
    # the restoration that is shown scores what was measured when the study ran
    worst = shown[0][0]
    restored, sharp = (torch.from_numpy(image)[None, None] for image in (worst.restored[ARM], worst.sharp))
    again = psnr_db(restored, sharp, worst.psf_true.shape[0] // 2)
    assert f"{float(again):.1f} dB" in worst.captions[ARM]
