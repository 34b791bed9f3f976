"""The main job on this machine: a local Ray cluster if none runs, the first study as a Ray job, its result, the gate.

Leaves no process behind that was not there before. The results lie in `runs/` of the source tree; the same command
again reuses what is done.
"""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

from deepblur.platform.cluster.address import private_cluster, running_cluster
from deepblur.platform.system import terminal
from deepblur.platform.system.source_tree import commit
from deepblur.platform.tracking.connection import default_uri

ROOT = Path(__file__).resolve().parent.parent
STUDY = "studies/ablation_true_vs_est.py"
START_S = 180
RAYS_OWN = re.compile(
    r"[\d-]{10} [\d:,]+\s+(INFO|SUCC|WARNING) (cli|\w*sdk|job_manager|packaging|working_dir)\.py|Running entrypoint "
)
"""Lines of `ray job submit` about itself: two dozen that nobody reads who wants to see the study."""


def main() -> int:
    """The exit code of the study."""
    terminal.guard()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    cluster = None
    try:
        done = _is_done()  # and only to be recorded and shown, for which no cluster is needed
        if not done and running_cluster() is None:
            print("starting a local Ray cluster", flush=True)
            cluster = _start_cluster()
        study = [sys.executable, STUDY, *_options()]
        code = subprocess.run(study, cwd=ROOT, check=False).returncode if done else _submit()
    except KeyboardInterrupt:
        print("stopped; the same command goes on where this one stopped", file=sys.stderr)
        return 130
    finally:
        if cluster is not None:
            _end(cluster)
    if code == 0:
        _send_through_the_gate()
        _say_where()
    return code


def _options() -> list[str]:
    return ["--preset", "quick", "--runs", str(ROOT / "runs")]


def _is_done() -> bool:
    """Whether all that the study computes is in `runs/` already."""
    if not (ROOT / "runs" / "stages").is_dir():
        return False
    from deepblur.platform.experiment.command_line import plan
    from deepblur.platform.experiment.run import is_done

    study = import_module(f"deepblur.studies.{Path(STUDY).stem}").STUDY
    try:
        return is_done(plan(study, _options(), program=False))
    except (OSError, ValueError, RuntimeError):  # the study itself says what is wrong, in a sentence
        return False


