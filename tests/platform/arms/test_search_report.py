"""A search's report says what its trials say, whatever became of them, and praises no sampler for its luck."""

import dataclasses
import itertools
import re

import numpy as np
import pandas as pd
import pytest
from test_report import study

from deepblur.platform.arms.search import charts, space_charts
from deepblur.platform.arms.search.collect import SearchStudy
from deepblur.platform.arms.search.importance import importances
from deepblur.platform.arms.search.report import FIGURES, sections
from deepblur.platform.arms.search.result import (
    SECONDARY,
    Objective,
    best_trial,
    compare_samplers,
    convergence,
    costs,
    hypervolume,
    is_default,
    non_dominated,
    pareto,
)
from deepblur.platform.arms.search.text import sampler_sentences, search_metrics, search_text
from deepblur.platform.report.numbers import WIDTH
from deepblur.platform.report.page import page

GAIN = Objective(name="psnr_gain_db", direction="maximize", label="PSNR gain (dB)")
WORK = Objective(name="gmacs", direction="minimize", label="operations (10⁹)")
DEFAULTS = {"unroll": 4, "lr": 1e-3, "loss": "psf", "learned": False, "lam": 0.05, "widths": (16, 32)}
SPACE = {
    "unroll": "1 … 8, integer",
    "lr": "0.0001 … 0.01, logarithmic",
    "loss": "psf or <twin>",
    "learned": "False or True",
    "lam": "0.001 … 1, logarithmic, where learned is False",
    "widths": "(8, 16) or (16, 32)",
}
CASES = {
    "two objectives": {},
    "one objective": {"objectives": (GAIN,), "trials": 6},
    "three objectives, three seeds": {
        "objectives": (GAIN, WORK, Objective(name="parameters", direction="minimize", label="parameters")),
        "seeds": (0, 1, 2),
        "trials": 9,
    },
    "all pruned but one": {"state": lambda row, number: "pruned" if row else "complete"},
    "only failed": {"state": lambda row, number: "failed"},
    "one trial": {"trials": 1, "arms": ("tpe",)},
}


def suggested(rng):
    """Random settings; lam exists only where it is not learned."""
    settings = {
        "unroll": int(rng.integers(1, 9)),
        "lr": float(10 ** rng.uniform(-4, -2)),
        "loss": ("psf", "<twin>")[rng.integers(2)],
        "learned": bool(rng.integers(2)),
        "widths": ((8, 16), (16, 32))[rng.integers(2)],
    }
    return settings if settings["learned"] else settings | {"lam": float(10 ** rng.uniform(-3, 0))}


def usual(row, number):
    """The state of a trial in a search that went well."""
    return {5: "pruned", 6: "failed"}.get(number, "complete")


def search(*, objectives=(GAIN, WORK), arms=("tpe", "random"), seeds=(0,), trials=16, state=usual, final=None):
    """A search made of random numbers: the gain grows with unroll and is best at lr 0.003; trial 0 is the default."""
    rng = np.random.default_rng(2)
    rows, settings, seen = [], [], []
    for arm, seed, number in itertools.product(arms, seeds, range(trials)):
        given = dict(DEFAULTS) if number == 0 else suggested(rng)
        gain = 1 + 0.3 * given["unroll"] - (np.log10(given["lr"]) + 2.5) ** 2 + 0.1 * rng.normal()
        measures = {"psnr_gain_db": gain, "gmacs": given["unroll"] * sum(given["widths"])}
        measures = dict.fromkeys(SECONDARY, 1.0) | measures
        ended = state(len(rows), number)
        rows.append(
            {"arm": arm, "seed": seed, "number": number, "state": ended}
            | {"reason": "" if ended == "complete" else "<b>why", "seconds": 10.0, "seconds_naive": 15.0}
            | {name: value if ended == "complete" else np.nan for name, value in measures.items()}
        )
        settings.append(given)
        seen += [(arm, seed, number, "identify", step, gain - 1 / step) for step in range(1, 2 + (ended == "complete"))]
    return SearchStudy(
        name="search_made_up",
        title="Which settings <restore> best?",
        abstract={"Claim": "1 < 2", "Outcome": "not run yet"},
        preset="quick",
        command="python studies/search_made_up.py",
        objectives=objectives,
        trials=pd.DataFrame(rows),
        settings=tuple(settings),
        intermediate=pd.DataFrame(seen, columns=["arm", "seed", "number", "stage", "step", "value"]),
        space=SPACE,
        defaults=DEFAULTS,
        commands={arm: f"python studies/best.py --set loss=<twin> # {arm}" for arm in arms},
        final=final,
        facts={"git": "a < b"},
    )


