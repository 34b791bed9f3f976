"""A study whose parts are its own: networks from a file anywhere, hashed, trained, recorded and reproduced."""

import importlib
import json
import os
import sys
from dataclasses import replace
from functools import partial

import mlflow
import numpy as np
import pytest
import torch
from fresh_code import forget
from micro_study import STUDY
from torch import nn

from deepblur import cli
from deepblur.platform.arms.methods.method import Assess
from deepblur.platform.data.sources import parse_data
from deepblur.platform.evaluation.measure import Metric
from deepblur.platform.experiment.main import main
from deepblur.platform.experiment.result import Result
from deepblur.platform.stages.identity import canonical, said
from deepblur.platform.system.errors import SettingsError
from deepblur.platform.training.specification import Restore
from deepblur.platform.training.tasks import IdentifyTask, RestoreTask, build

DATA = parse_data("dead-leaves")
PRINTS = {DATA.train: "a", DATA.validation: "b", DATA.test: "c"}
FAST = ["--local", "--data", "photos", "--images", "1", "--draws", "1", "--eta", "0.1"]
NETWORKS = '''"""Are networks of one's own as good as any?"""
from dataclasses import replace
from functools import partial

from micro_study import STUDY as BASE
from own_layers import spread
from torch import nn

from deepblur.platform.study import Arm, Metric

WIDTH = 4
UNUSED = 1


class Reader(nn.Module):
    """y → γ̂, from the spread of the image."""

    def __init__(self, num_parameters, width=WIDTH):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, width), nn.ReLU(), nn.Linear(width, num_parameters))

    def forward(self, y):
        return self.net(spread(y))


class Sharpener(nn.Module):
    """(y, γ, operator) → x̂, blind to γ."""

    def __init__(self):
        super().__init__()
        self.net = nn.Conv2d(1, 1, 3, padding=1)
        self.again = self.net  # weights that two parts share

    def forward(self, y, gamma, operator):
        return y + self.again(self.net(y))


def roughness(restored, sharp):
    """Steps between neighbours in a row beyond those of the sharp image, in percent of white."""
    return 100 * float(restored.diff().abs().mean() - sharp.diff().abs().mean())


def arm(*, width=4, data, seed):
    base = BASE.arm(operator="true", data=data, seed=seed, in_steps=4, dn_steps=4)
    return Arm(
        identify=replace(base.identify, network=partial(Reader, width=width)),
        deblur=replace(base.deblur, network=Sharpener),
    )


STUDY = replace(BASE, name="own_parts", about=__doc__, arm=arm,
                arms={"narrow": {"width": 4}, "wide": {"width": 8}}, contrast=("wide", "narrow"),
                metrics=(Metric(roughness, label="rough | <steps>", unit="%", higher_is_better=False),))

if __name__ == "__main__":
    STUDY.main()
'''
METHODS = '''"""Does a Gaussian find the blur?"""
import torch
from micro_comparison import LEVELS, arm
from micro_study import STUDY as BASE

from deepblur.platform.study import Estimate, Grid, Metric, Preset, Study


def gaussian(image, psf_size, width=1.0):
    x = torch.arange(psf_size) - psf_size // 2
    row = torch.exp(-0.5 * (x / width).square())
    psf = torch.outer(row, row)
    return Estimate(image=image, psf=psf / psf.sum())


def sharper(image, psf, amount=0.5):
    return image + amount * (image - image.mean())


def brightness(restored, sharp):
    return restored.mean() - sharp.mean()


def wrong(image):
    return image


STUDY = Study(
    name="own_methods",
    about=__doc__,
    arm=arm,
    arms={
        "sharper": {"psf": gaussian, "image": sharper, "settings": (("amount", 0.1),)},
        "gaussian": {"psf": gaussian, "image": "own", "settings": (("width", 2.0),)},
        "wiener": {"psf": gaussian, "image": "wiener"},
        "wrong": {"psf": wrong, "image": "own"},
    },
    contrast=("sharper", "gaussian"),
    metrics=(Metric(brightness, decimals=4),),
    presets={"quick": Preset(seeds=(0,), grid=Grid(noise=LEVELS[:1], eta_waves=(0.1,), images=2, draws=1, crop_px=48))},
)

if __name__ == "__main__":
    STUDY.main()
'''
LAYERS = "def spread(y):\n    '''(B, 1).'''\n    return y.std((1, 2, 3))[:, None]\n"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with the studies `own_parts.py` and `own_methods.py` and the module `own_layers.py`."""
    (tmp_path / "own_parts.py").write_text(NETWORKS)
    (tmp_path / "own_methods.py").write_text(METHODS)
    (tmp_path / "own_layers.py").write_text(LAYERS)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [n for n in sys.modules if n.startswith("own_")]:
        del sys.modules[name]
    forget()


def key(kind="identify"):
    forget()
    built = importlib.import_module("own_parts").STUDY.arm(data=DATA, seed=0)
    return getattr(built, kind).key(PRINTS)


@pytest.mark.parametrize(
    ("file", "old", "new", "counts"),
    [
        ("own_parts.py", "nn.ReLU()", "nn.Tanh()", True),
        ("own_parts.py", "WIDTH = 4", "WIDTH = 5", True),
        ("own_layers.py", "y.std", "2 * y.std", True),
        ("own_parts.py", "UNUSED = 1", "UNUSED = 2", False),
        ("own_parts.py", "y + self.again", "y - self.again", False),  # of the other network
        ("own_parts.py", 'contrast=("wide", "narrow")', 'contrast=("narrow", "wide")', False),
        ("own_parts.py", "from the spread of the image", "another docstring", False),
        ("own_layers.py", "'''(B, 1).'''", "# why", False),
        ("own_parts.py", "100 *", "1000 *", False),  # of the metric
    ],
)
def test_an_edit_of_an_own_network_trains_it_anew_and_another_edit_does_not(own, file, old, new, counts):
    before = key()
    assert old in (own / file).read_text()
    (own / file).write_text((own / file).read_text().replace(old, new))
    assert (key() != before) == counts


def test_the_settings_of_an_own_network_count(own):
    arm = importlib.import_module("own_parts").STUDY.arm
    narrow, wide = (arm(width=width, data=DATA, seed=0).identify for width in (4, 8))
    assert narrow.key(PRINTS) != wide.key(PRINTS)


def statuses(uri, name):
    client = mlflow.MlflowClient(uri)
    return [(run.data.params, run.data.metrics, run.info.status) for run in
            client.search_runs([client.get_experiment_by_name(name).experiment_id])]  # fmt: skip


def test_a_study_of_own_networks_is_trained_measured_recorded_and_reused(own, capsys, mlflow_template, monkeypatch):
    """By `deepblur study FILE`, which is `python FILE`."""
    (own / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    for value in ("argv", "path"):
        monkeypatch.setattr(sys, value, [p for p in getattr(sys, value) if p != str(own)])
    with pytest.raises(SystemExit) as end:
        cli.main(["study", str(own / "own_parts.py"), *FAST, "--runs", str(own)])
    out = capsys.readouterr().out
    assert end.value.code == 0, out
    assert "no model will be made of the networks of narrow, wide, for Reader and" in out
    assert "model   models:/" not in out
    assert "Does wide do better than narrow?" in out
    assert f"deepblur study {own}/own_parts.py --local" in next(own.glob("studies/*/report.html")).read_text()
    found = statuses(f"sqlite:///{own}/mlflow.db", "own_parts")
    assert {status for _, _, status in found} == {"FINISHED"}
    assert "rough | <steps> (lower is better), wide − narrow:" in out
    page = next(own.glob("studies/*/report.html")).read_text()
    assert "rough | &lt;steps&gt; (%)" in page
    assert [m["test/roughness"] for _, m, _ in found if "test/roughness" in m]
    assert {"contrast/roughness/difference"} <= {name for _, m, _ in found for name in m}
    assert any(params.get("network") == "Reader(width=8)" for params, _, _ in found)
    sys.path.insert(0, str(own))
    assert main(importlib.import_module("own_parts").STUDY, [*FAST, "--runs", str(own), "--tracking-uri", "none"]) == 0
    assert "5 stages, 5 done before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ("-0.5 *", "-0.4 *", {"sharper", "gaussian", "wiener"}),
        ("image + amount", "image - amount", {"sharper"}),
        ("restored.mean() -", "restored.mean() +", {"sharper", "gaussian", "wiener", "wrong"}),
        ("decimals=4", "decimals=2", set()),  # how it is written
        ('"wiener"}', '"wiener", "settings": (("balance", 0.1),)}', {"wiener"}),
        ("Does a Gaussian", "Does no Gaussian", set()),
    ],
)
def test_an_edit_of_an_own_method_measures_it_anew_and_no_other(own, old, new, counts):
    def keys():
        study = importlib.import_module("own_methods").STUDY
        grid = study.presets["quick"].grid
        return {name: Assess(method=study.build(name, settings={}, data=DATA, seed=0), grid=grid, test=DATA.test,
                             position=0, scores=study.scores).key(PRINTS) for name in study.arms}  # fmt: skip

    before = keys()
    assert old in METHODS
    (own / "own_methods.py").write_text(METHODS.replace(old, new, 1))
    forget()
    del sys.modules["own_methods"]
    importlib.invalidate_caches()
    assert {name for name, key in keys().items() if key != before[name]} == counts


def test_own_methods_are_measured_and_named_and_a_faulty_one_says_what_it_did(own):
    """By `STUDY.run`, from a program that only imports the study."""
    study = importlib.import_module("own_methods").STUDY
    result = study.run("quick", local=True, data="photos", images=1, eta=(0.1,), runs=own, tracking_uri="none")
    assert {"items", "summary", "paired"} <= result.tables.keys()
    assert result.command.startswith(f"python {os.path.relpath(own / 'own_methods.py')} --preset=quick --local")
    made = json.loads(next(own.glob("studies/*/provenance.json")).read_text())
    assert made["study"]["file"] == str(own / "own_methods.py")
    items = result.tables["items"].set_index("arm")
    assert set(items.status[["sharper", "gaussian", "wiener"]]) == {"ok"}
    assert items.psf_snr_db["sharper"] != items.psf_snr_db["gaussian"]  # whose widths differ
    assert items.reason["wrong"] == "ValueError: wrong gives a Tensor; what finds a PSF gives an Estimate"
    report = next(own.glob("studies/*/report.html")).read_text()
    assert "gaussian" in report
    assert np.isfinite(items.brightness[["sharper", "gaussian", "wiener"]]).all()
    assert result.metrics()["arm/sharper/brightness"] == result.tables["summary"].brightness.iloc[0]
    assert "brightness" in set(result.tables["paired"].measure)
    assert "brightness, sharper − gaussian" in result.text()
    assert "Own metrics: means over" in report
    method = study.build("sharper", settings={}, data=DATA, seed=0)
    assert method.label == "gaussian + sharper"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"imges": 1}, "unrecognized arguments: --imges=1"),
        ({"preset": "huge"}, "invalid choice: 'huge'"),
        ({"images": "one"}, "argument --images: invalid int value"),
        ({"images": 0}, "--images must be at least 1; got 0"),
        ({"arms": ("wide", "none")}, "--arms names 'none'; this study has narrow, wide"),
        ({"settings": {"widht": 1}}, "did you mean 'width'"),
        ({"settings": {"width": "1"}}, "the setting width is a int such as 4"),
    ],
)
def test_what_makes_no_sense_from_python_is_an_error_and_no_exit(own, options, words):
    with pytest.raises(ValueError, match=words):
        importlib.import_module("own_parts").STUDY.run(**options, runs=own)


def test_a_metric_without_a_name_of_its_own_is_refused(own):
    study = importlib.import_module("own_methods").STUDY
    with pytest.raises(ValueError, match=r"a function with a name.*got <lambda>"):
        Metric(lambda restored, sharp: 0.0)

    def ssim(restored, sharp):
        return 0.0

    with pytest.raises(ValueError, match="'ssim' is taken: rename it"):
        replace(study, metrics=(Metric(ssim),))


def test_a_study_that_is_neither_a_name_nor_a_file_is_told_which_there_are(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "nothing.py").write_text("STUDY = None\n")
    assert cli.main(["study", str(tmp_path / "nothing.py")]) == 2
    assert "nothing.py ran no study; it ends with STUDY.main()" in capsys.readouterr().err
    assert cli.main(["study", "nowhere.py"]) == 2
    assert "no study is called 'nowhere.py', and no file; there are ablation_" in capsys.readouterr().err


def test_a_network_of_another_shape_is_refused_before_it_learns_nonsense(own):
    module = importlib.import_module("own_parts")
    stage = module.STUDY.arm(data=DATA, seed=0).identify
    task = IdentifyTask(replace(stage, network=lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())))
    batch = partial(torch.zeros, 2, 1, 32, 32)

    class Batch:
        blurry, gamma = batch(), torch.zeros(2, 2)

    with pytest.raises(SettingsError, match=r"gives \(2, 1\) where IN must give \(2, 2\)"):
        task.loss(task.network(), Batch())
    with pytest.raises(SettingsError, match=r"<lambda> makes a int; a network is a torch.nn.Module"):
        build(replace(stage, network=lambda: 3))


def test_an_own_network_restores_without_an_operator(own):
    base = STUDY.arm(operator="true", data=DATA, seed=0).deblur
    same = partial(nn.Conv2d, 1, 1, 3, padding=1)
    stage = Restore(train=base.train, validation=base.validation, degradation=base.degradation, seed=0,
                    optimization=base.optimization, network=same)  # fmt: skip
    network = RestoreTask(stage).network()
    assert network(torch.zeros(1, 1, 8, 8)).shape == (1, 1, 8, 8)
    assert stage.key(PRINTS) != replace(stage, network=partial(nn.Conv2d, 1, 1, 5, padding=2)).key(PRINTS)


@pytest.mark.parametrize("kind", ["methods", "search", "trained", "tuning", "uncertainty"])
def test_the_result_of_every_kind_of_study_has_its_tables(kind):
    module = importlib.import_module(f"deepblur.platform.arms.{kind}.collect")
    (own,) = (c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__)
    assert issubclass(own, Result)
    assert "tables" in vars(own)


def test_a_part_that_no_other_process_finds_is_refused():
    with pytest.raises(ValueError, match=r"stands at the top of a file.*<lambda>"):
        canonical({"network": lambda: None}, {})
    with pytest.raises(TypeError, match="plain values, functions and classes only"):
        canonical({"network": object()}, {})
    assert said(partial(nn.Conv2d, 1, bias=False)) == "Conv2d(1, bias=False)"
