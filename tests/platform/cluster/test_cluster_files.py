"""The cluster files, checked without a cluster: Ray's own loader, KubeRay's documented fields, our own settings."""

import re
import shlex

import pytest
import yaml
from places import ROOT
from ray.autoscaler._private.util import prepare_config, validate_config

from deepblur.platform.experiment.command_line import parser
from deepblur.studies.ablation_true_vs_est import STUDY

RAY_FILES = [ROOT / "cluster.yaml", ROOT / "docs" / "cluster" / "onprem.yaml"]
JOB = ROOT / "docs" / "cluster" / "rayjob.yaml"
OURS = ("DEEPBLUR_RUNS", "MLFLOW_TRACKING_URI")

# The fields that we use and their kinds, as in KubeRay's "CRD API reference" (ray.io/v1, KubeRay 1.7) and core/v1.
# A dict names every field that is allowed; a list holds the kind of its items; {"*": kind} takes any name.
TEXTS = {"*": str}
POD = {
    "spec": {
        "restartPolicy": {"Always", "OnFailure", "Never"},
        "securityContext": {"fsGroup": int},
        "containers": [
            {
                "name": str,
                "image": str,
                "env": [{"name": str, "value": str}],
                "resources": {"requests": TEXTS, "limits": TEXTS},
                "volumeMounts": [{"name": str, "mountPath": str}],
            }
        ],
        "volumes": [{"name": str, "persistentVolumeClaim": {"claimName": str}}],
    }
}
RAY_JOB = {
    "apiVersion": {"ray.io/v1"},
    "kind": {"RayJob"},
    "metadata": {"name": str},
    "spec": {
        "entrypoint": str,
        "submissionMode": {"K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"},
        "backoffLimit": int,
        "shutdownAfterJobFinishes": bool,
        "ttlSecondsAfterFinished": int,
        "rayClusterSpec": {
            "rayVersion": str,
            "authOptions": {"mode": {"disabled", "token"}},
            "enableInTreeAutoscaling": bool,
            "autoscalerOptions": {"version": {"v1", "v2"}, "idleTimeoutSeconds": int},
            "headGroupSpec": {"rayStartParams": TEXTS, "template": POD},
            "workerGroupSpecs": [
                {
                    "groupName": str,
                    "replicas": int,
                    "minReplicas": int,
                    "maxReplicas": int,
                    "rayStartParams": TEXTS,
                    "template": POD,
                }
            ],
        },
    },
}


def check(value, kind, where):
    if isinstance(kind, dict):
        assert isinstance(value, dict), where
        for name, inner in value.items():
            assert name in kind or "*" in kind, f"{where}.{name} is no field that is documented"
            check(inner, kind.get(name, kind.get("*")), f"{where}.{name}")
    elif isinstance(kind, list):
        assert isinstance(value, list), where
        for i, inner in enumerate(value):
            check(inner, kind[0], f"{where}[{i}]")
    elif isinstance(kind, set):
        assert value in kind, f"{where} is {value!r}, one of {kind} is allowed"
    else:
        assert type(value) is kind, f"{where} is {value!r}, a {kind.__name__} is expected"


@pytest.fixture(params=RAY_FILES, ids=lambda path: path.name)
def cluster(request, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))  # the loader of the on-premise kind writes its state below it
    monkeypatch.chdir(ROOT)
    return yaml.safe_load(request.param.read_text())


def test_rays_own_loader_accepts_the_file(cluster):
    validate_config(prepare_config(cluster))


def test_a_wrong_key_is_noticed(cluster):
    with pytest.raises(Exception, match="no_such_key"):
        validate_config(prepare_config({**cluster, "no_such_key": 1}))


def test_the_environment_names_our_settings_and_nothing_listens_on_the_outside(cluster):
    commands = "\n".join([*cluster["setup_commands"], *cluster["head_start_ray_commands"]])
    for name in OURS:
        assert f"{name}=" in commands
        assert any(name in path.read_text() for path in (ROOT / "platform").rglob("*.py")), f"nobody reads {name}"
    assert "RAY_AUTH_MODE=token" in commands
    assert "--dashboard-host=127.0.0.1" in commands
    assert "0.0.0.0" not in commands
    assert cluster["rsync_exclude"] == [".git"]
    assert cluster["rsync_filter"] == [".gitignore"]


def test_the_bounds_of_the_autoscaler_hold_together():
    cluster = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    workers = {name: kind for name, kind in cluster["available_node_types"].items() if name != "head"}
    assert all(kind["resources"]["GPU"] for kind in workers.values())
    assert any("InstanceMarketOptions" in kind["node_config"] for kind in workers.values())
    assert cluster["idle_timeout_minutes"] > 0
    assert cluster["max_workers"] <= sum(kind["max_workers"] for kind in workers.values())


def test_the_kubernetes_job_has_documented_fields_only():
    check(yaml.safe_load(JOB.read_text()), RAY_JOB, "RayJob")


def test_the_kubernetes_job_shares_its_folder_and_ends_its_cluster():
    spec = yaml.safe_load(JOB.read_text())["spec"]
    cluster = spec["rayClusterSpec"]
    assert spec["shutdownAfterJobFinishes"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        values = {entry["name"]: entry["value"] for entry in container["env"]}
        assert set(OURS) <= values.keys()
        assert values["DEEPBLUR_RUNS"].startswith(container["volumeMounts"][0]["mountPath"])


def studies(text):
    """Every command line of a study in a text: what follows the name of its file."""
    return re.findall(r"studies/ablation_true_vs_est\.py((?:[ \n]+--?[a-z-]+(?:[ =]+[\w./:,=-]+)?)*)", text)


@pytest.mark.parametrize("path", [JOB, ROOT / "docs" / "cluster.md"], ids=lambda path: path.name)
def test_every_study_that_a_file_starts_has_options_that_exist(path):
    found = studies(path.read_text().replace("\\\n", " "))
    assert found
    for options in found:
        parser(STUDY).parse_args(shlex.split(options))


def test_the_document_names_files_that_exist():
    text = (ROOT / "docs" / "cluster.md").read_text()
    for name in re.findall(r"\]\(([\w./-]+)\)", text):
        assert (ROOT / "docs" / name).exists(), name