def scored(values, *, arms=None, seeds=None, seconds=1.0, objective=GAIN):
    """A search with these scores and no settings; NaN is a pruned trial."""
    values = np.array(values, dtype=float)
    table = pd.DataFrame({"arm": arms or "tpe", "seed": seeds or 0, "seconds": seconds}, index=range(len(values)))
    table["number"] = table.groupby(["arm", "seed"]).cumcount()
    table["state"] = np.where(np.isfinite(values), "complete", "pruned")
    table = table.assign(reason="", seconds_naive=table["seconds"], **dict.fromkeys(SECONDARY, np.nan))
    table[objective.name] = values
    return dataclasses.replace(search(trials=1), objectives=(objective,), trials=table, settings=({},) * len(table))


def test_the_best_trial_follows_the_direction_and_the_sampler():
    result = scored([2.0, 5.0, np.nan, 5.0], arms=["tpe", "random", "random", "tpe"])
    assert best_trial(result).name == 1  # the earlier of equals
    assert best_trial(result, "tpe").name == 3
    assert best_trial(scored([2.0, 5.0], objective=WORK)).name == 0
    assert best_trial(scored([np.nan])) is None


def test_no_trial_of_the_front_is_dominated_and_every_other_one_is():
    result = search()
    front = pareto(result)
    rest = result.scored.drop(front.index)
    assert len(front) > 1
    for row in rest.itertuples():
        assert ((front["psnr_gain_db"] >= row.psnr_gain_db) & (front["gmacs"] <= row.gmacs)).any()
    assert front["gmacs"].is_monotonic_decreasing  # as the gain falls


def test_equal_trials_stay_on_the_front_together_and_gaps_are_left_out():
    assert non_dominated(np.array([[1, 1], [1, 1], [1, 0], [0, 2]])).tolist() == [True, True, False, True]
    result = search()
    result.trials.loc[0, "gmacs"] = np.nan
    assert 0 not in pareto(result).index


def test_the_hypervolume_is_the_area_of_the_union():
    assert hypervolume(np.array([[1.0, 0.5], [0.5, 1.0], [0.5, 0.5]])) == pytest.approx(0.75)
    assert hypervolume(np.empty((0, 2))) == 0


def test_what_is_pruned_costs_time_and_betters_nothing():
    curve = convergence(scored([np.nan, 3.0, 4.0, np.nan, 1.0], seconds=2.0, objective=WORK))
    assert curve["best"].tolist()[1:] == [3, 3, 3, 1]
    assert np.isnan(curve["best"][0])
    assert curve["seconds"].tolist() == [2, 4, 6, 8, 10]


def test_the_dominated_share_grows_to_that_of_the_front():
    curve = convergence(search(arms=("tpe",)))
    assert curve["hypervolume"].is_monotonic_increasing
    assert 0 < curve["hypervolume"].iloc[-1] < 1


def test_samplers_are_compared_at_the_smaller_budget():
    result = scored([1.0, 2.0, 9.0, 3.0, 4.0], arms=["tpe"] * 3 + ["random"] * 2, seconds=[1, 1, 1, 1, 2])
    table = compare_samplers(result).set_index(["budget", "arm"])
    assert table["size"].tolist() == [2, 2, 3, 3]
    assert table["mean"].tolist() == [2, 4, 9, 4]  # trials: tpe, random; seconds: tpe, random


def test_a_run_without_a_complete_trial_leaves_no_mean():
    result = scored([1.0, np.nan, 2.0, 2.0], arms=["tpe", "tpe", "random", "random"], seeds=[0, 1, 0, 1])
    table = compare_samplers(result).set_index(["budget", "arm"])
    assert np.isnan(table.loc[("trials", "tpe"), "mean"])
    assert "nothing complete in some seeds" in " ".join(sampler_sentences(result))


@pytest.mark.parametrize(("seeds", "verdict"), [(1, "may be luck"), (2, "do not tell"), (6, "tpe is better")])
def test_a_sampler_is_better_only_where_seeds_say_so(seeds, verdict):
    values = [*(10.0 + i for i in range(seeds)), *(1.0 + i for i in range(seeds))]
    result = scored(values, arms=["tpe"] * seeds + ["random"] * seeds, seeds=[*range(seeds)] * 2)
    text = " ".join(sampler_sentences(result))
    assert verdict in text
    assert ("is better" in text) == (seeds == 6)


def test_costs_add_up():
    row = costs(search(arms=("tpe",))).iloc[0]
    assert (row["trials"], row["complete"], row["pruned"], row["failed"]) == (16, 14, 1, 1)
    assert (row["seconds"], row["seconds_pruned"], row["reuse_saved"]) == (160, 10, 80)


