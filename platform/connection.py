"""Where MLflow's records and models are, and a connection to them that fails soon and in one sentence."""

import logging
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepblur.platform.lock import locked

if TYPE_CHECKING:  # importing MLflow takes seconds, and a study without a record does not need it
    from mlflow import MlflowClient

_RECORD_ELSEWHERE = (
    "start that server, set MLFLOW_TRACKING_URI or --tracking-uri to one that answers, or record nothing with "
    "--tracking-uri none"
)


def default_uri(runs: Path) -> str:
    """MLFLOW_TRACKING_URI where it is set, else a database file in the folder `runs`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path(runs).resolve() / 'mlflow.db'}"


def default_runs() -> Path:
    """$DEEPBLUR_RUNS, or deepblur-runs in the home folder: a Ray job's working directory does not outlive the job."""
    return Path(os.environ.get("DEEPBLUR_RUNS") or "~/deepblur-runs").expanduser()


def registry_uri(runs: Path | None = None) -> str:
    """Where a user who names no registry finds the models.

    MLFLOW_TRACKING_URI where it is set, else the database file in the first of: the folder `runs` where it is given;
    $DEEPBLUR_RUNS; ./runs, where `make demo` leaves its results, if there is one; ~/deepblur-runs.
    """
    if runs is not None:
        return default_uri(runs)
    if not os.environ.get("DEEPBLUR_RUNS") and Path("runs", "mlflow.db").is_file():
        return default_uri(Path("runs"))
    return default_uri(default_runs())


def connect(uri: str, remedy: str = _RECORD_ELSEWHERE) -> "MlflowClient":
    """A client that neither chats nor phones home, and gives up within seconds; the user's own settings come first.

    Raises:
        ConnectionError: nothing usable answers at the URI, which is named without its password.
    """
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient  # reads some of these when it is imported

    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        for chatty in ("mlflow", "alembic", "urllib3.connectionpool"):
            logging.getLogger(chatty).setLevel(logging.ERROR)
    with _usable(uri, remedy):
        _probe(uri)
        with _one_process_at_a_time(uri):
            client = MlflowClient(uri, registry_uri=uri)
            client.search_experiments(max_results=1)  # creates the tables of a fresh database
    return client


def pages(search: Callable[..., Any], *asked: Any) -> Iterator[Any]:
    """All that a search of MLflow's client finds: it answers page by page, and its first page looks like all of it."""
    token = None
    while True:
        found = search(*asked, page_token=token)
        yield from found
        if not (token := found.token):
            return


def experiment(client: "MlflowClient", uri: str, name: str, artifacts: Path | None = None) -> str:
    """Id of the experiment of that name, created where it is missing.

    Args:
        artifacts: folder of a local database's artifacts; default: mlartifacts beside the database.
    Raises:
        ConnectionError: the experiment was deleted, or nothing usable answers any more.
    """
    with _usable(uri), _one_process_at_a_time(uri):
        found = client.get_experiment_by_name(name)
        if found is None:
            return client.create_experiment(name, _artifact_location(uri, artifacts))
        if found.lifecycle_stage == "deleted":
            raise ValueError(f"its experiment {name!r} was deleted; restore it with mlflow experiments restore")
        return found.experiment_id


def database_file(uri: str) -> Path | None:
    """The file that a sqlite URI names, None for any other URI."""
    return Path(uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None


def without_password(text: str) -> str:
    """The text with user and password of every URI in it left out."""
    return re.sub(r"//[^/@]*@", "//…@", text)


def reason(error: Exception) -> str:
    """The class of an error and its first line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextmanager
def _usable(uri: str, remedy: str = _RECORD_ELSEWHERE) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # MLflow, SQLAlchemy, requests and the system each have their own
        shown = without_password(uri)
        raise ConnectionError(
            f"MLflow cannot be used at {shown} ({reason(error).replace(uri, shown)}); {remedy}"
        ) from None


def _probe(uri: str) -> None:
    """Asks an HTTP server for a sign of life: MLflow's own client would try for minutes."""
    if uri.startswith(("http://", "https://")):
        try:
            urllib.request.urlopen(uri.rstrip("/") + "/health", timeout=5).close()
        except urllib.error.HTTPError:
            return  # it answers; whether it is an MLflow server shows next


@contextmanager
def _one_process_at_a_time(uri: str) -> Iterator[None]:
    """Processes that create the tables of a fresh database file together break it."""
    if (database := database_file(uri)) is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with locked(database.with_name(f".{database.name}.lock")):
        yield


def _artifact_location(uri: str, artifacts: Path | None) -> str | None:
    if (database := database_file(uri)) is None:
        return None  # a server's own choice
    return (artifacts or database.parent / "mlartifacts").resolve().as_uri()
