"""`--ray`: the nodes of a cluster restore the images, with the same results, whoever dies."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile
from micro_registry import tikhonov_model
from places import ROOT
from ray._private import ray_constants
from ray.cluster_utils import Cluster
from skimage import data

from deepblur import cli
from deepblur.platform.cluster.address import private_cluster
from deepblur.platform.cluster.connection import set_for_ray
from deepblur.restoration.batch import cluster_crew
from deepblur.restoration.batch.ownership import Item
from deepblur.restoration.batch.restoring import Restoring
from deepblur.restoration.batch.worker import Errand, on_node
from deepblur.restoration.options import EngineChoice, Options

CAMERA = data.camera()
STRUCK = """
import os, signal, time
replace = os.replace
def struck(old, new):
    name = str(new)
    if name.endswith("1_psf.tif") and "dies/" in name and not os.path.exists("struck"):
        open("struck", "x").close()
        os.kill(os.getpid(), signal.SIGKILL)
    if name.endswith("1_psf.tif") and "stops/" in name and not os.path.exists("slept"):
        open("slept", "x").close()
        time.sleep(600)
    replace(old, new)
os.replace = struck
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With four images in `in`, a model, and what happens to the processes of the nodes."""
    home = tmp_path_factory.mktemp("cluster")
    tikhonov_model(home / "model", 0.05)
    (home / "in").mkdir()
    for k in range(4):
        tifffile.imwrite(home / f"in/{k}.tif", CAMERA[40 * k : 40 * k + 200, 150:350].astype(np.float32))
    (home / "site").mkdir()
    (home / "site" / "sitecustomize.py").write_text(STRUCK)
    return home


@pytest.fixture(scope="module")
def cluster(folder):
    """Environment of whoever joins a head without cores and two nodes of one core each."""
    before = dict(os.environ)
    patient = pytest.MonkeyPatch()
    patient.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)  # to be put back
    own = {"RAY_TMPDIR": f"/tmp/dbc{os.getpid()}", "RAY_USAGE_STATS_ENABLED": "0"}
    own["PYTHONPATH"] = os.pathsep.join([str(folder / "site"), str(ROOT)])
    set_for_ray(private_cluster() | own)
    os.environ.pop("OMP_NUM_THREADS", None)
    cluster = Cluster(head_node_args={"num_cpus": 0, "include_dashboard": False}, initialize_head=True)
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield {**os.environ, "RAY_ADDRESS": cluster.address, "PYTHONPATH": str(ROOT)}
    cluster.shutdown()
    patient.undo()
    os.environ.clear()
    os.environ.update(before)


def command(out, *more):
    options = ["-o", f"{out}/", "--model", "model", "--restorer", "richardson-lucy", "--no-pictures", "--json"]
    return [sys.executable, "-m", "deepblur.cli", "restore", "in", *options, *more]


def restored(folder, environment, out, *more):
    done = subprocess.run(command(out, *more), cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [entry["status"] for entry in json.loads(done.stdout)["images"]], done.stderr


@pytest.fixture(scope="module")
def alone(folder, cluster):
    restored(folder, cluster, "alone")
    return folder / "alone"


def same_files(one, other):
    names = sorted(file.name for file in one.iterdir())
    assert sorted(file.name for file in other.iterdir()) == names
    for name in names:
        if not name.endswith("_report.json"):  # which holds the seconds
            assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.ray
def test_a_process_that_dies_on_a_node_costs_its_image_one_more_try(folder, cluster, alone):
    statuses, err = restored(folder, cluster, "dies", "--ray", cluster["RAY_ADDRESS"])
    assert statuses == ["done"] * 4
    assert err.count("note: in/1.tif: the process at work on it was killed; tried once more") == 1
    same_files(folder / "dies", alone)
    assert restored(folder, cluster, "dies", "--ray", "auto")[0] == ["kept"] * 4


@pytest.mark.ray
def test_a_command_that_is_stopped_leaves_nothing_at_work_on_the_nodes(folder, cluster, alone):
    with subprocess.Popen(
        command("stops", "--ray", "auto"), cwd=folder, env=cluster, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as driver:
        while not (folder / "slept").exists():
            assert driver.poll() is None, driver.stderr.read()
            time.sleep(0.05)
        driver.send_signal(signal.SIGINT)
        said = driver.communicate(timeout=120)[1].decode()
    assert driver.returncode == 130, said
    assert "Traceback" not in said
    assert not list((folder / "stops").glob("1_*"))
    assert not list((folder / "stops").glob(".*"))
    assert not [
        process for process in psutil.process_iter(["cmdline"]) if "ray::on_node" in str(process.info["cmdline"])
    ]
    restored(folder, cluster, "stops", "--ray", "auto")
    same_files(folder / "stops", alone)


@pytest.mark.ray
def test_what_no_node_has_room_for_is_waited_for_in_words(folder, cluster):
    environment = cluster | {"OMP_NUM_THREADS": "2"}
    line = command("waits", "--ray", "auto")
    with subprocess.Popen(line, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as driver:
        said = iter(driver.stderr.readline, "")
        assert any("note: no node has 2 cores, as OMP_NUM_THREADS says; waiting" in words for words in said)
        driver.send_signal(signal.SIGINT)
        driver.communicate(timeout=120)
    assert driver.returncode == 130


@pytest.mark.ray
def test_the_frames_of_a_large_file_are_restored_apart(folder, cluster, monkeypatch, capsys):
    """As in one process, whatever part is where; the first frame is empty, so that each part looks for another."""
    (folder / "long").mkdir()
    frames = np.stack([np.zeros((200, 200)), *(CAMERA[40 * k : 40 * k + 200, 150:350] for k in range(4))])
    tifffile.imwrite(folder / "long/series.tif", frames.astype(np.uint16), imagej=True, metadata={"axes": "TYX"})
    monkeypatch.chdir(folder)
    monkeypatch.setattr(cluster_crew, "PART_VALUES", 2 * 200 * 200)
    line = ["restore", "long", "--restorer", "wiener", "--method", "spectral", "--eta", "0.1"]
    for words in (["-o", "apart", "--ray", cluster["RAY_ADDRESS"]], ["-o", "whole"]):
        assert cli.main([*line, *words]) == 0, capsys.readouterr().err
    same_files(folder / "apart", folder / "whole")
    reports = [json.loads((folder / name / "series_report.json").read_text()) for name in ("apart", "whole")]
    for report in reports:
        del report["seconds"]
    assert reports[0] == reports[1]
    assert not list((folder / "apart").glob(".*"))


@pytest.mark.ray
def test_a_frame_that_cannot_be_restored_ends_its_file_alone(folder, cluster, monkeypatch, capsys):
    (folder / "bad").mkdir()
    frames = np.stack([CAMERA[40 * k : 40 * k + 100, 150:250] for k in range(4)]).astype(np.float32)
    tifffile.imwrite(folder / "bad/a.tif", frames, photometric="minisblack", metadata={"axes": "TYX"})
    frames[2, 5, 5] = np.nan
    tifffile.imwrite(folder / "bad/b.tif", frames, photometric="minisblack", metadata={"axes": "TYX"})
    monkeypatch.chdir(folder)
    monkeypatch.setattr(cluster_crew, "PART_VALUES", 100 * 100)
    line = ["restore", "bad", "-o", "ended", "--restorer", "wiener", "--method", "spectral", "--no-pictures", "--json"]
    assert cli.main([*line, "--ray", cluster["RAY_ADDRESS"]]) == 4
    told = capsys.readouterr()
    assert [entry["status"] for entry in json.loads(told.out)["images"]] == ["done", "failed"]
    assert "bad/b.tif (t=2): 1 pixels are NaN or infinite" in told.err
    assert sorted(file.name for file in Path("ended").iterdir()) == sorted(
        f"a_{ending}" for ending in ("gamma.csv", "psf.tif", "report.json", "restored.tif", "wavefront.tif")
    )


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("nowhere", "--ray is HOST:PORT of a cluster's head, such as 10.0.0.1:6379, or auto; got nowhere"),
        ("127.0.0.1:9", "--ray 127.0.0.1:9: no Ray cluster answers there (["),
        ("auto", "--ray auto: no Ray cluster runs on this machine; start one with 'ray start --head'"),
    ],
)
def test_a_cluster_that_is_none_is_refused(address, words, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    line = ["restore", str(folder / "in"), "-o", str(tmp_path / "out"), "--model", str(folder / "model")]
    assert cli.main([*line, "--ray", address]) == 2
    assert words in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_node_that_sees_other_folders_says_so(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    item = Item(folder / "in" / "0.tif", "0")
    job = Restoring(tmp_path, EngineChoice(), Options(), False, False, (), {}, {})
    for home in (tmp_path, Path("not/here")):
        value = on_node(Errand(job, 1, str(home), {}, {}), item)
        assert value["code"] == 4
        assert "is not seen under this path; put images and results where all nodes see them" in value["entry"]["error"]


def test_a_node_with_another_deepblur_is_refused_by_name(folder):
    job = Restoring(folder, EngineChoice(), Options(), False, False, (), {}, {})
    errand = Errand(job, 1, str(folder), {}, {"restoration/frame": "0"})
    with pytest.raises(ValueError, match="has another version of restoration/frame than this command; install"):
        on_node(errand, Item(folder / "in" / "0.tif", "0"))
