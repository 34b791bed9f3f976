"""Names in MLflow: what is compared has one name, what belongs together stands together, nothing needs quoting."""

import re

import pytest
from micro_comparison import STUDY as COMPARISON
from micro_study import STUDY

from deepblur.platform.experiment.command_line import plan
from deepblur.platform.experiment.naming import part_name, shared_tags, study_name
from deepblur.platform.tracking import names
from deepblur.platform.tracking.pages import VIEWS, comparison_page, run_page


def test_a_curve_is_told_by_its_network_and_by_where_it_was_measured():
    row = {"step": 7.0, "loss": 0.1, "images_per_s": 9.0, "val_psnr_db": 20.0, "grid_psf_snr_db": 5.0}
    assert names.curve("deblur", row) == {
        "step": 7.0,
        "train/DN/loss": 0.1,
        "train/DN/images_per_s": 9.0,
        "val/DN/psnr_db": 20.0,
        "grid/DN/psf_snr_db": 5.0,
    }


def test_cost_is_cost_wherever_it_was_measured():
    assert names.measured("test", {"psnr_db": 1.0, "latency_ms": 2.0}) == {"test/psnr_db": 1.0, "cost/latency_ms": 2.0}


@pytest.mark.parametrize("arm", ["closed form", "CG, 2", "T = 4", "R(0)", "spectral + DN", "trained at 0.15"])
def test_no_metric_needs_more_than_backticks_in_a_search_string(arm):
    assert re.fullmatch(r"[\w./-]+", names.of_arm(arm, "psnr_gain_db"))
    assert names.subset("test", "eta_waves", 0.1) == "test/eta_0.1"
    assert names.subset("test", "noise", "very low") == "test/noise_very-low"


def test_a_run_is_named_by_what_the_command_line_changed():
    assert study_name(plan(STUDY, [])) == "micro_study quick"
    changed = plan(STUDY, ["--set", "lr=0.01", "--set", "in_steps=6", "--set", "dn_steps=3", "--set", "batch=8"])
    assert part_name(changed, "true, seed 0") == "true, seed 0 (quick, lr=0.01, in_steps=6, dn_steps=3, …)"


def test_tags_say_data_and_method_in_the_words_of_the_command_line():
    chosen = plan(STUDY, ["--data", "dead-leaves", "--test", "folder:/images"])
    tags = shared_tags(chosen, commit="abc", device="CPU")
    assert (tags["data"], tags["test"]) == ("dead-leaves", "folder:/images")
    methods = {arm: COMPARISON.build(arm, settings={}, data=chosen.data, seed=0).label
               for arm in COMPARISON.arms}  # fmt: skip
    assert methods == {"deep-blur": "IN + DN", "NAFNet": "NAFNet", "Wiener": "true + wiener", "IN": "IN",
                       "blurry": "blurry", "broken": "mean + wiener"}  # fmt: skip


def test_addresses_lead_to_a_run_a_file_and_a_comparison():
    assert run_page("1", "abc").startswith("#/experiments/1/runs/abc?")
    assert run_page("1", "abc", "report.html").startswith("#/experiments/1/runs/abc/artifacts/report.html?")
    assert "runs=%5B%22a%22%2C%22b%22%5D" in comparison_page("1", ["a", "b"])
    assert comparison_page("1", []) == ""


def test_the_views_show_tags_and_metrics_that_runs_have():
    for view in VIEWS.values():
        assert view.best in view.metrics
        assert view.metrics[0].partition("/")[0] in {"test", "grid"}
