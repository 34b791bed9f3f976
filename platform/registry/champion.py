"""Who is champion, and who was: the alias moves in one step, one mover at a time, and can be moved back.

The single commit point is the alias `champion`. Around it, in tags of the registered model:

1. a *claim* (tag `deepblur.claim.ID`) that says from which version to which, and what the history will then be;
2. all is read again: a claim of somebody else makes this one withdraw and wait, another champion than the one that the
   gate compared with makes it give up, so that the comparison is made again;
3. the alias is set;
4. the history (tag `deepblur.champions`) is written and the claim removed.

Claims are written before they are read, so of two movers at least one sees the other: this holds on any MLflow server,
which offers no locks. Beside a database file a file lock keeps movers apart as well, so that they need not withdraw.
A mover that dies leaves its claim. The next one completes it if the alias has moved and undoes it if not.
"""

import json
import random
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psutil

from deepblur.platform.system.lock import locked
from deepblur.platform.tracking.connection import database_file

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, CHALLENGER = "champion", "challenger"
CLAIM = "deepblur.claim."
HISTORY = "deepblur.champions"
KEPT = 30
"""Entries of the history: a tag holds 5,000 characters."""
LEASE_S = 30.0
"""A claim of another machine that has stood this long belongs to a mover that died; a mover that took half as long to
get to the alias gives up."""
PATIENCE_S = 90.0


class ChampionMovedError(Exception):
    """Somebody else made another version champion meanwhile."""


class BusyError(ConnectionError):
    """Somebody else is moving the alias and does not finish."""


@dataclass(frozen=True)
class Reign:
    """One entry of the history: version, when it became champion (UTC), and how: promote, rollback or by hand."""

    version: str
    at: str
    how: str


@dataclass(frozen=True)
class Claim:
    """An intended move; `after` is the history once it is done."""

    id: str
    start: str | None
    to: str
    after: tuple[Reign, ...]
    host: str
    pid: int
    born: float

    def abandoned(self) -> bool:
        """Whether its mover is known to be dead: a process of this machine that is no more."""
        if self.host != socket.gethostname():
            return False
        try:
            process = psutil.Process(self.pid)
            return process.status() == psutil.STATUS_ZOMBIE or abs(process.create_time() - self.born) > 2
        except psutil.NoSuchProcess:
            return True


@dataclass(frozen=True)
class State:
    """The registered model as one reading shows it."""

    champion: str | None
    challenger: str | None
    history: tuple[Reign, ...]
    claims: tuple[Claim, ...]

    @property
    def reigns(self) -> tuple[Reign, ...]:
        """The history, with a champion that was set by hand."""
        if self.champion is None or (self.history and self.history[-1].version == self.champion):
            return self.history
        return (*self.history, Reign(self.champion, _now(), "by hand"))


