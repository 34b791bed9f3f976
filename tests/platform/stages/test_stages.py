"""A stage is its specification: what changes its key, and what does not."""

from dataclasses import replace

import pytest
from micro_study import STUDY

from deepblur.platform.arms.trained.arm import Evaluate
from deepblur.platform.data.sources import DeadLeaves, parse_data
from deepblur.platform.stages.identity import canonical, flatten

DATA = parse_data("dead-leaves")
PRINTS = {DATA.train: "a", DATA.validation: "b", DATA.test: "c"}


def arm(operator="estimated", seed=0, **settings):
    built = STUDY.arm(operator=operator, data=DATA, seed=seed, **settings)
    return built


def test_the_same_specification_has_the_same_key():
    assert arm().deblur.key(PRINTS) == arm().deblur.key(PRINTS)
    assert len(arm().deblur.key(PRINTS)) == 32


@pytest.mark.parametrize("change", [{"seed": 1}, {"eta_waves": 0.11}, {"in_steps": 13}, {"batch": 8}, {"lr": 2e-3}])
def test_every_field_reaches_the_key(change):
    assert arm().identify.key(PRINTS) != arm(**change).identify.key(PRINTS)
    assert arm().deblur.key(PRINTS) != arm(**change).deblur.key(PRINTS)


def test_a_dn_on_true_operators_does_not_depend_on_the_in():
    assert arm("true").deblur.key(PRINTS) == arm("true", in_steps=99).deblur.key(PRINTS)
    assert arm("estimated").deblur.key(PRINTS) != arm("estimated", in_steps=99).deblur.key(PRINTS)


def test_pixels_count_and_paths_do_not():
    elsewhere = replace(DATA, train=(DeadLeaves(5, 64, seed=3),))
    moved = STUDY.arm(operator="true", data=elsewhere, seed=0)
    assert moved.identify.key({**PRINTS, elsewhere.train: "a"}) == arm().identify.key(PRINTS)
    assert moved.identify.key({**PRINTS, elsewhere.train: "z"}) != arm().identify.key(PRINTS)


def test_a_source_without_a_fingerprint_is_refused():
    with pytest.raises(ValueError, match="no fingerprint is known for DeadLeaves"):
        arm().identify.key({})


def test_a_specification_holds_plain_values_only():
    with pytest.raises(TypeError, match="plain values, functions and classes only; got object"):
        canonical({"x": object()}, {})


def test_an_evaluation_knows_what_it_needs():
    evaluation = Evaluate(arm=arm(), grid=STUDY.presets["quick"].grid, test=DATA.test)
    assert {stage.kind for stage in evaluation.needs()} == {"identify", "deblur"}


def test_flatten_gives_dotted_names():
    names = flatten(arm())
    assert names["identify.degradation.eta_waves"] == "0.1"
    assert names["deblur.network.widths"] == "(4, 8)"
    assert "DeadLeaves" in names["identify.train"]
