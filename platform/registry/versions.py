"""The versions of a registered model as people look at them: evaluation, lineage, aliases, history."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from deepblur.platform.models.card import VALIDATED_TAG
from deepblur.platform.registry.champion import ChampionAlias
from deepblur.platform.system.errors import ModelError
from deepblur.platform.system.printable import printable
from deepblur.platform.tracking.connection import connect, database_file, first_line, pages, shown

if TYPE_CHECKING:
    from mlflow import MlflowClient


SHOWN = 10
"""Other models' names in an error."""


@dataclass(frozen=True)
class Version:
    """One version. tags are those of the registry: study, preset, arm, seed, and gate.… where the gate has seen it."""

    version: str
    aliases: tuple[str, ...]
    created: str
    run: str
    description: str
    tags: Mapping[str, str]
    """Anybody's text, as are aliases and description: whoever may write to the registry wrote them."""

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "tags": dict(self.tags)}


def open_registry(uri: str, name: str) -> "MlflowClient":
    """A client of a registry that knows the name.

    Raises:
        ModelError: nothing usable answers, or no model has this name; nothing is created.
    """
    if (database := database_file(uri)) is not None and not database.is_file():
        raise ModelError(f"there is no registry at {uri}; name one with --tracking-uri, or make one with 'make demo'")
    try:
        client = connect(
            uri, "start that server, or set MLFLOW_TRACKING_URI or --tracking-uri to the one that is meant"
        )
        known = [model.name for model in pages(client.search_registered_models)]
    except Exception as error:  # ConnectionError of ours; MLflow's and SQLAlchemy's own
        raise ModelError(first_line(error)) from None
    if name not in known:
        near = difflib.get_close_matches(name, known, n=SHOWN, cutoff=0)
        others = f"; it has {', '.join(map(printable, near))}" if known else ", nor any other"
        others += f" and {len(known) - SHOWN} more" * (len(known) > SHOWN)
        raise ModelError(f"no model is registered as {name!r} at {shown(uri)}{others}; studies register theirs")
    return client


def versions(client: "MlflowClient", name: str) -> list[Version]:
    """All versions, the newest first."""
    aliases: dict[str, list[str]] = {}
    for alias, number in client.get_registered_model(name).aliases.items():
        aliases.setdefault(str(number), []).append(alias)
    found = list(pages(client.search_model_versions, f"name = '{name}'"))
    return [_version(v, aliases) for v in sorted(found, key=lambda v: -int(v.version))]


def number_of(client: "MlflowClient", name: str, spoken: str) -> str:
    """The version that a person means by "3", "champion", "@champion" or "models:/NAME/3".

    Raises:
        ModelError: there is no such version.
    """
    word = spoken.removeprefix(f"models:/{name}").lstrip("/@")
    known = versions(client, name)
    for version in known:
        if word == version.version or word in version.aliases:
            return version.version
    have = ", ".join(v.version for v in reversed(known)) or "no version"
    raise ModelError(f"{name} has no version {spoken!r}; it has {have}; 'deepblur models list' shows them")


def best_of_study(client: "MlflowClient", name: str, study: str) -> Version | None:
    """The version of a study that validated best, the newest of several; never the one that tested best."""
    found = [version for version in versions(client, name) if version.tags.get("study") == study]
    return max(found, key=lambda v: number(v.tags, VALIDATED_TAG, -math.inf), default=None)


def number(tags: Mapping[str, str], name: str, otherwise: float = math.nan) -> float:
    """The finite number that a tag holds; tags are anybody's text."""
    try:
        value = float(tags[name])
    except (KeyError, ValueError):
        return otherwise
    return value if math.isfinite(value) else otherwise


def history(client: "MlflowClient", name: str, uri: str) -> list[dict[str, str]]:
    """The champions, the first one first: version, at, how."""
    return [vars(reign) for reign in ChampionAlias(client, name, uri).read().reigns]


def _version(found: Any, aliases: Mapping[str, list[str]]) -> Version:
    return Version(
        version=str(found.version),
        aliases=tuple(sorted(aliases.get(str(found.version), ()))),
        created=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC).strftime("%Y-%m-%d %H:%M"),
        run=found.run_id or "",
        description=found.description or "",
        tags=dict(found.tags),
    )
