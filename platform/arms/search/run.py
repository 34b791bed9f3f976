"""Carry out a search study: every sampler's trials, then the best configuration against the defaults on test images."""

import inspect
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from deepblur.platform.arms.search.history import History, curves
from deepblur.platform.arms.search.loop import END, Job, Loop
from deepblur.platform.arms.search.record import SearchRecord
from deepblur.platform.arms.search.result import SECONDARY, SearchResult
from deepblur.platform.arms.search.search import OBJECTIVES, Search
from deepblur.platform.arms.trained.arm import Arm, Evaluate
from deepblur.platform.arms.trained.result import StudyResult
from deepblur.platform.data.sources import Source
from deepblur.platform.data.store import ImageStore
from deepblur.platform.evaluation.levels import Grid
from deepblur.platform.experiment.graph import make_work
from deepblur.platform.experiment.run import carry_out, cluster_resources, facts_of
from deepblur.platform.experiment.study import Design, Plan
from deepblur.platform.stages.cost import Budget, BudgetSpentError, cost_of
from deepblur.platform.stages.failure import describe_error, of_the_settings
from deepblur.platform.stages.ledger import Ledger
from deepblur.platform.stages.stage import Work
from deepblur.platform.system.printable import note

Searches = Mapping[tuple[str, int], Search]
Histories = Mapping[tuple[str, int], History]
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


def run_searches(
    plan: Plan, searches: Searches, stores: Mapping[tuple[Source, ...], ImageStore], ledger: Ledger
) -> None:
    """Everything between the command and the report of a search."""
    started = time.time()
    fingerprints = {sources: store.fingerprint for sources, store in stores.items()}
    grid = plan.grid
    assert isinstance(grid, Grid)
    histories = {}
    for (arm, seed), search in searches.items():
        folder = plan.runs / "searches" / f"{plan.study.name}-{search.key(grid, fingerprints)}"
        histories[arm, seed] = History(folder, search, search.scored_on(grid, fingerprints))
        note(f"{arm}, seed {seed}: {len(histories[arm, seed])} of {search.trials} trials asked for before; {folder}")
        if told := histories[arm, seed].told:
            note(f"{arm}, seed {seed}: {told}")
    record = SearchRecord(plan, searches, histories)
    budget = Budget(plan.hours, plan.gpu_hours, ledger)
    try:
        for (arm, seed), search in searches.items():
            works = _works(plan, arm, fingerprints)
            audience, history = record.audience(arm, seed), histories[arm, seed]
            loop = Loop(search, grid, history, ledger, works, 1, audience, budget.spent)
            _search(plan, loop)
            if not loop.exhausted and not _complete(search, history):
                ended = sum(h.ended(n) for h in histories.values() for n in range(len(h)))
                budget.check(ended, sum(s.trials for s in searches.values()), "trials")
        _require_one(histories)
        result = _collect(plan, searches, histories, ledger, _facts(plan, stores, started))
        _forget_pruned(plan, histories, ledger)
        final = _final(plan, searches, histories, stores, ledger)
        record.finish(replace(result, final=final))
    except BaseException:
        record.close(ok=False, stopped=isinstance(sys.exception(), (BudgetSpentError, KeyboardInterrupt)))
        raise
    record.close(ok=True)


def _require_one(histories: Histories) -> None:
    """Refuse a search that found out nothing, such as one whose settings beside the searched ones are refused.

    Raises:
        ValueError: every trial failed.
    """
    trials = [trial for history in histories.values() for trial in history.trials]
    if trials and all(trial.state.name == "FAIL" for trial in trials):
        raise ValueError(f"no trial came to an end; the first one: {trials[0].user_attrs.get('reason', 'unknown')}")


def _works(
    plan: Plan, arm: str, fingerprints: Mapping[tuple[Source, ...], str]
) -> Callable[[Arm, int], tuple[Work, ...]]:
    """The stages of a trial: IN, DN, and their measurement on the grid of validation images."""

    def of(configuration: Arm, number: int) -> tuple[Work, ...]:
        assert isinstance(plan.grid, Grid)
        measured = Evaluate(arm=configuration, grid=plan.grid, test=plan.data.validation)
        works = []
        for stage, name in ((configuration.identify, "IN"), (configuration.deblur, "DN"), (measured, "evaluation")):
            work = make_work(plan, stage, stage.key(fingerprints), fingerprints)
            works.append(replace(work, label=f"{name} of {arm} trial {number}"))
        return tuple(works)

    return of


def _complete(search: Search, history: History) -> bool:
    return len(history) >= search.trials and all(map(history.ended, range(len(history))))


def _search(plan: Plan, loop: Loop) -> None:
    """Carry out what a search still lacks."""
    if _complete(loop.search, loop.history):
        return
    if plan.local:
        _search_here(loop)
        return
    from deepblur.platform.arms.search import ray_trials as trials  # Ray is needed only where something is left to do
    from deepblur.platform.cluster import queue as scheduling

    resources = cluster_resources(plan)
    scheduling.connect()
    loop.concurrent = min(loop.search.trials, loop.search.concurrent or scheduling.trainings_at_once(resources))
    spent = loop.spent

    def beat() -> str | None:
        loop.ledger.beat(*scheduling.slots())
        return spent()

    loop.spent = beat
    trials.run_trials(loop, resources)


class _PrunedError(Exception):
    """A training is to stop."""


