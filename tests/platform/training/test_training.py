"""The trainer without Ray: draws, resuming, losses."""

import copy
from dataclasses import fields, replace

import pytest
import torch
from micro_study import STUDY
from torch.testing import assert_close

from deepblur.operators import noise_std_of
from deepblur.platform.data.observations import BLOCK, ERROR_FLOOR, ERROR_POWER, draw_batch, mean_psf
from deepblur.platform.data.sources import Data, DeadLeaves
from deepblur.platform.data.store import open_store
from deepblur.platform.evaluation.metrics import psf_snr_db
from deepblur.platform.training.losses import LOSSES
from deepblur.platform.training.specification import Joint, Training
from deepblur.platform.training.tasks import JointTask, build
from deepblur.platform.training.trainer import result_of, train

DATA = Data(*((DeadLeaves(3, 80, seed=i),) for i in range(3)))
CPU = torch.device("cpu")


class MemoryRun:
    """A run that keeps every checkpoint in memory and can die after any of them."""

    rank, world_size, device = 0, 1, CPU

    def __init__(self, start=None, die_at=None):
        self.start, self.die_at, self.states = start, die_at, []

    def resume(self):
        return copy.deepcopy(self.start)

    def alive(self, step):
        pass

    def report(self, row, state):
        self.states.append(copy.deepcopy(state))
        if row["step"] == self.die_at:
            raise InterruptedError


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def stages(**settings):
    arm = STUDY.arm(operator="true", data=DATA, seed=0, **settings)
    shared = {f.name: getattr(arm.deblur, f.name) for f in fields(Training)}
    joint = Joint(**shared, identify=arm.identify, pretrained=False, weight=0.1)
    return {"identify": arm.identify, "deblur": arm.deblur, "joint": joint}


def without_times(row):
    return {name: value for name, value in row.items() if not name.endswith(("_s", "_mb"))}


@pytest.mark.parametrize("kind", ["identify", "deblur", "joint"])
@pytest.mark.parametrize(("ema", "precision"), [(None, "float32"), (0.9, "float32"), (0.9, "bfloat16")])
def test_a_killed_run_resumes_bit_for_bit(kind, ema, precision, cache):
    """In bfloat16 as on a GPU: autocast, over weights in channels last."""
    stage = stages(ema=ema)[kind]
    stage = replace(stage, optimization=replace(stage.optimization, precision=precision))
    whole = train(stage, cache=cache, identifier=None, run=MemoryRun())
    killed = MemoryRun(die_at=stage.optimization.steps * 2 // 3)
    with pytest.raises(InterruptedError):
        train(stage, cache=cache, identifier=None, run=killed)
    resumed = train(stage, cache=cache, identifier=None, run=MemoryRun(start=killed.states[-1]))
    assert whole["weights"].keys() == resumed["weights"].keys()
    for name, value in whole["weights"].items():
        assert torch.equal(value, resumed["weights"][name]), name
    for before, after in zip(whole["history"], resumed["history"], strict=True):
        assert without_times(before) == without_times(after)
    spent = [row["train_s"] for row in resumed["history"]]
    assert spent == sorted(spent)


@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_the_loss_of_the_restoration_reaches_the_identifier(weight, cache):
    stage = replace(stages()["joint"], weight=weight)
    store = open_store(stage.train, cache, progress=False)
    batch = draw_batch(store, stage.degradation, 0, "train", 0, range(1), CPU)
    task, network = JointTask(stage, None), build(stage)
    task.loss(network, batch).backward()
    assert all(p.grad.abs().sum() > 0 for p in network.parameters())
    measured = task.measure(network.eval(), batch)
    assert all(value.shape == (BLOCK,) for value in measured.values())
    assert {"val_psnr_db", "val_psf_snr_db"} < set(measured)


def test_a_joint_training_starts_from_the_identifier_that_it_is_given(cache):
    made = stages()
    identifier = train(made["identify"], cache=cache, identifier=None, run=MemoryRun())["weights"]
    stage = replace(made["joint"], pretrained=True)
    network = JointTask(stage, identifier).network()
    assert all(torch.equal(value, identifier[name]) for name, value in network.identify.state_dict().items())
    trained = train(stage, cache=cache, identifier=identifier, run=MemoryRun())["weights"]
    assert any(not torch.equal(trained[f"identify.{name}"], value) for name, value in identifier.items())
    with pytest.raises(ValueError, match="needs the weights of its identification network"):
        train(stage, cache=cache, identifier=None, run=MemoryRun())


def test_another_seed_gives_other_weights(cache):
    one, other = (
        train(replace(stages()["identify"], seed=seed), cache=cache, identifier=None, run=MemoryRun())
        for seed in (0, 1)
    )
    assert any(not torch.equal(one["weights"][k], other["weights"][k]) for k in one["weights"])


def test_the_last_checkpoint_holds_the_result(cache):
    run = MemoryRun()
    result = train(stages(ema=0.5)["identify"], cache=cache, identifier=None, run=run)
    again = result_of(run.states[-1])
    assert again["history"] == result["history"]
    assert all(torch.equal(again["weights"][k], v) for k, v in result["weights"].items())


def test_a_step_draws_the_same_images_however_they_are_divided(cache):
    stage = stages()["identify"]
    store = open_store(stage.train, cache, progress=False)
    whole = draw_batch(store, stage.degradation, 7, "train", 3, range(4), CPU)
    parts = [draw_batch(store, stage.degradation, 7, "train", 3, range(i, i + 2), CPU) for i in (0, 2)]
    assert len(whole) == 4 * BLOCK
    for name in ("blurry", "sharp", "gamma", "psf"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(p, name) for p in parts]))


