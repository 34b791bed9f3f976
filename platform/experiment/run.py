"""Carry a plan out: decode the data, work the stage graph, record everything, write the report, register the models."""

import importlib.metadata
import platform
import sqlite3
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from deepblur.platform.data.store import open_store
from deepblur.platform.experiment.arm import Arms, Stores, kind_of
from deepblur.platform.experiment.graph import build_graph
from deepblur.platform.experiment.provenance import write_made
from deepblur.platform.experiment.record import StagesRecord
from deepblur.platform.experiment.result import Result
from deepblur.platform.experiment.study import Graph, Plan
from deepblur.platform.stages.cost import Budget, BudgetSpentError
from deepblur.platform.stages.finished import RESULT
from deepblur.platform.stages.ledger import Ledger
from deepblur.platform.stages.stage import Work
from deepblur.platform.system.disk import is_full
from deepblur.platform.system.printable import note
from deepblur.platform.system.source_tree import commit
from deepblur.platform.training.specification import Training

if TYPE_CHECKING:
    from deepblur.platform.cluster.resources import Resources

PROGRESS_S = 15.0
"""Seconds between two lines about the trainings under way."""


def run(plan: Plan) -> Result:
    """Everything between the command and the report."""
    try:
        plan.runs.mkdir(parents=True, exist_ok=True)
        opened = _ledger(plan)
    except (OSError, sqlite3.OperationalError) as error:
        if is_full(error):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(
            f"the folder of results {plan.runs} cannot be written to ({reason}); choose another one with --runs"
        ) from None
    with opened as ledger:
        arms = plan.build()
        return kind_of(arms).run(plan, arms, _open_stores(plan), ledger, carry_out)


def is_done(plan: Plan) -> bool:
    """Whether every stage of a plan lies finished in its folder of results; nothing is written but decoded images."""
    graph = build_graph(plan, plan.build(), _open_stores(plan))
    return all((work.folder / RESULT).is_file() for work in graph.works.values())


def carry_out(plan: Plan, arms: Arms, stores: Stores, ledger: Ledger) -> Result:
    """Work the stage graph of the arms, record everything, write the report, register the models."""
    started = time.time()
    graph = build_graph(plan, arms, stores)
    missing = [work for work in graph.works.values() if ledger.done(work.key) is None]
    done = len(graph.works) - len(missing)
    note(f"{plan.study.name}, preset {plan.preset}: {len(graph.works)} stages, {done} done before; {plan.runs}")
    record = StagesRecord(plan, graph, ledger)
    try:
        if missing:
            _Progress(plan, graph, ledger, record).carry_out(missing)
        facts = {**facts_of(plan, stores), "stages": f"{len(missing)} carried out now, {done} reused",
                 "time": f"{time.time() - started:.0f} s for this run"}  # fmt: skip
        result = kind_of(arms).collect(plan, graph, ledger, facts)
        record.finish(result)
        plan.study.after(plan, graph)
    except BaseException:
        record.close(ok=False, stopped=isinstance(sys.exception(), (BudgetSpentError, KeyboardInterrupt)))
        raise
    record.close(ok=True)
    return result


def _ledger(plan: Plan) -> Ledger:
    gpus = float(plan.local and torch.cuda.is_available()) or plan.gpus
    return Ledger(plan.runs, plan.study.name, started=plan.started, workers=plan.workers, cpus=plan.cpus, gpus=gpus,
                  say=note)  # fmt: skip


def _open_stores(plan: Plan) -> Stores:
    data = plan.data
    return {sources: open_store(sources, plan.runs / "cache") for sources in (data.train, data.validation, data.test)}


