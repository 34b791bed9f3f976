"""A study on an operator class of one's own, as CONTRIBUTING tells to write one: all of it but a registered model."""

from dataclasses import dataclass, replace

import mlflow
import pytest
import torch
from micro_study import STUDY

from deepblur.operators import ZernikeBlur
from deepblur.operators.blur import Blur, Convolution
from deepblur.platform.arms.trained import register
from deepblur.platform.arms.trained.arm import Arm
from deepblur.platform.experiment.main import main

FAST = ["--local", "--data", "photos", "--images", "1", "--draws", "1", "--eta", "0.1"]


@dataclass(frozen=True)
class Gaussian(Blur):
    """Blur by a Gaussian whose widths are γ + 1 pixels."""

    boundary: str = "valid"
    cg_iterations: int = 10
    cg_tolerance: float = 1e-4

    @property
    def num_parameters(self):
        return 2

    @property
    def psf_shape(self):
        return 9, 9

    def psf(self, gamma):
        x = torch.arange(-4, 5, dtype=gamma.dtype, device=gamma.device)
        rows, columns = (torch.exp(-0.5 * (x / (1 + gamma[:, i, None])).square()) for i in (0, 1))
        kernel = rows[:, :, None] * columns[:, None, :]
        return (kernel / kernel.sum((1, 2), keepdim=True))[:, None]

    def impulse_response(self, gamma, at):
        return self.psf(gamma)

    def bind(self, gamma):
        return Convolution(self, self.psf(self.check_gamma(gamma)))

    @classmethod
    def example(cls, boundary):
        return cls(boundary)


@dataclass(frozen=True)
class Named(ZernikeBlur):
    """Nothing but another name."""


def with_operator(operator):
    def arm(*, operator_of="true", data, seed):
        base = STUDY.arm(operator=operator_of, data=data, seed=seed)
        degradation = replace(base.identify.degradation, operator=operator)
        return Arm(
            identify=replace(base.identify, degradation=degradation),
            deblur=replace(base.deblur, degradation=degradation),
        )

    arms = {"mine": {}, "the same": {"operator_of": "true"}}
    return replace(STUDY, name="own", arm=arm, arms=arms, contrast=("mine", "the same"))


def statuses(uri, name):
    client = mlflow.MlflowClient(uri)
    return {run.info.status for run in client.search_runs([client.get_experiment_by_name(name).experiment_id])}


@pytest.mark.parametrize("operator", [Named(noll=(4, 5), psf_size=15), Gaussian()], ids=lambda o: type(o).__name__)
def test_a_study_on_ones_own_operator_ends_well_and_says_before_that_it_makes_no_model(
    operator, tmp_path, capsys, mlflow_template
):
    (tmp_path / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    assert main(with_operator(operator), [*FAST, "--runs", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    kind = type(operator).__name__
    said = f"no model will be made of the networks of mine, the same, for their operator is a {kind} and a model's is"
    assert said in out
    assert out.index(said) < out.index("[1/")
    assert "model   models:/" not in out
    assert statuses(f"sqlite:///{tmp_path}/mlflow.db", "own") == {"FINISHED"}


def test_a_model_that_cannot_be_made_after_all_costs_no_study(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(register, "calibrate", lambda *_: 1 / 0)
    assert main(STUDY, [*FAST, "--runs", str(tmp_path), "--tracking-uri", "none", "--arms", "true"]) == 0
    assert "model   none of arm 'true' (ZeroDivisionError: division by zero)" in capsys.readouterr().out
