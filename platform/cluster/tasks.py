"""Calls of one function by the processes of a cluster, each of which may die without the others."""

from collections.abc import Callable, Container, Hashable
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayTaskError

_PATIENCE_S = 5.0
"""How long a call that is told to stop may take to remove what is half written."""


@dataclass(frozen=True)
class Died:
    """The process of a call is gone, and the call has no value."""

    how: str


class Tasks:
    """Calls under way.

    Args:
        function: of a module that every node has.
        shared: its first argument, sent to each node once.
        cpus, gpus: of a node, reserved for each call.
    """

    def __init__(self, function: Callable[..., Any], shared: Any, *, cpus: int = 1, gpus: float = 0) -> None:
        # no retries of Ray's own: whoever asks decides what a death costs
        self._call = ray.remote(function).options(num_cpus=cpus, num_gpus=gpus, max_retries=0)
        self._shared = ray.put(shared)
        self._running: dict[Any, Hashable] = {}

    def __len__(self) -> int:
        return len(self._running)

    def begin(self, name: Hashable, *arguments: Any) -> None:
        """Call function(shared, *arguments), which is known by that name."""
        self._running[self._call.remote(self._shared, *arguments)] = name

    def abort(self, names: Container[Hashable]) -> None:
        """Those calls end by force, and nothing is heard of them any more."""
        for reference in [reference for reference, name in self._running.items() if name in names]:
            ray.cancel(reference, force=True)
            del self._running[reference]

    def wait(self) -> list[tuple[Any, Any]]:
        """What has ended, at least one call if there is any: which, and its value or `Died`.

        Raises:
            Exception: the function's own, of a call.
        """
        ended: list[Any] = []
        while self._running and not ended:
            ended, _ = ray.wait(list(self._running), timeout=1.0)  # a second, for Ctrl-C
        return [(self._running.pop(reference), _value(reference)) for reference in ended]

    def stop(self) -> None:
        """Interrupt all calls; when it returns they have ended, and after a few seconds by force."""
        left = list(self._running)
        for force in (False, True):  # force only where it must be: Ray dies of some calls that end as they are killed
            for reference in left:
                ray.cancel(reference, force=force)
            if left:
                _, left = ray.wait(left, num_returns=len(left), timeout=_PATIENCE_S)
        self._running.clear()


def _value(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except RayTaskError as error:  # raised by the function
        raise error.cause from None
    except ray.exceptions.RayError as error:
        if isinstance(error, OutOfMemoryError):
            return Died("ran out of memory")
        return Died("was lost with its node" if isinstance(error, NodeDiedError) else "was killed")
