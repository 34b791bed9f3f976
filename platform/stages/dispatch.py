"""Which function carries out which stage in this process."""

from collections.abc import Callable
from typing import Any

from deepblur.platform.stages.work import Work, evaluate_here, train_here
from deepblur.platform.system.disk import writing
from deepblur.platform.training.specification import Training


def carry_out_here(work: Work, watch: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Carry out one stage; its result for the ledger.

    Args:
        watch: called after every checkpoint of a training; what it raises ends the training.
    """
    with writing(f"stage {work.label}", work.runs):
        return _carry_out(work, watch)


def _carry_out(work: Work, watch: Callable[[], None]) -> dict[str, Any]:
    """What a kind alone needs is imported for that kind alone."""
    if isinstance(work.stage, Training):
        return train_here(work, watch)
    if work.stage.kind == "evaluate":
        return evaluate_here(work)
    if work.stage.kind == "assess":
        from deepblur.platform.arms.methods.assess import assess_here

        return assess_here(work)
    if work.stage.kind == "read":
        from deepblur.platform.arms.uncertainty.uncertainty import read_here

        return read_here(work)
    from deepblur.platform.arms.tuning.tuning import tune_here  # Optuna only where something is tuned

    return tune_here(work)
