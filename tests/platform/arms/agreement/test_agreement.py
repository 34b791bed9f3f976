"""Agreement of PSFs: its laws, which parts are held against which, and one study from its command line."""

import numpy as np
import pytest
import torch

from deepblur.operators import ZernikeBlur
from deepblur.platform.arms.agreement.agreement import Agreement, parts
from deepblur.platform.arms.agreement.collect import Found, agreement_db, pairs
from deepblur.platform.data.sources import parse_data
from deepblur.platform.evaluation.metrics import CEILING_DB
from deepblur.platform.experiment.main import main
from deepblur.studies.agreement import STUDY
from deepblur.studies.compare_methods import STUDY as COMPARISON


@pytest.fixture
def psfs():
    gamma = 0.1 * torch.randn(5, 7, generator=torch.Generator().manual_seed(3))
    return ZernikeBlur().psf(gamma)[:, 0].numpy()


def found(psfs, gammas=None):
    return Found(psfs, np.zeros((5, 7)) if gammas is None else gammas, np.zeros((8, 8)))


def test_agreement_is_symmetric_and_bears_a_turn(psfs):
    a, b = psfs[:2]
    assert agreement_db(a, b) == pytest.approx(agreement_db(b, a), abs=1e-5)
    assert agreement_db(a, b) == pytest.approx(agreement_db(a, b[::-1, ::-1]), abs=1e-5)
    assert agreement_db(a, a) == agreement_db(a, a[::-1, ::-1]) == CEILING_DB
    assert agreement_db(a, 1.1 * a) == pytest.approx(10 * np.log10((1 + 1.1**2) / 2 / 0.1**2), abs=1e-4)


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
    assert rows[-1]["agreement_db"] == agreement_db(psfs[4], psfs[0])
    assert all(row["at_bound"] == 0 for row in rows)


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
