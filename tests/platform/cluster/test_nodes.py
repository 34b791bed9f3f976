"""A study over several Ray nodes, here several raylets on one machine: same curves, whoever dies."""

import os
import shutil
import subprocess
import time

import optuna
import psutil
import pytest
from ray._private import ray_constants
from ray.cluster_utils import Cluster
from test_ray import STUDY, command, curves, finish, start, wait_for_a_checkpoint

from deepblur.platform.cluster.address import private_cluster
from deepblur.platform.cluster.queue import set_for_ray

pytestmark = pytest.mark.ray
PATIENCE_S = 900
TIMES = dict.fromkeys(("images_per_s", "train_s", "peak_mb"), 0)
ONE_ARM = ("--arms", "true", "--set", "in_steps=60", "--set", "dn_steps=12")


@pytest.fixture(scope="module")
def cluster():
    """A head without cores and two nodes of one core each: two workers must use both."""
    before = dict(os.environ)
    patient = pytest.MonkeyPatch()
    patient.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)  # to be put back
    own = {"RAY_TMPDIR": f"/tmp/dbn{os.getpid()}", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    set_for_ray(private_cluster() | own)
    cluster = Cluster(head_node_args={"num_cpus": 0}, initialize_head=True)
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()
    patient.undo()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def environment(cluster):
    return {**os.environ, "RAY_ADDRESS": cluster.address}


def raylet(node):
    (process,) = node.all_processes["raylet"]
    return psutil.Process(process.process.pid)


def training_on(node):
    """Whether a training worker runs on this node."""
    return any(worker.name().startswith("ray::RayTrain") for worker in raylet(node).children())


def same(found, truth, rel=None):
    """Whether two curves agree: to the bit, or in the loss up to `rel`."""
    assert found.keys() == truth.keys()
    for key, rows in found.items():
        for row, expected in zip(rows, truth[key], strict=True):
            if rel is None:
                assert {**row, **TIMES} == {**expected, **TIMES}
            else:
                assert row["loss"] == pytest.approx(expected["loss"], rel=rel)


def test_two_nodes_learn_what_one_process_learns_and_a_lost_node_changes_nothing(cluster, environment, tmp_path):
    alone = tmp_path / "alone"
    subprocess.run(command(alone, "--local", *ONE_ARM), check=True, stdout=subprocess.DEVNULL)

    for name in ("quiet", "struck"):  # the same images need not be drawn three times
        shutil.copytree(alone / "cache", tmp_path / name / "cache")
    quiet = tmp_path / "quiet"
    finish(start(quiet, environment, *ONE_ARM, "--workers", "2"), quiet, PATIENCE_S)
    same(curves(quiet), curves(alone), rel=1e-3)

    struck = tmp_path / "struck"
    process = start(struck, environment, *ONE_ARM, "--workers", "2")
    with process:
        try:
            wait_for_a_checkpoint(process, struck, PATIENCE_S)
            assert all(training_on(node) for node in cluster.worker_nodes)
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)  # SIGKILL
            cluster.add_node(num_cpus=1)
            finish(process, struck, PATIENCE_S)
        finally:
            process.kill()
    same(curves(struck), curves(quiet))


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
    subprocess.run(search(struck, *options), env=environment, check=True, timeout=PATIENCE_S)
    assert [settled(trial) for trial in trials(struck)] == [settled(trial) for trial in trials(alone)]


def search(runs, *options):
    line = command(runs, *options)
    return [line[0], str(STUDY.with_name("micro_search.py")), *line[2:]]


def trials(runs):
    files = list(runs.glob("searches/*/optuna.db"))
    return optuna.load_study(study_name=None, storage=f"sqlite:///{files[0]}").trials if files else []


def ended(trial):
    return trial.state.is_finished()


def settled(trial):
    return trial.number, trial.state, trial.params, trial.values, trial.user_attrs.get("curves")


def wait(happens, process):
    deadline = time.monotonic() + PATIENCE_S
    while not happens():
        assert process.poll() is None, "the search ended before it could be disturbed"
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.2)