def test_dn_is_told_gamma_with_errors_that_leave_everything_else_as_it_was(cache):
    stage = stages()["deblur"]
    store = open_store(stage.train, cache, progress=False)
    plain, wrong = (
        draw_batch(store, replace(stage.degradation, gamma_error=error), 3, "train", 0, range(2), CPU)
        for error in (0.0, 0.1)
    )
    assert torch.equal(plain.given_gamma, plain.gamma)
    assert torch.equal(wrong.gamma, plain.gamma)
    assert torch.equal(wrong.blurry, plain.blurry)
    scale = 0.1 * (noise_std_of(wrong.blurry) + ERROR_FLOOR) ** ERROR_POWER
    assert 0.6 < ((wrong.given_gamma - wrong.gamma) / scale).std() < 1.5


def test_the_truth_lies_on_the_window_of_the_observation(cache):
    stage = stages()["identify"]
    quiet = replace(
        stage.degradation, eta_waves=1e-6, noise=replace(stage.degradation.noise, gain=(0, 0), read_std=(0, 0))
    )
    batch = draw_batch(open_store(stage.train, cache, progress=False), quiet, 0, "train", 0, range(1), CPU)
    assert batch.blurry.shape == batch.sharp.shape == (BLOCK, 1, 32, 32)
    aligned = (batch.blurry - batch.sharp).square().mean()
    for shift in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        assert aligned < (batch.blurry - batch.sharp.roll(shift, (2, 3))).square().mean()


def test_a_batch_that_workers_cannot_share_is_refused(cache):
    with pytest.raises(ValueError, match=r"multiple of 8 and at least 8 x 1 workers.*got 12"):
        train(stages(batch=12)["identify"], cache=cache, identifier=None, run=MemoryRun())


def test_a_diverged_run_says_so(cache):
    stage = stages()["identify"]
    run = MemoryRun()
    with pytest.raises(FloatingPointError, match=r"at step \d+ of 12; lower lr \(now 1e\+30\)"):
        train(replace(stage, optimization=replace(stage.optimization, lr=1e30)), cache=cache, identifier=None, run=run)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_know_the_truth_and_the_twin(name, cache):
    stage = stages()["identify"]
    operator, eta = stage.degradation.operator, stage.degradation.eta_waves
    batch = draw_batch(open_store(stage.train, cache, progress=False), stage.degradation, 0, "t", 0, range(2), CPU)
    twin = operator.twin(batch.gamma)
    at = {"truth": batch.gamma, "twin": twin, "far": batch.gamma + eta}
    value = {where: float(LOSSES[name](gamma, batch, operator, eta)) for where, gamma in at.items()}
    assert value["far"] > 1e-3
    if name in ("twin", "psf", "twin_psf"):
        assert max(value["truth"], value["twin"]) < 1e-6
    elif name == "gamma":
        assert value["truth"] == 0
        assert value["twin"] > 0.1
    else:  # half_space: the representative with a positive first even coefficient
        upper = torch.where(batch.gamma[:, :1] < 0, twin, batch.gamma)
        assert float(LOSSES[name](upper, batch, operator, eta)) == 0
        assert (value["truth"] > 0.1) == bool((batch.gamma[:, 0] < 0).any())


def test_the_mean_psf_is_the_best_constant_guess():
    operator = stages()["identify"].degradation.operator
    guess = mean_psf(operator, 0.15)
    assert_close(guess.sum(), torch.tensor(1.0))
    gamma = (torch.rand(64, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1) * 0.15
    truth = operator.psf(gamma)
    flat = operator.psf(torch.zeros(1, 2)).expand_as(truth)
    error = {name: (g.expand_as(truth) - truth).square().sum() for name, g in (("mean", guess), ("flat", flat))}
    assert error["mean"] < error["flat"]
    assert psf_snr_db(guess.expand_as(truth), truth).mean() > 0
