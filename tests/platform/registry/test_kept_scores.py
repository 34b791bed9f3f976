"""Scores that were measured before are not measured again, until model, grid or code is another."""

from dataclasses import replace

import pandas as pd
import pytest
from micro_registry import FAST, MICRO

from deepblur.platform.models import shipped
from deepblur.platform.registry import kept_scores, promotion
from deepblur.platform.registry.gate_grid import GRID, score
from deepblur.platform.registry.promotion import Promoter


def test_a_champion_is_not_measured_again_until_something_changed(promoter, monkeypatch):
    promoter.promote("2")
    measured = []
    monkeypatch.setattr(promotion, "score", lambda model, grid: measured.append(model) or score(model, grid))

    def again(grid=MICRO):
        """Version 3 against version 2, by a promoter that remembers nothing."""
        measured.clear()
        later = Promoter(promoter.uri, "deepblur", grid=grid, bound=FAST, clean=lambda *_: "")
        sentences = later.promote("3").sentences
        later.rollback()
        return len(measured), "the scores of version 2 were measured before, by this code on this grid" in sentences

    assert again() == (1, True)  # the candidate alone, whatever the registry says of it
    assert again(replace(MICRO, seed=1)) == (2, False)
    with pytest.MonkeyPatch.context() as patch:  # the registry has lost the file, which it still names
        patch.setattr(kept_scores, "FILE", "gone.json")
        assert again() == (2, False)
    monkeypatch.setattr(kept_scores, "code_of", lambda *_: {"platform/registry/gate_grid": "edited"})
    assert again() == (2, False)


@pytest.mark.parametrize("damage", ["", "{}", "cut", "one observation less"])
def test_kept_scores_that_are_damaged_are_measured_again(models, damage):
    key, table = kept_scores.key_of(models["fair"], MICRO), score(models["fair"], MICRO)
    text = kept_scores.text_of(key, table)
    pd.testing.assert_frame_equal(kept_scores.read(text, key, MICRO), table[list(kept_scores.read(text, key, MICRO))])
    damaged = {"cut": text[:-9], "one observation less": kept_scores.text_of(key, table.iloc[1:])}.get(damage, damage)
    assert kept_scores.read(damaged, key, MICRO) is None
    assert kept_scores.read(text, kept_scores.key_of(models["good"], MICRO), MICRO) is None


def test_the_scores_that_ship_are_those_of_this_code_and_model():
    """Else the demo measures for minutes: python -m deepblur.platform.registry.kept_scores weights/compact."""
    model = shipped.shipped(shipped.DEFAULT)
    assert kept_scores.of_shipped(kept_scores.key_of(model, GRID), GRID) is not None
