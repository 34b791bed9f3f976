"""Where MLflow's records and models are, and a connection to them that fails soon and in one sentence."""

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepblur.platform.system.lock import locked
from deepblur.platform.tracking import moved

if TYPE_CHECKING:  # importing MLflow takes seconds, and a study without a record does not need it
    from mlflow import MlflowClient

_RECORD_ELSEWHERE = (
    "start that server, set MLFLOW_TRACKING_URI or --tracking-uri to one that answers, or record nothing with "
    "--tracking-uri none"
)

PROBE_S = 5
"""How long a server may take to show that it is alive."""


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
    _refuse_ambiguous(uri)
    with _usable(uri, remedy):
        _probe(uri)
        with _one_process_at_a_time(uri):
            bring_record_along(uri)
            client = MlflowClient(uri, registry_uri=uri)
            client.search_experiments(max_results=1)  # creates the tables of a fresh database
    return client


def bring_record_along(uri: str) -> None:
    """Tells a record in a database file where its files are, if its folder was moved, and the user that it did."""
    if (database := database_file(uri)) is not None and (told := moved.bring_along(database)):
        print(told, file=sys.stderr)


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
        ConnectionError: the experiment was deleted, its files belong to a place that is gone, nothing usable answers.
    """
    with _usable(uri), _one_process_at_a_time(uri):
        found = client.get_experiment_by_name(name)
        if found is None:
            return client.create_experiment(name, _artifact_location(uri, artifacts))
        if found.lifecycle_stage == "deleted":
            raise ValueError(f"its experiment {name!r} was deleted; restore it with mlflow experiments restore")
    if (database := database_file(uri)) is not None and (why := moved.astray(database, found.artifact_location)):
        raise ConnectionError(why)
    return found.experiment_id


def database_file(uri: str) -> Path | None:
    """The file that a sqlite URI names, None for any other URI."""
    return Path(uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None


def without_password(text: str) -> str:
    """The text with user and password of every URI in it left out, as far as an at sign stands before a space."""
    return _in_the_query(re.sub(r"(?<!/)//(?!/)\S*@", "//…@", text))


def shown(uri: str) -> str:
    """One URI, or an argument that ends in one, without user and password, whatever characters they hold."""
    return _in_the_query(re.sub(r"(?<!/)//(?!/).*@", "//…@", uri, flags=re.DOTALL))


def _in_the_query(text: str) -> str:
    return re.sub(r"(?i)([?&;](?:user|\w*(?:pass|pwd|token|secret|odbc_connect)\w*)=)[^&;\s]*", r"\1…", text)


def first_line(error: Exception) -> str:
    """Of what an error says, which may name a URI; its class where it says nothing."""
    return without_password((str(error).strip().splitlines() or [type(error).__name__])[0])


def reason(error: Exception) -> str:
    """The class of an error and its first line."""
    said = first_line(error)
    return said if said == type(error).__name__ else f"{type(error).__name__}: {said}"


@contextmanager
def _usable(uri: str, remedy: str = _RECORD_ELSEWHERE) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # MLflow, SQLAlchemy, requests and the system each have their own
        raise ConnectionError(f"MLflow cannot be used at {shown(uri)} ({reason(error)}); {remedy}") from None


@contextmanager
def failing_plainly(uri: str) -> Iterator[None]:
    """Turns what MLflow, or what it stands on, raises into one sentence without a password; all else passes.

    Raises:
        ConnectionError: MLflow failed after it had answered.
    """
    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("mlflow", "requests", "urllib3", "sqlalchemy"):
            raise
        raise ConnectionError(f"MLflow failed at {shown(uri)} ({first_line(error)}); check the server") from None


def _refuse_ambiguous(uri: str) -> None:
    """Stops a URI whose parts every library would tell apart differently, and name pieces of a password as the host.

    Raises:
        ConnectionError: user or password hold a character that has to be written as its code.
    """
    scheme, _, rest = uri.partition("://")
    if rest.startswith("/"):  # a file
        return
    authority, _, after = re.sub(r"[/?#]", "/", rest).partition("/")
    if "@" in after or re.search(r"\s", authority) or (authority.count("@") > 1 and not scheme.startswith("http")):
        raise ConnectionError(
            f"user and password in {shown(uri)} hold characters that end them too early; write @ as %40, / as %2F, "
            "? as %3F, # as %23 and a space as %20, or set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )


def _probe(uri: str) -> None:
    """Asks an HTTP server once for a sign of life, as MLflow's client does, which would itself try for minutes.

    Any answer will do; whether it is one of an MLflow server shows next.
    """
    if not uri.startswith(("http://", "https://")):
        return
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        http_request(
            get_default_host_creds(uri), "/health", "GET", max_retries=0, timeout=PROBE_S, raise_on_status=False
        )
    except Exception as error:  # the innermost says what happened, those around it repeat the address
        innermost: BaseException = error
        while inner := innermost.__cause__ or innermost.__context__:
            innermost = inner
        raise innermost from None


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
    return (artifacts or database.parent / moved.ARTIFACTS).resolve().as_uri()