class ChampionAlias:
    """The alias `champion` of one registered model, and the history of those who had it."""

    def __init__(self, client: "MlflowClient", name: str, uri: str) -> None:
        self.client, self.name = client, name
        database = database_file(uri)
        self._lock_file = None if database is None else database.with_name(f".{database.name}.{name}.lock")

    def read(self) -> State:
        found = self.client.get_registered_model(self.name)
        tags, aliases = found.tags, found.aliases
        claims = [_claim(value) for key, value in tags.items() if key.startswith(CLAIM)]
        champion, challenger = (None if a not in aliases else str(aliases[a]) for a in (CHAMPION, CHALLENGER))
        return State(champion, challenger, _reigns(_json(tags.get(HISTORY, "[]"))), tuple(filter(None, claims)))

    def settle(self) -> list[str]:
        """Complete or undo what dead movers left; one sentence for each."""
        return [self._finish(claim) for claim in self.read().claims if claim.abandoned()]

    def move(self, to: str, *, expected: str | None, how: str) -> None:
        """Make a version champion if the champion still is `expected`.

        Raises:
            ChampionMovedError: it is another one.
            BusyError: another mover does not finish.
        """
        reign = Reign(to, _now(), how)
        self._move(to, expected, lambda state: (*state.reigns, reign)[-KEPT:])

    def back(self, to: str, *, expected: str | None) -> None:
        """Make the version of an earlier reign champion again and forget those after it; raises as `move`."""

        def after(state: State) -> tuple[Reign, ...]:
            earlier = state.reigns[:-1]
            last = max(i for i, reign in enumerate(earlier) if reign.version == to)
            return earlier[: last + 1]

        self._move(to, expected, after)

    def challenge(self, version: str) -> None:
        """Give a version the alias that says: not good enough yet."""
        self.client.set_registered_model_alias(self.name, CHALLENGER, version)

    def _move(self, to: str, expected: str | None, after: Any) -> None:
        seen: dict[str, float] = {}
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with self._alone():
                if self._try(to, expected, after, seen):
                    break
            if time.monotonic() > deadline:
                raise BusyError(f"another promotion of {self.name} does not finish; try again in a minute")
            time.sleep(random.uniform(0.05, 0.5))

    def _try(self, to: str, expected: str | None, after: Any, seen: dict[str, float]) -> bool:
        """One attempt; False if another mover stands in the way. `seen`: claim → when it was first seen."""
        started = time.monotonic()
        state = self.read()
        if state.champion != expected:
            raise ChampionMovedError(state.champion)
        me = psutil.Process()
        claim = Claim(
            uuid.uuid4().hex, expected, to, tuple(after(state)), socket.gethostname(), me.pid, me.create_time()
        )
        self.client.set_registered_model_tag(self.name, CLAIM + claim.id, json.dumps(asdict(claim)))
        state = self.read()
        others = [c for c in state.claims if c.id != claim.id]
        for other in others:
            dead = other.abandoned() or started - seen.setdefault(other.id, started) > LEASE_S
            if dead:
                self._finish(other)
        if others or time.monotonic() - started > LEASE_S / 2:
            self._drop(claim)
            return False
        if state.champion != expected:
            self._drop(claim)
            raise ChampionMovedError(state.champion)
        self.client.set_registered_model_alias(self.name, CHAMPION, to)
        self._finish(claim)
        return True

    def _finish(self, claim: Claim) -> str:
        """The writes after the commit point, or none if it was not reached; may be repeated."""
        state = self.read()
        if claim not in state.claims:
            return f"another command settled an interrupted promotion of version {claim.to}"
        if state.champion == claim.to:
            text = json.dumps([asdict(reign) for reign in claim.after])
            self.client.set_registered_model_tag(self.name, HISTORY, text)
            if state.challenger == claim.to:
                self.client.delete_registered_model_alias(self.name, CHALLENGER)
            sentence = f"completed an interrupted promotion: version {claim.to} is champion"
        else:
            sentence = f"undid an interrupted promotion: version {claim.to} did not become champion"
        self._drop(claim)
        return sentence

    def _drop(self, claim: Claim) -> None:
        try:
            self.client.delete_registered_model_tag(self.name, CLAIM + claim.id)
        except Exception as error:  # MlflowException: another mover that saw it dead has dropped it already
            if getattr(error, "error_code", "") != "RESOURCE_DOES_NOT_EXIST":
                raise

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self._lock_file is None:
            yield
            return
        with locked(self._lock_file):
            yield


def _claim(text: str) -> Claim | None:
    """None for what no mover wrote: a tag is anybody's text, and it must not keep everybody from the registry."""
    values = _json(text)
    if not isinstance(values, dict) or values.keys() != Claim.__annotations__.keys():
        return None
    words = (values["id"], values["to"], values["host"], values["start"] or "")
    pid, born = values["pid"], values["born"]
    if not all(isinstance(w, str) for w in words) or type(pid) is not int or not isinstance(born, (int, float)):
        return None
    claim = Claim(**{**values, "after": _reigns(values["after"])})
    return claim if 0 < pid < 2**31 and abs(born) < 1e12 else None


def _reigns(values: Any) -> tuple[Reign, ...]:
    """Those of the entries that are entries."""
    fields = Reign.__annotations__.keys()
    return tuple(
        Reign(**value)
        for value in (values if isinstance(values, list) else [])
        if isinstance(value, dict) and value.keys() == fields and all(isinstance(v, str) for v in value.values())
    )


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
