"""What a study asks of an arm. A kind of arm answers in one folder of `platform/arms`; nobody else asks its kind."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import ClassVar

from deepblur.platform.data.sources import Source
from deepblur.platform.data.store import ImageStore
from deepblur.platform.experiment.result import Result
from deepblur.platform.experiment.study import Graph, Plan
from deepblur.platform.stages.ledger import Ledger
from deepblur.platform.stages.stage import Stage

Arms = Mapping[tuple[str, int], "StudyArm"]
"""(arm, seed) → what the arm function made."""
Stores = Mapping[tuple[Source, ...], ImageStore]
CarryOut = Callable[[Plan, Arms, Stores, Ledger], Result]


class StudyArm:
    """One arm of a study at one seed, which its arm function returns; all arms of a study are of one kind."""

    gatherer: ClassVar[str]
    """Module, such as "platform/arms/trained/collect", whose function `collect` does what the method does. It knows the
    arm, and its report, and is imported only when a study of this kind ends."""

    @property
    def label(self) -> str:
        """What identifies and what restores, for people: MLflow's tag `method`."""
        return type(self).__name__

    def stages(self, plan: Plan, seed: int, stores: Stores) -> Sequence[Stage]:
        """The stages that measure this arm; what they need is theirs to say."""
        raise NotImplementedError

    def no_model(self) -> str:
        """Why its networks become no registered model; "" where they do, or where there are none."""
        return ""

    @classmethod
    def gathering(cls) -> ModuleType:
        return importlib.import_module("deepblur." + cls.gatherer.replace("/", "."))

    @classmethod
    def collect(cls, plan: Plan, graph: Graph, ledger: Ledger, facts: dict[str, str]) -> Result:
        """Everything measured and learned, from the folders of the finished stages."""
        return cls.gathering().collect(plan, graph, ledger, facts)

    @classmethod
    def run(cls, plan: Plan, arms: Arms, stores: Stores, ledger: Ledger, carry_out: CarryOut) -> Result:
        """Everything between the command and the report; `carry_out` works the graph of the arms' stages."""
        return carry_out(plan, arms, stores, ledger)


def kind_of(arms: Arms) -> type[StudyArm]:
    """The kind of a study's arms.

    Raises:
        ValueError: there are several.
    """
    first, *others = dict.fromkeys(type(arm) for arm in arms.values())
    if others:
        names = ", ".join(kind.__name__ for kind in (first, *others))
        raise ValueError(f"all arms of a study are of one kind; the arm function returned {names}")
    return first