def _search_here(loop: Loop) -> None:
    """One trial after another in this process."""
    while (job := loop.next()) != END:
        assert isinstance(job, Job)
        for work in loop.missing(job):

            def watch(job: Job = job, work: Work = work) -> None:
                if loop.look(job, work) or loop.spent():
                    raise _PrunedError

            try:
                result = work.carry_out(watch)
            except _PrunedError:
                break
            except Exception as error:
                if not of_the_settings(error):
                    raise
                loop.failed(job, work, describe_error(error))
                break
            if not loop.done(job, work, result):
                break


def _collect(
    plan: Plan,
    searches: Searches,
    histories: Histories,
    ledger: Ledger,
    facts: dict[str, str],
) -> SearchResult:
    """The tables of all trials. A stage costs the first trial of its sampler that needed it, as if each ran alone."""
    some = next(iter(searches.values()))
    rows, settings, seen = [], [], []
    for (arm, seed), history in histories.items():
        paid: set[str] = set()
        for trial in history.trials:
            if not history.ended(trial.number):
                continue
            about = trial.user_attrs
            seconds = {key: ledger.seconds(key) for key in about["stages"]}
            rows.append(
                {"arm": arm, "seed": seed, "number": trial.number, "state": STATES[trial.state.name]}
                | {"reason": about.get("reason", ""), "seconds_naive": sum(seconds.values())}
                | {"seconds": sum(s for key, s in seconds.items() if key not in paid)}
                | {name: about.get("measures", {}).get(name, float("nan")) for name in (*some.objectives, *SECONDARY)}
            )
            paid |= seconds.keys()
            settings.append(searches[arm, seed].params(trial))
            for kind, points in curves(trial).items():
                seen += [(arm, seed, trial.number, kind, mark, value) for mark, value in points.items()]
    return SearchResult(
        name=plan.study.name,
        title=plan.study.title,
        abstract=plan.study.abstract,
        preset=plan.preset,
        command=plan.command,
        objectives=tuple(OBJECTIVES[name] for name in some.objectives),
        trials=pd.DataFrame(rows),
        settings=tuple(settings),
        intermediate=pd.DataFrame(seen, columns=["arm", "seed", "number", "stage", "step", "value"]),
        space={name: str(part) for name, part in some.space.items()},
        defaults=some.defaults,
        commands={arm: best[0].command(plan.preset, best[1]) for arm in plan.arms
                  if (best := best_of(arm, searches, histories))},
        final=None,
        facts=facts,
        contrast=plan.contrast,
        cost=cost_of(ledger, {key for h in histories.values() for t in h.trials for key in t.user_attrs["stages"]}),
    )  # fmt: skip


def best_of(sampler: str, searches: Searches, histories: Histories) -> tuple[Search, dict[str, Any]] | None:
    """The best complete trial of a sampler by the first objective, over all seeds: its search and its settings."""
    found = [
        (trial.values[0], searches[where], trial)
        for where, history in histories.items()
        for trial in history.trials
        if where[0] == sampler and trial.state.name == "COMPLETE"
    ]
    if not found:
        return None
    sign = OBJECTIVES[found[0][1].objectives[0]].sign
    _, search, trial = max(found, key=lambda one: sign * one[0])  # the first of equals
    return search, search.params(trial)


def _final(
    plan: Plan,
    searches: Searches,
    histories: Histories,
    stores: Mapping[tuple[Source, ...], ImageStore],
    ledger: Ledger,
) -> StudyResult | None:
    """The first sampler's best configuration against the defaults on the test images, as a study of its own."""
    grid = plan.grid
    assert isinstance(grid, Grid)
    sampler = plan.contrast[0] if plan.contrast[0] in plan.arms else plan.arms[0]
    found = best_of(sampler, searches, histories)
    if found is None:
        return None
    search, best = found
    if best == search.defaults:
        note("the defaults are the best configuration: there is nothing to hold against them on the test images")
        return None
    own = search.base.arms[search.arm]

    def arm(**keywords: Any) -> Arm:
        return search.watched(search.base.arm(**keywords), grid)  # as the trials were, whose networks it reuses

    arm.__signature__ = inspect.signature(search.base.arm)  # type: ignore[attr-defined]
    study = Design(
        name=plan.study.name,
        about=plan.study.about,
        arm=arm,
        arms={"best": {**own, **best}, "default": {**own, **search.defaults}},
        contrast=("best", "default"),
        presets={},
    )
    duel = replace(plan, study=study, arms=("best", "default"), settings=search.settings,
                   preset=f"{plan.preset}, best against default")  # fmt: skip
    arms = {where: arm for where, arm in duel.build().items() if isinstance(arm, Arm)}
    final = carry_out(duel, arms, stores, ledger)
    assert isinstance(final, StudyResult)
    return final


def _facts(plan: Plan, stores: Mapping[Any, ImageStore], started: float) -> dict[str, str]:
    return {**facts_of(plan, stores), "time": f"{time.time() - started:.0f} s for this run"}


def _forget_pruned(plan: Plan, histories: Histories, ledger: Ledger) -> None:
    """Drop the checkpoints and curves of trainings that no trial wants any more."""

    for history in histories.values():
        for trial in history.trials:
            for key in trial.user_attrs["stages"] if history.ended(trial.number) else ():
                if ledger.done(key) is None:
                    shutil.rmtree(plan.runs / "train" / key, ignore_errors=True)
                    (plan.runs / "live" / f"{key}.jsonl").unlink(missing_ok=True)