def _answers(*command: str) -> bool:
    try:
        return subprocess.run(["ray", *command], capture_output=True, timeout=60, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _listens(port: int) -> bool:
    with socket.socket() as visitor:
        return visitor.connect_ex(("127.0.0.1", port)) == 0


def _start_cluster() -> subprocess.Popen[bytes]:
    """A head of our own, see `private_cluster`; all its ports are free ones, for the usual may be somebody else's."""
    os.environ.update(private_cluster())
    log = ROOT / "runs" / "ray.log"
    log.parent.mkdir(exist_ok=True)
    dashboard = _free_port()
    os.environ["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{dashboard}"
    command = ["ray", "start", "--head", "--block", "--disable-usage-stats"]
    command += ["--port=0", "--min-worker-port=0", "--max-worker-port=0"]  # 0: Ray takes a free one itself
    command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"]
    command += [f"--dashboard-agent-listen-port={_free_port()}", f"--ray-client-server-port={_free_port()}"]
    metrics = {name: str(_free_port()) for name in ("AUTOSCALER_METRIC_PORT", "DASHBOARD_METRIC_PORT")}
    with log.open("wb") as stream:
        cluster = subprocess.Popen(
            command, env={**os.environ, **metrics}, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
    deadline = time.monotonic() + START_S
    try:  # the job server comes up after the cluster, and takes jobs some time later
        while not (_listens(dashboard) and _answers("job", "submit", "--no-wait", "--", "true")):
            if cluster.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"error: the local Ray cluster did not start within {START_S} s; its log is {log}")
            time.sleep(1)
    except BaseException:
        _end(cluster)
        raise
    return cluster


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _end(cluster: subprocess.Popen[bytes]) -> None:
    """Ray's own processes end with their head; whatever ignores that is killed with the head's session."""
    cluster.terminate()
    try:
        cluster.wait(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(cluster.pid, signal.SIGKILL)
    running_cluster()  # forgets the address of what has ended


def _submit() -> int:
    job = f"deepblur-demo-{os.getpid()}-{int(time.time())}"
    launcher = ROOT / "runs" / f".{job}"
    command = ["ray", "job", "submit", "--submission-id", job, "--working-dir", str(ROOT), "--runtime-env-json"]
    command += [json.dumps({"env_vars": {"DEEPBLUR_COMMIT": commit()},
                            "excludes": [".git", ".venv", "runs", "tests", "benchmarks"]})]  # fmt: skip
    command += ["--", "sh", str(launcher), sys.executable, STUDY, *_options()]
    try:
        _write_launcher(launcher)
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as submitted:
            assert submitted.stdout is not None
            for line in submitted.stdout:
                if not RAYS_OWN.match(line):
                    print(line, end="", flush=True)
        return submitted.returncode
    except BaseException:  # a cluster that was there before must not go on with a job that nobody waits for
        _answers("job", "stop", job)
        raise
    finally:
        launcher.unlink(missing_ok=True)


def _write_launcher(file: Path) -> None:
    """A script that removes itself, sets MLflow's own variables, passwords among them, and becomes its arguments.

    This user alone may read it. Everybody on this machine sees a command line, and everybody who sees Ray's dashboard a
    job's runtime environment.
    """
    file.parent.mkdir(exist_ok=True)
    given = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
    lines = ['rm -- "$0"', *(f"export {name}={shlex.quote(value)}" for name, value in given.items()), 'exec "$@"']
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.writelines(f"{line}\n" for line in lines)


def _send_through_the_gate() -> None:
    """What ships becomes the first champion; the study's best model takes its place, or the registry says why not."""
    from deepblur.platform.models import shipped
    from deepblur.platform.registry.promotion import Promoter
    from deepblur.platform.registry.register_folder import register_folder
    from deepblur.platform.registry.versions import best_of_study
    from deepblur.platform.system.errors import ModelError

    try:
        uri = default_uri(ROOT / "runs")
        promoter = Promoter(uri, "deepblur")
        if promoter.alias.read().champion is None and shipped.DEFAULT in shipped.names():
            first = register_folder(shipped.DEFAULT, uri)
            print(f"gate    {shipped.DEFAULT}, which ships with deepblur, is version {first}; it goes first, "
                  "half a minute", flush=True)  # fmt: skip
            for sentence in promoter.promote(first).sentences:
                print(f"gate    {sentence}", flush=True)
        best = best_of_study(promoter.client, "deepblur", Path(STUDY).stem)
        champion = promoter.alias.read().champion
        rival = "the blurry input" if champion is None else f"version {champion}"
        if best is None or best.version == champion or best.tags.get("gate.rival") == rival:
            return  # nothing new to decide
        print(f"gate    version {best.version} against {rival}, half a minute", flush=True)
        for sentence in promoter.promote(best.version).sentences:
            print(f"gate    {sentence}")
    except (ModelError, KeyboardInterrupt) as error:  # the study is done all the same
        reason = str(error) or "stopped; the same command goes on"
        print(f"gate    nothing decided: {reason}", file=sys.stderr)


def _say_where() -> None:
    """The last lines: what to open."""
    from deepblur.platform.experiment.record import PICTURE, REPORT, opening

    reports = (ROOT / "runs" / "studies").glob(f"{Path(STUDY).stem}-*/{REPORT}")
    report = max(reports, key=lambda file: file.stat().st_mtime)
    print(f"\npicture {report.with_name(PICTURE)}\nreport  {report}\n{opening(default_uri(ROOT / 'runs'))}")


if __name__ == "__main__":
    sys.exit(main())
