"""A comparison of methods from its command line to its report; a method that fails costs its own rows only."""

import signal
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from micro_comparison import STUDY

from deepblur.platform.arms.methods.assess import time_limit
from deepblur.platform.evaluation.levels import RealImages
from deepblur.platform.experiment.main import main
from deepblur.platform.study import Preset, Study
from deepblur.platform.system.memory import PeakMemory

FAST = ["--local", "--data", "photos", "--tracking-uri", "none"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def run(study, runs, *options, code=0):
    assert main(study, [*FAST, "--runs", str(runs), *options]) == code


def items(runs, name="micro_comparison"):
    file = max(runs.glob(f"studies/{name}-*/items.parquet"), key=lambda path: path.stat().st_mtime)
    return pd.read_parquet(file)


def test_every_method_is_scored_on_the_same_draws(runs, capsys):
    run(STUDY, runs)
    table = items(runs)
    assert len(table) == 6 * 2 * 2 * 2  # arms, images, noise, draws
    ok = table[table.arm != "broken"]
    assert set(ok.status) == {"ok"}
    for column in ("blurry_psnr_db", "blurry_ssim", "local_std", "edge_density"):
        spread = table.groupby(["noise", "image", "draw"])[column].nunique()
        assert (spread == 1).all(), f"{column} differs between methods"
    by = table.groupby("arm")
    assert by.psf_snr_db.count()[["NAFNet", "blurry"]].sum() == 0
    assert by.psnr_db.count()["IN"] == 0
    assert (table[table.arm == "blurry"].psnr_db == table[table.arm == "blurry"].blurry_psnr_db).all()
    assert by.psnr_db.mean()["Wiener"] > by.psnr_db.mean()["blurry"]
    assert (ok.seconds > 0).all()
    assert (ok.peak_mb >= 0).all()
    out = capsys.readouterr().out
    assert "deep-blur" in out
    assert "nan" not in out.lower()


def test_what_failed_says_why(runs, capsys):
    table = items(runs)
    broken = table[table.arm == "broken"]
    assert set(broken.status) == {"failed"}
    assert broken.reason.str.contains("ValueError: balance").all()
    assert broken.psnr_db.isna().all()


def test_a_second_run_reuses_everything_and_names_the_same_report(runs, capsys):
    run(STUDY, runs)
    out = capsys.readouterr().out
    assert "15 stages, 15 done before" in out  # three networks, six methods on two images
    report = next(line for line in out.splitlines() if line.startswith("report"))
    assert Path(report.split()[-1]).is_file()


def test_real_images_need_no_truth(runs, capsys):
    study = Study(
        name="micro_real",
        about=STUDY.about,
        arm=STUDY.arm,
        arms={name: STUDY.arms[name] for name in ("deep-blur", "NAFNet", "blurry")},
        contrast=("deep-blur", "blurry"),
        presets={"quick": Preset(seeds=(0,), grid=RealImages(images=2, crop_px=64), test="microscopy")},
    )
    run(study, runs)
    table = items(runs, "micro_real")
    assert set(table.status) == {"ok"}
    assert len(table) == 6
    assert table.psnr_db.isna().all()
    assert table[table.arm == "deep-blur"].whiteness.notna().all()
    run(study, runs, "--eta", "0.1", code=1)
    assert "real images as they are; leave --noise, --eta and --draws out" in capsys.readouterr().err


def test_a_slow_method_is_stopped():
    with pytest.raises(TimeoutError), time_limit(0.05):
        time.sleep(600)
    with time_limit(600):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0, "a limit ends with its block"


def test_peak_memory_sees_what_was_taken_and_given_back():
    memory = PeakMemory(torch.device("cpu"))
    torch.ones(50_000_000)  # 200 MB, freed at once
    assert memory.used_mb() > 150
