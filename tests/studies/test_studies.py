"""Every study in studies/, found by itself: its presets can be built, its abstract is whole, and one runs in small."""

import importlib

import pandas as pd
import pytest

from deepblur.platform.arms.methods.claims import Claim
from deepblur.platform.commands.studies import installed as studies
from deepblur.platform.data.sources import parse_data, parse_test
from deepblur.platform.experiment.main import main

STUDIES = {name: importlib.import_module(f"deepblur.studies.{name}").STUDY for name in studies()}


@pytest.mark.parametrize("name", STUDIES)
def test_every_arm_of_every_preset_can_be_built(name):
    study = STUDIES[name]
    assert study.name == name
    for preset in study.presets.values():
        data = parse_data(preset.data)
        if preset.test:
            parse_test(preset.test)
        built = [study.build(arm, settings=preset.settings, data=data, seed=0) for arm in study.arms]
        assert len({type(arm) for arm in built}) == 1


@pytest.mark.parametrize("name", STUDIES)
def test_the_abstract_is_whole_and_the_paper_is_cited_by_its_claims(name):
    study = STUDIES[name]
    assert study.title.endswith("?")
    assert set(study.abstract) == {"Claim", "Measure", "Cost", "Run", "Outcome"}
    assert f"studies/{name}.py" in study.abstract["Run"]
    for preset in study.presets:
        assert all(isinstance(claim, Claim) for claim in study.published(preset))


def test_the_comparison_runs_in_small(tmp_path):
    steps = "--set in_steps=2 --set dn_steps=2 --set validations=1"
    small = f"--images 1 --draws 1 --noise clean:0:0 {steps}".split()
    arms = "deep-blur,NAFNet,l0 tuned,spectral + DN,IN patches + RL,true + RL,blurry"
    where = ["--local", "--tracking-uri", "none", "--runs", str(tmp_path)]
    assert main(STUDIES["compare_methods"], [*where, *small, "--arms", arms]) == 0
    (file,) = tmp_path.glob("studies/*/items.parquet")
    table = pd.read_parquet(file).set_index("arm")
    assert set(table.index) == set(arms.split(","))
    assert set(table.status) == {"ok"}
    assert table.psnr_db["true + RL"] > table.psnr_db["blurry"]
