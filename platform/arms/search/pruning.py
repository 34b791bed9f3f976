"""When a trial of a search is not worth going on with, held against its peers and what they cost. Knows no Ray."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from deepblur.platform.arms.search.search import Search
from deepblur.platform.arms.trained.arm import Arm
from deepblur.platform.evaluation.levels import Grid
from deepblur.platform.training.tasks import build

KNOWN_BEFORE = {"gmacs": "gmacs", "latency_ms": "gmacs", "parameters": "parameters"}
"""Objective → what tells, before any training, which of two trials costs more in it."""
KEEP = {"asha": 100 / 3, "median": 50.0}
"""Pruner → per cent of a trial's peers among whom it must be to go on."""
MONITORED = {"identify": "grid_psf_snr_db", "deblur": "grid_psnr_db"}
"""Kind of training → the column of its curve that the pruner looks at."""


def rungs(search: Search, validations: int) -> set[int]:
    """After which validations (from 1) a trial is held against its peers."""
    if search.pruner == "asha":  # a ninth and a third of the training: a reduction factor of three
        return {math.ceil(validations / 9), math.ceil(validations / 3)}
    return set(range(2, validations)) if search.pruner == "median" else set()


def should_stop(search: Search, curve: Mapping[int, float], peers: Iterable[Mapping[int, float]]) -> bool:
    """Whether a training is not among the best of its peers.

    Args:
        curve: validation (from 1) → value, the more the better.
        peers: the same of trials that cost no more: one that is worse but cheaper may belong to the Pareto front.
    """
    import optuna
    from optuna.trial import TrialState, create_trial

    study = optuna.create_study(direction="maximize")
    for peer in peers:
        if peer:
            study.add_trial(create_trial(value=peer[max(peer)], intermediate_values=dict(peer)))
    judge = optuna.pruners.PercentilePruner(KEEP[search.pruner], n_startup_trials=search.startup // 2, n_warmup_steps=0)
    return judge.prune(study, create_trial(state=TrialState.RUNNING, intermediate_values=dict(curve)))


def dearer(search: Search, costs: Mapping[str, float], than: Mapping[str, float]) -> bool:
    """Whether a trial costs more than another in an objective that is known before training."""
    return any(costs[KNOWN_BEFORE[name]] > than[KNOWN_BEFORE[name]] for name in search.objectives
               if name in KNOWN_BEFORE)  # fmt: skip


def costs(arm: Arm, grid: Grid) -> dict[str, float]:
    """What a configuration costs at use, whatever it learns: "gmacs" per crop of the grid, and "parameters".

    Operations are those of convolutions and linear layers; Fourier transforms are not counted.
    """
    identifier, deblurrer = build(arm.identify).eval(), build(arm.deblur).eval()
    operator = arm.identify.degradation.operator
    image = torch.zeros(1, 1, grid.crop_px, grid.crop_px)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        deblurrer(image, identifier(image).float(), operator)
    return {"gmacs": counter.get_total_flops() / 2e9, "parameters": float(_size(identifier) + _size(deblurrer))}


def _size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
