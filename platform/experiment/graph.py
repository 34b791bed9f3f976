"""The stage graph of a plan: every stage once, what needs what, and which results belong to which arm and seed."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from deepblur.platform.experiment.arm import Arms, Stores
from deepblur.platform.experiment.study import Graph, Plan
from deepblur.platform.stages.stage import Stage, Work


def build_graph(plan: Plan, arms: Arms, stores: Stores) -> Graph:
    """Every stage of the arms once, in an order in which each comes after what it needs."""
    fingerprints = {sources: store.fingerprint for sources, store in stores.items()}
    works: dict[str, Work] = {}
    names: dict[str, list[tuple[str, int]]] = {}

    def add(stage: Stage, arm: tuple[str, int]) -> str:
        for need in stage.needs():
            add(need, arm)
        key = stage.key(fingerprints)
        names.setdefault(key, []).append(arm)
        if key not in works:
            works[key] = make_work(plan, stage, key, fingerprints)
        return key

    results = {}
    for (name, seed), arm in arms.items():
        results[name, seed] = tuple(add(stage, (name, seed)) for stage in arm.stages(plan, seed, stores))
    for key, work in works.items():
        works[key] = replace(work, label=_label(work.stage, names[key]))
    return Graph(works, results, dict(arms))


def _label(stage: Stage, users: list[tuple[str, int]]) -> str:
    """What people call a stage: its title, the arm if only one uses it, the seed if only one does."""
    arms, seeds = ({user[i] for user in users} for i in (0, 1))
    only = users[0][0] if len(arms) == 1 else ""
    parts = [only if only.startswith(stage.title) else f"{stage.title} {only}".strip()]
    seed = stage.own_seed()
    parts += [f"seed {users[0][1] if seed is None else seed}"] if len(seeds) == 1 else []
    return ", ".join(filter(None, [*parts, stage.part()]))


def make_work(plan: Plan, stage: Stage, key: str, fingerprints: Mapping[Any, str]) -> Work:
    """A stage with all that a process needs to carry it out."""
    return Work(
        stage=stage,
        key=key,
        label=key,
        attempt=0,
        runs=plan.runs,
        inputs={need.kind: need.key(fingerprints) for need in stage.needs()},
        code=stage.code(),
        pixels={sources: fingerprints[sources] for sources in stage.reads()},
        threads=plan.cpus,
    )
