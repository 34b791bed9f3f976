"""What a study cost: processor and GPU time by stage, attempt and outcome, and what of it was of use.

Reserved is what a stage kept from others, cores (or GPUs) × wall clock; used is what its processes computed. A reserved
second is one of these:

useful     of the work that a stage's result rests on
repeated   of work that a kill destroyed: what came after the last checkpoint, or the whole of a stage without any
failed     of attempts that ended in an error of their own, as far as no later attempt went on from them
pruned     of trainings that were given up because they promised little
overhead   of stages before and after their work: starting processes, loading, waiting for workers
idle       not reserved by any stage: start-up, stages that wait for others, the report
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import pandas as pd

from deepblur.platform.stages.ledger import DONE, Ledger

CLASSES = ("useful", "repeated", "failed", "pruned", "overhead")


def cost_table(ledger: Ledger, keys: Collection[str] | None = None) -> pd.DataFrame:
    """Every attempt that has ended, at these stages or at all.

    Returns:
        Columns key, attempt, session, kind, label, outcome, host, started, finished, cpus, gpus, lost_steps, cpu_used_s
        as the ledger holds them; seconds of wall clock and, of these, one column `<class>_s` for each of CLASSES; cpu_s
        and gpu_s, the reserved core- and GPU-seconds.
    """
    table = pd.read_sql_query("select * from attempt where outcome is not null order by started", ledger.db)
    if keys is not None:
        table = table[table["key"].isin(list(keys))].reset_index(drop=True)
    seconds = table["finished"] - table["started"]
    useful = table["useful_s"].clip(upper=seconds)
    lost = table["lost_s"].clip(upper=seconds - useful)
    outcome = table["outcome"]
    whole = outcome.isin([*DONE, "interrupted"])
    table["seconds"], table["useful_s"] = seconds, useful
    table["repeated_s"] = lost.where(whole, 0.0)
    table["failed_s"] = (seconds - useful).where(outcome == "failed", 0.0)
    table["pruned_s"] = (seconds - useful).where(outcome == "pruned", 0.0)
    table["overhead_s"] = (seconds - useful - lost).where(whole, 0.0)
    table["cpu_s"], table["gpu_s"] = seconds * table["cpus"], seconds * table["gpus"]
    return table.drop(columns=["lost_s", "error"])


def by_class(attempts: pd.DataFrame, slots: str) -> dict[str, float]:
    """Class → reserved core- (slots "cpus") or GPU-seconds ("gpus")."""
    return {name: float((attempts[f"{name}_s"] * attempts[slots]).sum()) for name in CLASSES}


@dataclass(frozen=True)
class Cost:
    """What the stages of a study cost, and what the command that reports it did with its time."""

    attempts: pd.DataFrame
    """Of the study's stages, by whichever command; see `cost_table`."""
    seconds: float
    """Wall clock of this command so far."""
    cpu: dict[str, float]
    """Class, idle included → core-seconds of this command; their sum is cores × wall clock."""
    gpu: dict[str, float]

    @property
    def stages(self) -> pd.DataFrame:
        """A row per kind of stage: stages, attempts, cpu_s, cpu_used_s, gpu_s, and core-seconds of each of CLASSES."""
        rows = []
        for kind, of_kind in self.attempts.groupby("kind", sort=False):
            row = {"kind": kind, "stages": of_kind["key"].nunique(), "attempts": len(of_kind)}
            row |= {name: float(of_kind[name].sum()) for name in ("cpu_s", "cpu_used_s", "gpu_s")}
            rows.append(row | by_class(of_kind, "cpus"))
        return pd.DataFrame(rows, columns=["kind", "stages", "attempts", "cpu_s", "cpu_used_s", "gpu_s", *CLASSES])

    def metrics(self) -> dict[str, float]:
        """Flat names → seconds, for MLflow: the study's total by class and by kind."""
        found = {f"cost/cpu_s/{name}": value for name, value in by_class(self.attempts, "cpus").items()}
        gpu = by_class(self.attempts, "gpus")
        found |= {f"cost/gpu_s/{name}": value for name, value in gpu.items() if sum(gpu.values())}
        found |= {f"cost/{name}": float(self.attempts[name].sum()) for name in ("cpu_s", "cpu_used_s", "gpu_s")}
        found |= {f"cost/cpu_s/{row['kind']}": row["cpu_s"] for row in self.stages.to_dict("records")}
        return found | {"cost/attempts": float(len(self.attempts)), "cost/command_s": self.seconds}

    def sentence(self) -> str:
        """What this command did with the cores and GPUs that it had."""
        parts = [f"this command took {_say(self.seconds)}"]
        for name, spent in {"core": self.cpu, "GPU": self.gpu}.items():
            total = sum(spent.values())
            if total > 0:
                shares = ", ".join(f"{share:.0%} {kind}" for kind, s in spent.items() if (share := s / total) >= 0.005)
                parts.append(f"{_say(total, name)}: {shares}")
        return "; ".join(parts)


def cost_of(ledger: Ledger, keys: Iterable[str]) -> Cost:
    """What the stages with these keys cost, and this command so far."""
    everything = cost_table(ledger)
    mine = everything[everything["session"] == ledger.session]
    seconds, cpu_s, gpu_s = ledger.capacity()
    cpu, gpu = by_class(mine, "cpus"), by_class(mine, "gpus")
    return Cost(
        attempts=everything[everything["key"].isin(list(keys))].reset_index(drop=True),
        seconds=seconds,
        cpu=cpu | {"idle": max(0.0, cpu_s - sum(cpu.values()))},
        gpu=gpu | {"idle": max(0.0, gpu_s - sum(gpu.values()))},
    )


class BudgetSpentError(Exception):
    """A study has used up what it may spend; what is done stays done."""


class Budget:
    """What this command may spend.

    Args:
        hours: of wall clock since the command was given; None: as many as it takes.
        gpu_hours: reserved by its stages, those under way included.
        ledger: of the session that spends it.
    """

    def __init__(self, hours: float | None, gpu_hours: float | None, ledger: Ledger) -> None:
        self._limits = {"h": hours, "GPU-h": gpu_hours}
        self._ledger = ledger

    def spent(self) -> str | None:
        """Which budget is used up, in words; None while there is some left."""
        if self._limits["h"] is not None and self._ledger.seconds_of_session() >= self._limits["h"] * 3600:
            return f"budget of {self._limits['h']:g} h spent"
        if self._limits["GPU-h"] is not None and self._ledger.gpu_seconds() >= self._limits["GPU-h"] * 3600:
            return f"budget of {self._limits['GPU-h']:g} GPU-h spent"
        return None

    def check(self, done: int, total: int, what: str = "stages") -> None:
        """Raise BudgetSpentError with the sentence for the person who waits, once a budget is used up."""
        if spent := self.spent():
            raise BudgetSpentError(f"{spent}: {done} of {total} {what} done")


def _say(seconds: float, slot: str = "") -> str:
    unit, length = next((unit for unit in (("h", 3600), ("min", 60)) if seconds >= unit[1]), ("s", 1))
    return f"{seconds / length:.1f} {slot}{'-' if slot else ''}{unit}"
