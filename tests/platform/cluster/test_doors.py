"""No cluster that we start takes anybody in: where it listens, and what it asks for."""

import os
import shutil
import socket
import sys
import urllib.error
import urllib.request

import grpc
import psutil
import pytest

from deepblur.platform import demo
from deepblur.platform.cluster.address import private_cluster

JOB = """
import os, pathlib, ray, sys
from deepblur.platform.cluster.connection import connect
connect()
assert ray.get(ray.remote(lambda: 1).remote()) == 1
pathlib.Path(sys.argv[-1], "done").write_text(os.environ["MLFLOW_TRACKING_PASSWORD"])
"""


def listening(pid):
    """(name, address) of every socket on which a process or one below it waits for others."""
    found = []
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        try:
            sockets, name = process.net_connections("inet"), process.name()
        except psutil.NoSuchProcess:
            continue
        found += [(name, s.laddr) for s in sockets if s.status == psutil.CONN_LISTEN or s.type == socket.SOCK_DGRAM]
    return found


def elsewhere(sockets):
    """Those that other machines can reach."""
    return [(name, at) for name, at in sockets if at.ip.removeprefix("::ffff:") not in ("127.0.0.1", "::1")]


def refused(port, method):
    """Whether a gRPC server of Ray turns away who has no token, and who has another one."""
    answers = []
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for token in ((), (("authorization", f"Bearer {'0' * 64}"),)):
            with pytest.raises(grpc.RpcError) as raised:
                channel.unary_unary(f"/ray.rpc.{method}")(b"", timeout=60, metadata=token, wait_for_ready=True)
            answers.append(raised.value.code())
    return set(answers) == {grpc.StatusCode.UNAUTHENTICATED}


def ports(sockets, process):
    return [at.port for name, at in sockets if name == process]


@pytest.fixture
def short(monkeypatch):
    """Ray's folder: the paths of its sockets must stay short."""
    monkeypatch.setenv("RAY_TMPDIR", f"/tmp/dbd{os.getpid()}")
    private_cluster.cache_clear()
    yield
    private_cluster.cache_clear()
    shutil.rmtree(f"/tmp/dbd{os.getpid()}", ignore_errors=True)


@pytest.mark.ray
def test_the_demos_cluster_is_on_the_loopback_interface_wants_its_token_and_does_its_job(short, tmp_path, monkeypatch):
    (tmp_path / "job.py").write_text(JOB)
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    monkeypatch.setattr(demo, "STUDY", "job.py")
    monkeypatch.setattr(demo, "START_S", 1200)  # on a busy machine
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}")
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    usual = socket.socket()
    usual.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        usual.bind(("0.0.0.0", 6379))  # where Redis is
        usual.listen()
    except OSError:
        pass  # it is there
    cluster = demo._start_cluster()
    try:
        sockets = listening(cluster.pid)
        assert {"gcs_server", "raylet"} <= {name for name, _ in sockets}
        assert elsewhere(sockets) == []
        job_server = os.environ["RAY_API_SERVER_ADDRESS"]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{job_server}/api/jobs/", timeout=30)
        (gcs,) = ports(sockets, "gcs_server")
        assert refused(gcs, "JobInfoGcsService/GetNextJobID")
        (client,) = (word.partition("=")[2] for word in cluster.args if word.startswith("--ray-client-server-port="))
        assert refused(client, "RayletDriver/ClusterInfo")
        assert demo._submit() == 0
        assert (tmp_path / "runs" / "done").read_text() == "hunter2"
    finally:
        demo._end(cluster)
        usual.close()
        os.environ.clear()
        os.environ.update(before)
    assert not (tmp_path / ".ray").exists()
