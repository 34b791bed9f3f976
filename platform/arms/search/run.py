"""Carry out a search study: every sampler's trials, then the best configuration against the defaults on test images."""

import inspect
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from deepblur.platform.arms.search.collect import Histories, Searches, best_of, collect
from deepblur.platform.arms.search.history import History
from deepblur.platform.arms.search.loop import END, Job, Loop
from deepblur.platform.arms.search.record import SearchRecord
from deepblur.platform.arms.search.search import Search
from deepblur.platform.arms.trained.arm import Arm, Evaluate
from deepblur.platform.arms.trained.result import StudyResult
from deepblur.platform.data.sources import Source
from deepblur.platform.evaluation.levels import Grid
from deepblur.platform.experiment.arm import Arms, CarryOut, Stores
from deepblur.platform.experiment.graph import make_work
from deepblur.platform.experiment.result import Result
from deepblur.platform.experiment.run import cluster_resources, facts_of
from deepblur.platform.experiment.study import Design, Plan
from deepblur.platform.stages.cost import Budget, BudgetSpentError
from deepblur.platform.stages.failure import describe_error, of_the_settings
from deepblur.platform.stages.ledger import Ledger
from deepblur.platform.stages.stage import Work
from deepblur.platform.system.printable import note


def run_searches(plan: Plan, searches: Searches, stores: Stores, ledger: Ledger, carry_out: CarryOut) -> Result:
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
        facts = {**facts_of(plan, stores), "time": f"{time.time() - started:.0f} s for this run"}
        result = collect(plan, searches, histories, ledger, facts)
        _forget_pruned(plan, histories, ledger)
        if (found := _final(plan, searches, histories)) is not None:
            final = carry_out(*found, stores, ledger)
            assert isinstance(final, StudyResult)
            result = replace(result, final=final)
        record.finish(result)
    except BaseException:
        record.close(ok=False, stopped=isinstance(sys.exception(), (BudgetSpentError, KeyboardInterrupt)))
        raise
    record.close(ok=True)
    return result


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
    from deepblur.platform.arms.search.ray_trials import run_trials  # Ray is needed only where something is left to do
    from deepblur.platform.cluster.connection import connect
    from deepblur.platform.cluster.resources import slots, trainings_at_once

    resources = cluster_resources(plan)
    connect()
    loop.concurrent = min(loop.search.trials, loop.search.concurrent or trainings_at_once(resources))
    spent = loop.spent

    def beat() -> str | None:
        loop.ledger.beat(*slots())
        return spent()

    loop.spent = beat
    run_trials(loop, resources)


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


def _final(plan: Plan, searches: Searches, histories: Histories) -> tuple[Plan, Arms] | None:
    """The first sampler's best configuration against the defaults on the test images: a study of its own."""
    grid = plan.grid
    assert isinstance(grid, Grid)
    found = best_of(plan.reference, searches, histories)
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
    return duel, duel.build()


def _forget_pruned(plan: Plan, histories: Histories, ledger: Ledger) -> None:
    """Drop the checkpoints and curves of trainings that no trial wants any more."""

    for history in histories.values():
        for trial in history.trials:
            for key in trial.user_attrs["stages"] if history.ended(trial.number) else ():
                if ledger.done(key) is None:
                    shutil.rmtree(plan.runs / "train" / key, ignore_errors=True)
                    (plan.runs / "live" / f"{key}.jsonl").unlink(missing_ok=True)
