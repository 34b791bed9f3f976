"""Agreement of PSFs: its laws, which parts are held against which, and one study from its command line."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from skimage import data

import deepblur
from deepblur.baselines.agreement import agreement_db
from deepblur.operators import ZernikeBlur
from deepblur.platform.arms.agreement.agreement import Agreement, parts, verdict_on
from deepblur.platform.arms.agreement.collect import AgreementResult
from deepblur.platform.arms.agreement.pairs import Found, judged, pairs
from deepblur.platform.arms.methods.method import estimate
from deepblur.platform.data.sources import parse_data
from deepblur.platform.experiment.main import main
from deepblur.studies.agreement import STUDY
from deepblur.studies.compare_methods import STUDY as COMPARISON


@pytest.fixture
def psfs():
    gamma = 0.1 * torch.randn(5, 7, generator=torch.Generator().manual_seed(3))
    return ZernikeBlur().psf(gamma)[:, 0].numpy()


def agreement(a, b):
    return agreement_db(torch.from_numpy(a.copy()), torch.from_numpy(b.copy()))


def found(psfs, gammas=None, verdict="good"):
    words = np.array(["good", "good", "doubtful", "poor", verdict]), np.array(["because"] * 5)
    return Found(psfs, np.zeros((5, 7)) if gammas is None else gammas, np.zeros((8, 8)), *words)


def test_quarters_cut_the_middle_into_four():
    image = torch.arange(35.0)[:, None] + 100 * torch.arange(50.0)
    *quarters, middle = parts(image, 40)
    assert middle.shape == (34, 40)
    assert torch.equal(middle, image[:34, 5:45])
    assert torch.equal(torch.cat([torch.cat(quarters[:2], 1), torch.cat(quarters[2:], 1)]), middle)


def test_pairs_are_quarters_of_a_recording_and_exposures_of_a_field(psfs):
    several = {"actin_highsnr.png": found(psfs), "actin_lowsnr.png": found(psfs[::-1]), "other.png": found(psfs)}
    rows = list(pairs(several, bound=0.1))
    assert [row["image"] for row in rows if row["pair"] == "exposures"] == ["actin.png"]
    assert len(rows) == 3 * 6 + 1
    assert rows[-1]["agreement_db"] == agreement(psfs[4], psfs[0])
    assert all(row["at_bound"] == 0 for row in rows)


def test_successive_frames_of_one_recording_are_pairs_in_the_order_of_their_numbers(psfs):
    frames = {f"film_frame{n}.tif": found(np.roll(psfs, n, 0)) for n in (10, 1, 2)}
    rows = [row for row in pairs({**frames, "film.tif": found(psfs)}, bound=0.1) if row["kind"] == "frames"]
    assert [row["pair"] for row in rows] == ["frames 1 and 2", "frames 2 and 10"]
    assert {row["image"] for row in rows} == {"film.tif"}
    assert rows[0]["agreement_db"] == pytest.approx(agreement(psfs[3], psfs[2]))
    named = {name: found(psfs) for name in ("a_lowsnr_frame1.png", "a_highsnr_frame1.png", "a_lowsnr_frame2.png")}
    assert {row["field"] for row in pairs(named, bound=0.1)} == {"a.png"}
    kinds = [(row["kind"], row["image"]) for row in pairs(named, bound=0.1) if row["kind"] != "quarters"]
    assert kinds == [("exposures", "a_frame1.png"), ("frames", "a_lowsnr.png")]


def made(recordings):
    """The result of one arm, "a"."""
    items, verdicts = (pd.DataFrame(rows).assign(arm="a", seed=0)
                       for rows in (pairs(recordings, 0.1), judged(recordings)))  # fmt: skip
    words = {"name": "agreement", "title": "?", "preset": "quick", "command": "", "contrast": ("a", "b")}
    return AgreementResult(items=items, verdicts=verdicts, found={"a": recordings}, **words)


def test_the_table_says_how_many_of_the_parts_get_which_verdict(psfs):
    wholes = ("poor", "", "good")
    result = made({f"film_frame{n}.tif": found(psfs, verdict=verdict) for n, verdict in enumerate(wholes)})
    rows, shares = result.summary.set_index("recording"), ["judged", "good", "doubtful", "poor"]
    assert rows.loc["all, quarters", shares].tolist() == [12, 0.5, 0.25, 0.25]
    assert rows.loc["film_frame1.tif", shares].tolist() == [4, 0.5, 0.25, 0.25]
    assert rows.loc["all, frames", shares].tolist() == [2, 0.5, 0.0, 0.5]
    assert "all, exposures" not in rows.index
    assert " 50, 25, 25" in result.table().text()
    assert result.metrics()["arm/a/poor"] == 0.25
    unjudged = made({"film.tif": found(psfs)._replace(verdicts=np.array([""] * 5))}).summary
    assert unjudged["judged"].eq(0).all()
    assert unjudged["good"].isna().all()


LENS = ZernikeBlur()
GAMMA = torch.tensor([[0.08, -0.05, 0.06, 0.05, -0.06, 0.04, 0.05]])


def recorded(kind):
    """A photograph as a camera of 8 bit sees it: through the lens, moved by nine pixels, or in noise.

    (128, 128); the last (128, 256), which is large enough to be taken in halves.
    """
    columns = slice(150, 436 if kind == "noisy" else 308)
    scene = torch.from_numpy(data.camera()[150:308, columns] / 255.0).float()
    moved = scene.unfold(1, 9, 1).mean(2)[15:-15, 11:-11]
    signal = moved if kind == "moved" else LENS.forward(scene[None, None], GAMMA)[0, 0]
    noise = torch.randn(signal.shape, generator=torch.Generator().manual_seed(0))
    seen = 0.4 + 0.2 * signal + 0.25 * noise if kind == "noisy" else 0.1 + 0.8 * signal + 0.004 * noise
    return (255 * seen.clamp(0, 1)).round().byte().numpy()


def verdict(method, seen):
    part = torch.from_numpy(seen / 255.0).float()
    return verdict_on(method, part, estimate(method, {}, part, None, level=None, seed=0))


@pytest.mark.parametrize("kind", ["lens", "moved", "noisy"])
@pytest.mark.parametrize("arm", ["spectral", "compact"])
def test_a_part_gets_the_verdict_of_the_product(arm, kind):
    seen = recorded(kind)
    which = {"model": "compact"} if arm == "compact" else {"method": arm}
    product = deepblur.restore(seen, scale="bits:8", cutoff=0.2, device="cpu", **which).report
    mine = verdict(STUDY.build(arm, settings={}, data=parse_data("photos"), seed=0).method, seen)
    assert mine == (product.verdict, product.sentence)
    assert (mine[0] == "good") == (kind == "lens")


def test_what_restores_nothing_gets_no_verdict():
    method = STUDY.build("mean PSF", settings={}, data=parse_data("photos"), seed=0).method
    assert verdict(method, recorded("lens"))[0] == "poor"
    assert verdict(replace(method, image="none"), recorded("lens")) == ("", "")


def test_what_was_not_found_is_not_compared(psfs):
    psfs[1] = np.nan
    gammas = np.zeros((5, 7))
    gammas[0, 0], gammas[2] = 0.2, np.nan
    rows = {row["pair"]: row for row in pairs({"a": found(psfs, gammas)}, bound=0.1)}
    assert {pair for pair, row in rows.items() if np.isnan(row["agreement_db"])} == {
        "quarters 1 and 2", "quarters 2 and 3", "quarters 2 and 4",
    }  # fmt: skip
    assert rows["quarters 1 and 4"]["at_bound"] == pytest.approx(1 / 14)
    assert np.isnan(rows["quarters 1 and 3"]["at_bound"])


def test_a_study_of_agreement_ends_with_a_table_and_pictures(tmp_path, capsys):
    where = ["--local", "--tracking-uri", "none", "--runs", str(tmp_path), "--images", "1", "--crop", "128"]
    assert main(STUDY, [*where, "--arms", "spectral,mean PSF"]) == 0
    log = capsys.readouterr().out
    assert "not compared: compact not evaluated" in log
    (report,) = tmp_path.glob("studies/agreement-*/report.html")
    page = report.read_text()
    assert page.count("<img") == 1 + 2 * 5
    assert (report.parent / "summary.csv").is_file()


def test_networks_that_would_have_to_be_trained_are_refused():
    method = COMPARISON.build("deep-blur", settings={}, data=parse_data("photos"), seed=0)
    with pytest.raises(ValueError, match="give one without networks"):
        Agreement(method=method)
