"""Search spaces: which settings a search may change, and to what."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial


@dataclass(frozen=True)
class Between:
    """A setting to search: a number from low to high, both included."""

    low: float
    """Included, in the setting's unit."""
    high: float
    """Included."""
    log: bool = False
    """Searched on a logarithmic scale."""
    integer: bool = False
    """Whole numbers only."""
    step: float | None = None
    """Searches low, low + step, … only, so that trials can share what they train."""
    when: Mapping[str, Any] = field(default_factory=dict)
    """Searched only where these settings have these values; otherwise the setting keeps its default."""

    def distribution(self) -> "BaseDistribution":
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.integer:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def suggest(self, trial: "Trial", name: str) -> Any:
        if self.integer:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return trial.suggest_float(name, self.low, self.high, log=self.log, step=self.step)

    def value(self, choice: Any) -> Any:
        """What the arm function gets for Optuna's choice."""
        return choice if self.step is None else round(choice, 10)  # 0.05 + 0.1 is to be 0.15, as people write it

    def grid(self) -> list[Any]:
        """Every value, of a setting that has finitely many.

        Raises:
            ValueError: a continuous range.
        """
        if self.integer:
            return list(range(int(self.low), int(self.high) + 1, int(self.step or 1)))
        if self.step is None:
            raise ValueError(f"a grid needs a step for the range {self.low:g} to {self.high:g}; take another sampler")
        return [round(self.low + i * self.step, 10) for i in range(int((self.high - self.low) / self.step + 1e-9) + 1)]

    def __str__(self) -> str:
        kinds = [kind for kind, said in {"integer": self.integer, "logarithmic": self.log}.items() if said]
        kinds += [f"in steps of {self.step:g}"] if self.step is not None else []
        return ", ".join([f"{self.low:g} … {self.high:g}", *kinds, *_conditions(self.when)])


@dataclass(frozen=True)
class OneOf:
    """A setting to search: one of some values."""

    values: tuple[Any, ...]
    """In the setting's unit; any plain values."""
    when: Mapping[str, Any] = field(default_factory=dict)
    """As in `Between`."""

    def distribution(self) -> "BaseDistribution":
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.grid())

    def suggest(self, trial: "Trial", name: str) -> Any:
        return trial.suggest_categorical(name, self.grid())

    def value(self, choice: Any) -> Any:
        """What the arm function gets for Optuna's choice."""
        return next(value for value in self.values if _choice(value) == choice)

    def grid(self) -> list[Any]:
        return [_choice(value) for value in self.values]

    def __str__(self) -> str:
        return ", ".join([" or ".join(map(str, self.values)), *_conditions(self.when)])


def _choice(value: Any) -> Any:
    """A value as Optuna's databases keep it: tuples as text."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


def _conditions(when: Mapping[str, Any]) -> list[str]:
    return [f"where {name} is {value}" for name, value in when.items()]