class _Progress:
    """Carries out what is missing, tells the ledger, the record and the person who waits."""

    def __init__(self, plan: Plan, graph: Graph, ledger: Ledger, record: StagesRecord) -> None:
        self.plan, self.graph, self.ledger, self.record = plan, graph, ledger, record
        self.budget = Budget(plan.hours, plan.gpu_hours, ledger)
        self.finished = 0
        self.total = 0
        self.spoken = time.time()

    def carry_out(self, missing: list[Work]) -> None:
        self.total = len(missing)
        if self.plan.local:
            for work in missing:
                self.budget.check(*self.progress())
                work = self.start(work)
                self.done(work, work.carry_out(lambda: self.budget.check(*self.progress())))
            return
        from deepblur.platform.cluster.connection import connect  # Ray is needed only where something is left to do
        from deepblur.platform.cluster.queue import StageError, run_on_ray

        self.budget.check(*self.progress())  # decoding the images may have spent it
        resources = cluster_resources(self.plan)
        connect()
        try:
            run_on_ray(
                missing, resources, on_start=self.start, on_done=self.done, on_crash=self.crash, on_wait=self.wait
            )
        except StageError as failure:
            self.ledger.fail(failure.work.key, failure.reason)
            raise

    def progress(self) -> tuple[int, int]:
        """(done, all) of the study's stages."""
        return len(self.graph.works) - self.total + self.finished, len(self.graph.works)

    def start(self, work: Work) -> Work:
        return replace(work, attempt=self.ledger.start(work.key, work.stage.kind, work.label, work.stage.processes))

    def done(self, work: Work, result: dict[str, Any]) -> None:
        write_made(self.ledger.folder(work.key), self.record.provenance.ingredients["made_with"])
        self.ledger.finish(work.key, result)
        self.finished += 1
        if not work.stage.expendable:  # which are many and short: counted now and then
            said = work.stage.headline(result)
            note(f"[{self.finished}/{self.total}] {work.label}: {result['seconds']:.0f} s, {said}")
        self.record.stage_done(work)

    def crash(self, work: Work, reason: str) -> bool:
        """A stage that the study can do without costs its own results only; the next run tries it again."""
        if not work.stage.expendable:
            return False
        self.ledger.fail(work.key, reason)
        self.finished += 1
        note(f"[{self.finished}/{self.total}] {work.label} failed: {reason}")
        return True

    def wait(self, running: list[Work]) -> None:
        """Called about once a second: show the curves as they grow, stop where a budget is spent."""
        from deepblur.platform.cluster.resources import slots

        self.ledger.beat(*slots())
        self.budget.check(*self.progress())
        self.record.follow([work for work in running if isinstance(work.stage, Training)])
        if time.time() - self.spoken < PROGRESS_S:
            return
        self.spoken = time.time()
        curves = [(work, work.live_rows()) for work in running]
        lines = [f"{work.label} step {rows[-1]['step']:.0f}/{work.stage.steps()}, {work.stage.headline(rows[-1])}"
                 for work, rows in curves if rows]  # fmt: skip
        short = [work.label for work in running if work.stage.expendable]
        if short:
            lines.append(f"{self.finished}/{self.total} stages done, now {', '.join(short)}")
        if lines:
            note("      " + "; ".join(lines))


def _workers(plan: Plan) -> str:
    return str(plan.workers) if plan.fewest_workers == plan.workers else f"{plan.fewest_workers} to {plan.workers}"


def cluster_resources(plan: Plan) -> "Resources":
    """What every training of the plan gets."""
    from deepblur.platform.cluster.resources import Resources

    return Resources(
        workers=plan.workers, fewest_workers=plan.fewest_workers, cpus=plan.cpus, gpus=plan.gpus, wait_s=plan.wait_s
    )


def facts_of(plan: Plan, stores: Stores) -> dict[str, str]:
    """Where, with what and on which images a plan is carried out."""
    roles = dict(zip(("train", "validation", "test"), stores.items(), strict=False))
    facts = {
        f"data, {role}": f"{len(store)} images, {len(store.skipped)} files skipped, fingerprint {store.fingerprint}"
        for role, (_, store) in roles.items()
    }
    packages = ("torch", "ray", "mlflow", "numpy", "scikit-image")
    return {
        "git commit": commit(),
        **facts,
        "device": "GPU" if plan.gpus else f"CPU, {platform.processor() or platform.machine()}",
        "workers × cores per training": f"{_workers(plan)} × {plan.cpus}",
        "versions": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages),
    }
