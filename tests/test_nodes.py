"""A study over several Ray nodes, here several raylets on one machine: same curves, whoever dies."""

import os
import shutil
import subprocess

import psutil
import pytest
from ray.cluster_utils import Cluster
from test_ray import command, curves, finish, start, wait_for_a_checkpoint

pytestmark = pytest.mark.ray
PATIENCE_S = 480
TIMES = dict.fromkeys(("images_per_s", "train_s", "peak_mb"), 0)
ONE_ARM = ("--arms", "true", "--set", "in_steps=60", "--set", "dn_steps=12")


@pytest.fixture(scope="module")
def cluster():
    """A head without cores and two nodes of one core each: two workers must use both."""
    before = dict(os.environ)
    os.environ.update(
        RAY_TMPDIR=f"/tmp/dbn{os.getpid()}", RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0", OMP_NUM_THREADS="1"
    )
    cluster = Cluster(head_node_args={"num_cpus": 0}, initialize_head=True)
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()
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
