"""How MLflow is reached: as its own client is told to, within seconds, and without a word of a password."""

import base64
import datetime
import http.server
import ipaddress
import socket
import ssl
import threading
import traceback
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deepblur.cli import main
from deepblur.platform.experiment.command_line import plan
from deepblur.platform.experiment.record import show_where
from deepblur.platform.tracking import connection
from deepblur.platform.tracking.connection import connect, first_line, shown, without_password
from deepblur.platform.tracking.tracker import Tracker
from deepblur.studies.ablation_true_vs_est import STUDY

PASSWORDS = ("hunter2", "hun@ter2", "hun/ter2", "hun:ter2", "hun%40ter2", "hun%ter2", "h@u/n:t?e#r@2", "hun ter2")
"""No piece of one, of two letters or more, may be said."""
PIECES = ("hun", "ter2", "me:")


@pytest.fixture
def server():
    """An HTTP server that answers everything with 404 and notes who asked."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield SimpleNamespace(port=listening.server_port, asked=asked, listening=listening)
        listening.shutdown()


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))  # where MLflow looks for credentials
    for name in ("USERNAME", "PASSWORD", "TOKEN", "INSECURE_TLS", "SERVER_CERT_PATH"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("scheme", ["http", "postgresql", "mysql+pymysql"])
def test_no_piece_of_a_password_is_said(scheme, password, capsys):
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    at = f"127.0.0.1:{closed.getsockname()[1]}"
    closed.close()
    uri = f"{scheme}://me:{password}@{at}/x"
    assert shown(uri) == f"{scheme}://…@{at}/x"
    show_where(SimpleNamespace(tracking_uri=uri, runs=None))
    said = plan(STUDY, ["--tracking-uri", uri]).command + plan(STUDY, [f"--tracking-uri={uri}"]).command
    with pytest.raises(ConnectionError) as refused:
        connect(uri)
    said += "".join(traceback.format_exception(refused.value)) + capsys.readouterr().out
    assert at in said
    for piece in PIECES:
        assert piece not in said.replace(f'uri = f"{scheme}', ""), said


def test_text_with_several_uris_keeps_all_but_their_secrets():
    text = "sent to https://me:hun@ter2@host/a, then to sqlite:////home/me@work/x.db and models:/deepblur@champion"
    assert without_password(text) == text.replace("me:hun@ter2", "…")
    assert shown("postgresql://host/db?user=me&password=hunter2&x=1") == "postgresql://host/db?user=…&password=…&x=1"
    assert shown("sqlite:////home/me@work/mlflow.db") == "sqlite:////home/me@work/mlflow.db"
    assert first_line(RuntimeError("API request to http://me:hunter2@host/a failed\nwith")).endswith(
        "//…@host/a failed"
    )


def test_what_could_not_be_recorded_is_told_without_a_password():
    tracker = Tracker(None, "", "0")

    def fails():
        raise RuntimeError("API request to http://me:hunter2@host:5000/api failed")

    tracker.attempt("curves", fails, None)
    assert tracker.problems == ["curves: RuntimeError: API request to http://…@host:5000/api failed"]


def test_the_repository_that_a_run_names_has_no_token(monkeypatch, tmp_path, mlflow_template):
    from mlflow.tracking.context import registry

    monkeypatch.setattr(
        registry, "resolve_tags", lambda: {"mlflow.source.git.repoURL": "https://me:hunter2@git.example.org/x.git"}
    )
    database = tmp_path / "mlflow.db"
    database.write_bytes(mlflow_template.read_bytes())
    tracker = Tracker.open(f"sqlite:///{database}", "study")
    run = tracker.child_run(parent="0", key="k", name="n", params={})
    tags = tracker.client.get_run(run).data.tags
    assert tags["mlflow.source.git.repoURL"] == "https://…@git.example.org/x.git"


def test_a_server_that_fails_later_is_told_without_a_password(monkeypatch, capsys):
    from mlflow.exceptions import MlflowException

    from deepblur.platform.registry import versions

    def fails(uri, name):
        raise MlflowException(f"API request to {uri}/api failed with exception HTTPSConnectionPool")

    monkeypatch.setattr(versions, "open_registry", fails)
    assert main(["models", "list", "--tracking-uri", "https://me:hunter2@host"]) == 5
    told = capsys.readouterr().err
    assert told.startswith("error: MLflow failed at https://…@host (API request to https://…@host/api failed")
    assert len(told.splitlines()) == 1
    with pytest.raises(AttributeError), connection.failing_plainly("https://host"):
        raise AttributeError("a fault of our own")


@pytest.mark.parametrize(
    ("written", "password"),
    [("hunter2", "hunter2"), ("hun@ter2", "hun@ter2"), ("a:b", "a:b"), ("a%2Fb%25", "a/b%")],
)
def test_a_uri_with_user_and_password_is_asked_as_mlflow_asks(server, written, password):
    connection._probe(f"http://me:{written}@127.0.0.1:{server.port}/prefix/")
    expected = base64.b64encode(f"me:{password}".encode()).decode()
    assert server.asked == [("/prefix/health", f"Basic {expected}")]


def test_mlflows_own_credentials_are_sent(server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    connection._probe(f"http://127.0.0.1:{server.port}")
    assert server.asked == [("/health", "Bearer t0ken")]


def test_a_server_that_takes_the_call_and_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(connection, "PROBE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(ConnectionError, match="timed out"):
        connect(f"http://127.0.0.1:{silent.getsockname()[1]}")


def test_a_private_certificate_is_believed_where_mlflow_is_told_so(server, tmp_path, monkeypatch):
    certificate = certify(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, tmp_path / "key.pem")
    server.listening.socket = context.wrap_socket(server.listening.socket, server_side=True)
    uri = f"https://127.0.0.1:{server.port}"
    with pytest.raises(ConnectionError, match="certificate verify failed"):
        connect(uri)
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificate))
    connection._probe(uri)
    monkeypatch.delenv("MLFLOW_TRACKING_SERVER_CERT_PATH")
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    with pytest.warns(match="Unverified HTTPS request"):
        connection._probe(uri)
    assert [path for path, _ in server.asked] == ["/health", "/health"]


def certify(folder):
    """A certificate of 127.0.0.1 that only its own file vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now)
    builder = builder.not_valid_after(now + datetime.timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return folder / "cert.pem"