def test_the_settings_that_matter_are_found_and_conditional_ones_marked():
    table, why = importances(search(trials=40, objectives=(GAIN, WORK)))
    gain = table[table["objective"] == "psnr_gain_db"].set_index("setting")
    assert why == ""
    assert {*gain.index[:2]} == {"unroll", "lr"}
    assert (gain.loc[["unroll", "lr"], "p_holm"] < 0.05).all()
    assert gain.loc["loss", "p_holm"] > 0.05
    assert gain.index[gain["conditional"]].tolist() == ["lam"]
    assert gain.loc["lam", "trials"] < gain.loc["lr", "trials"]
    assert table[table["objective"] == "gmacs"]["setting"].iloc[0] == "unroll"


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (search(trials=3), "at least 10 complete trials are needed; PSNR gain .* has 6"),
        (scored([1.0] * 12), "the same in all 12 complete trials"),
        (scored(range(12)), "no setting differs between the 12"),
    ],
)
def test_importances_say_why_there_are_none(result, reason):
    table, why = importances(result)
    assert table.empty
    assert re.search(reason, why)


def test_the_default_is_known_by_the_settings_that_apply():
    assert is_default({"learned": False, "widths": [16, 32]}, DEFAULTS)
    assert not is_default({"learned": True}, DEFAULTS)
    assert not is_default({"new": 1}, DEFAULTS)
    assert search().default_rows == [0, 16]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objectives": ()}, "needs an objective"),
        ({"settings": ()}, "32 trials, indexed from 0, meet 0 settings"),
        ({"trials": search().trials.drop(columns="gmacs")}, "gmacs missing"),
        ({"trials": search().trials.assign(state="ran")}, "complete, pruned, failed; one is 'ran'"),
        ({"trials": search().trials.assign(gmacs="")}, "measures are numbers; gmacs is not"),
    ],
)
def test_a_table_with_holes_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(search(), **change)


@pytest.mark.parametrize("case", CASES)
def test_every_outcome_can_be_drawn_and_told(case, monkeypatch):
    result = search(**CASES[case])
    figures = {name: draw(result) for name, (draw, *_) in FIGURES.items()}
    assert (figures["pareto"] is not None) == (len(result.objectives) > 1 and len(result.scored) > 0)
    assert (figures["slices"] is None) == (len(result.scored) == 0 or case == "one trial")
    for figure in filter(None, figures.values()):
        figure.draw_without_rendering()
    assert all(np.isfinite(value) for value in search_metrics(result).values())
    lines = search_text(result).splitlines()
    assert max(len(line) for line in lines if "python" not in line) <= WIDTH
    for name in figures:
        monkeypatch.delitem(FIGURES, name)
    html = page(result, sections(result))
    assert "<restore>" not in html
    assert "<twin>" not in html
    assert "<b>" not in html


def test_the_report_is_one_file_with_its_tables_and_figures(tmp_path, monkeypatch):
    for name in ("contour", "parallel", "intermediate", "slices"):
        monkeypatch.delitem(FIGURES, name)  # writing three files of each takes its time
    final = study(arms=("best", "default"), seeds=(0,), images=3, pictures=0)
    result = search(final=dataclasses.replace(final, contrast=("best", "default")))
    html = result.write(tmp_path).read_text()
    assert not re.search(r'(src|href)="(?!data:|final/report.html)|<script', html)
    assert len([*(tmp_path / "figures").iterdir()]) == 3 * len(FIGURES)
    trials = pd.read_csv(tmp_path / "trials.csv")
    assert trials["setting widths"][0] == "(16, 32)"
    assert trials["setting lam"].isna().sum() == sum("lam" not in settings for settings in result.settings)
    assert len(pd.read_csv(tmp_path / "pareto.csv")) == len(pareto(result))
    assert "On the test images: PSNR, best − default" in search_text(result)
    assert (tmp_path / "final" / "report.html").is_file()
    assert search_metrics(result)["final/best/psnr_gain_db"] == pytest.approx(2, abs=0.1)


def test_a_trial_that_diverged_does_not_hide_the_others():
    result = scored([1.0, 1.1, 1.2, 1.3, -1e9])
    assert charts.within_reach(result).min() > 0


def test_an_axis_of_mixed_kinds_has_a_place_for_each():
    result = dataclasses.replace(search(trials=2, arms=("tpe",)), settings=({"lam": None}, {"lam": 0.1}))
    scale = space_charts.Scale.of(result, "lam")
    assert scale.levels == (0.05, 0.1, None)
    assert scale.place(None) == 2
