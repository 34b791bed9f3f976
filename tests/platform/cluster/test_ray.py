"""The study through Ray: the same bits as without it, whoever dies, on one node or several raylets of this machine."""

import contextlib
import os
import shutil
import subprocess
import time

import optuna
import pandas as pd
import psutil
import pytest
from places import TESTS
from ray._private import ray_constants
from ray.cluster_utils import Cluster
from small_job import (
    PATIENCE_S,
    STUDY,
    UNCERTAINTY,
    command,
    curves,
    finish,
    items,
    same,
    start,
    wait,
    wait_for_a_checkpoint,
)
from test_doors import elsewhere, listening, ports, refused

from deepblur.platform.cluster.address import private_cluster
from deepblur.platform.cluster.connection import set_for_ray

pytestmark = pytest.mark.ray
STEPS = ("--set", "in_steps=100", "--set", "dn_steps=12")
WHOLE = (*STEPS, "--arms", "estimated")
"""Of the small study, one network that is trained on what another answers."""
READ = (*STEPS, "--arms", "constant")
"""Of the small study of uncertainties, the first of these networks alone."""


@pytest.fixture(scope="module")
def cluster():
    """A head without cores and two nodes of one core each: two workers must use both."""
    before = dict(os.environ)
    patient = pytest.MonkeyPatch()
    patient.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)  # to be put back
    own = {"RAY_TMPDIR": f"/tmp/dbn{os.getpid()}", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    set_for_ray(private_cluster() | own)
    cluster = Cluster(head_node_args={"num_cpus": 0, "include_dashboard": False}, initialize_head=True)
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()
    patient.undo()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def environment(cluster):
    return {**os.environ, "RAY_ADDRESS": cluster.address}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same study in one process without Ray: the truth that every other way must reproduce."""
    runs = tmp_path_factory.mktemp("alone")
    subprocess.run(command(STUDY, runs, "--local", *WHOLE), check=True, stdout=subprocess.DEVNULL)
    return runs


@pytest.fixture(scope="module")
def fresh(alone, tmp_path_factory):
    """fresh(name): a folder for results, with the images, which need not be made again."""

    def folder(name):
        runs = tmp_path_factory.mktemp(name) / "runs"
        shutil.copytree(alone / "cache", runs / "cache")
        return runs

    return folder


def raylet(node):
    (process,) = node.all_processes["raylet"]
    return psutil.Process(process.process.pid)


def trainings_below(process):
    """Training workers among the processes below this one: a lone one bears the name of its stage."""
    found = process.children(recursive=True)
    return [worker for worker in found if worker.name().startswith(("ray::RayTrain", "ray::IN", "ray::DN"))]


def training_on(node):
    """Whether a training worker runs on this node."""
    return bool(trainings_below(raylet(node)))


def test_a_study_in_a_cluster_of_its_own_lets_nobody_in_and_bears_deaths(alone, fresh):
    """First of the worker that trains, then of the driver."""
    runs = fresh("own")
    home, folder = runs.parent, f"/tmp/dbr{os.getpid()}"  # the paths of Ray's sockets must stay short
    own = {"HOME": str(home), "RAY_TMPDIR": folder, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0",
           "RAY_ADDRESS": "local"}  # fmt: skip
    environment = {**os.environ, **own}
    with start(STUDY, runs, environment, *WHOLE) as process:
        try:
            wait_for_a_checkpoint(process, runs)
            study = psutil.Process(process.pid)
            (first,) = trainings_below(study)
            first.kill()
            wait(lambda: [worker.pid for worker in trainings_below(study)] not in ([], [first.pid]), process)
            sockets = listening(process.pid)
            assert {"gcs_server", "raylet"} <= {name for name, _ in sockets}
            assert elsewhere(sockets) == []
            (gcs,) = ports(sockets, "gcs_server")
            assert refused(gcs, "JobInfoGcsService/GetNextJobID")
            children = psutil.Process(process.pid).children(recursive=True)
        finally:
            process.kill()
    psutil.wait_procs(children, timeout=PATIENCE_S)
    log = finish(start(STUDY, runs, environment, *WHOLE), runs)
    shutil.rmtree(folder)
    assert "3 stages, 0 done before" in log
    assert "3 stages, 3 done before" not in log
    assert not (home / ".ray").exists(), "a token in the home folder would be demanded by every later cluster"
    same(curves(runs), curves(alone))
    pd.testing.assert_frame_equal(items(runs), items(alone))


def test_two_nodes_of_which_one_is_lost_learn_what_one_process_learns_and_listen_to_nobody(
    cluster, alone, environment, fresh
):
    """Group norm and block-wise draws make the global batch the same; only the order of sums differs."""
    runs = fresh("struck")
    with start(STUDY, runs, environment, *WHOLE, "--workers", "2") as process:
        try:
            wait_for_a_checkpoint(process, runs)
            wait(lambda: all(map(training_on, cluster.worker_nodes)), process)
            assert elsewhere(listening(os.getpid())) == []
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)  # SIGKILL
            cluster.add_node(num_cpus=1)
            finish(process, runs)
        finally:
            process.kill()
    same(curves(runs), curves(alone), rel=1e-3)


def test_a_method_that_takes_its_process_down_costs_its_own_rows_only(cluster, environment, fresh):
    runs = fresh("slow")
    line, shot = command(TESTS / "slow_comparison.py", runs), 0
    with subprocess.Popen(
        line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        while process.poll() is None:
            for worker in (worker for node in cluster.worker_nodes for worker in raylet(node).children()):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if worker.cmdline()[:1] and worker.cmdline()[0].startswith("ray::assessment slow"):
                        worker.kill()
                        shot += 1
            time.sleep(0.2)
        log = process.stdout.read()
    assert process.returncode == 0, log
    assert shot >= 3, "it is tried again, in case a node was lost"
    table = items(runs).set_index("arm")
    assert table.status.to_dict() == {"blurry": "ok", "slow": "failed"}
    assert "slow" in log


def ending(environment, runs, *options):
    """What a study that cannot be done says."""
    line = command(UNCERTAINTY, runs, *READ, *options)
    process = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 1
    return process.stderr.strip()


def test_a_stage_that_fails_on_a_worker_ends_in_its_own_error(environment, fresh):
    said = ending(environment, fresh("failed"), "--set", "lr=1e30")
    assert "Traceback" in said
    last = said.splitlines()[-1]
    assert last.startswith("error: stage ")
    assert "FloatingPointError: the loss is" in last
    assert "lower lr (now 1e+30)" in last


def test_a_training_that_the_cluster_cannot_hold_is_refused_at_once(environment, fresh):
    last = ending(environment, fresh("large"), "--workers", "512").splitlines()[-1]
    assert "one training needs 512 workers of 1 CPU, and the cluster has room for 2" in last


@pytest.mark.slow
@pytest.mark.skipif("DEEPBLUR_CHAOS" not in os.environ, reason="takes minutes; run by make chaos")
def test_a_search_ends_with_the_same_trials_when_a_node_and_its_driver_die(cluster, environment, tmp_path):
    alone, struck = tmp_path / "alone", tmp_path / "struck"
    options = ("--arms", "tpe", "--trials", "4", "--set", "concurrent=1")
    subprocess.run(search(alone, "--local", *options), check=True, stdout=subprocess.DEVNULL)
    shutil.copytree(alone / "cache", struck / "cache")

    with subprocess.Popen(search(struck, *options), env=environment) as process:
        try:
            wait(lambda: any(map(training_on, cluster.worker_nodes)), process)
            node = next(filter(training_on, cluster.worker_nodes), next(iter(cluster.worker_nodes)))
            cluster.remove_node(node, allow_graceful=False)  # SIGKILL
            cluster.add_node(num_cpus=1)
            wait(lambda: sum(map(ended, trials(struck))) >= 1, process)
        finally:
            process.kill()
    subprocess.run(search(struck, *options), env=environment, check=True)
    assert [settled(trial) for trial in trials(struck)] == [settled(trial) for trial in trials(alone)]


def search(runs, *options):
    return command(TESTS / "micro_search.py", runs, *options)


def trials(runs):
    files = list(runs.glob("searches/*/optuna.db"))
    return optuna.load_study(study_name=None, storage=f"sqlite:///{files[0]}").trials if files else []


def ended(trial):
    return trial.state.is_finished()


def settled(trial):
    return trial.number, trial.state, trial.params, trial.values, trial.user_attrs.get("curves")
