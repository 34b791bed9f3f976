"""Train the deblurring network of a model on with the PSFs that its own identification finds (`python -m` runs this).

A network that has seen true PSFs alone trusts each it is given, and a wrong one then costs it more than it costs TV.
So PSFs are drawn, each is looked for in a blurry and noisy crop, and the pair of both, with its noise, is kept; the
network then restores other crops, blurred by the one and given the other. Photographs and micrographs, noise from none
to the paper's highest; a part of the draws are given the truth, as users with a PSF of their own do. The loss is minus
the mean PSNR.
The same command goes on where it was killed, and ends with the same weights.
"""

import argparse
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from deepblur.baselines import SpectralIdentifier
from deepblur.baselines.estimate import DivergedError
from deepblur.baselines.nonblind import tv
from deepblur.operators import Blur, Boundary, PoissonGaussian, ZernikeBlur, noise_std_of
from deepblur.operators.blur import Convolution
from deepblur.operators.pupil import psf_px
from deepblur.platform.data.sources import parse_test
from deepblur.platform.data.store import ImageStore, open_store
from deepblur.platform.models.model import BlindModel, load_model
from deepblur.platform.models.shipped import for_optics, replace_network
from deepblur.platform.system.seal import sha256
from deepblur.platform.system.seeds import generator
from deepblur.platform.system.source_tree import commit
from deepblur.platform.training.kept import keep, kept_in_chunks

CUTOFFS = (0.2, 0.2, 0.2, 0.25)
"""Each as likely; the protocol's is there three times."""
SIDE = psf_px(min(CUTOFFS))
ETA = (0.02, 0.2)
READ_STD, GAIN, POWER = 0.12, 0.24, 4.0
"""The largest, times a uniform number to that power: weak noise is as common as strong, and the highest the paper's."""
WITHOUT_GAIN = 0.5
SEARCHED_PX, CROP_PX, BATCH = 192, 96, 8
MICROGRAPHS, TRUE = 0.4, 0.25  # shares of the draws
CHUNK, VALIDATED, EVERY = 16, 64, 100
RATE, CLIP, EMA, LEAST_MSE = 7e-4, 1.0, 0.998, 1e-6


@dataclass(frozen=True)
class AnyPSF(Blur):
    """h(γ) = γ: whatever PSF of `side`² pixels, row by row."""

    side: int
    boundary: Boundary = "valid"
    cg_iterations: int = 20
    cg_tolerance: float = 1e-6

    @classmethod
    def example(cls, boundary: Boundary) -> Self:
        return cls(5, boundary)

    @property
    def num_parameters(self) -> int:
        return self.side**2

    @property
    def psf_shape(self) -> tuple[int, int]:
        return self.side, self.side

    def impulse_response(self, gamma: Tensor, at: tuple[int, int]) -> Tensor:
        return self.check_gamma(gamma).reshape(-1, 1, self.side, self.side)

    def bind(self, gamma: Tensor) -> Convolution:
        return Convolution(self, self.impulse_response(gamma, (0, 0)))


@dataclass(frozen=True)
class Pairs:
    """N PSFs with what was found of them, (N, SIDE, SIDE) each, and the noise that they were found in, (N,)."""

    true: Tensor
    found: Tensor
    gain: Tensor
    read_std: Tensor


def draw_pair(model: BlindModel, stores: tuple[ImageStore, ...], rng: torch.Generator) -> tuple[Tensor, ...]:
    """A PSF, what the model finds of it in one crop, the gain and the standard deviation of the read noise."""
    while True:
        u = torch.rand(6, generator=rng).tolist()
        cutoff = CUTOFFS[int(u[0] * len(CUTOFFS))]
        family = ZernikeBlur(noll=model.operator.noll, cutoff=cutoff, psf_size=psf_px(cutoff))
        read_std, gain = READ_STD * u[1] ** POWER, 0.0 if u[2] < WITHOUT_GAIN else GAIN * u[3] ** POWER
        side = SEARCHED_PX + family.psf_size - 1
        x = stores[int(u[4] < MICROGRAPHS)].crops(1, (side, side), rng)
        gamma = family.at(family.draw(1, rng), ETA[0] + (ETA[1] - ETA[0]) * u[5])
        y = PoissonGaussian(gain, read_std)(family.forward(x, gamma), rng)[0, 0]
        identifier = for_optics(model, family, 0.15).identifier
        assert isinstance(identifier, SpectralIdentifier)
        try:
            found = identifier.estimate(y).psf
        except DivergedError:
            continue  # an empty crop
        assert found is not None
        margin = (SIDE - family.psf_size) // 2
        true, found = (pad(psf, (margin,) * 4) for psf in (family.psf(gamma)[0, 0], found))
        return true, found, torch.tensor(gain), torch.tensor(read_std)


def pairs_of(
    model: BlindModel,
    stores: tuple[ImageStore, ...],
    count: int,
    purpose: str,
    folder: Path,
    made_of: str,
    seed: int = 0,
) -> Pairs:
    """`count` pairs, kept in chunks in the folder; a chunk that is there is not drawn again.

    Args:
        made_of: what tells model and images from others, in the names of the files.
    """
    columns = kept_in_chunks(
        count,
        CHUNK,
        lambda i: draw_pair(model, stores, generator(seed, f"found psf {purpose}", i)),
        lambda first: folder / f"psfs_{made_of}_{purpose}_{seed}_{first}.pt",
        tqdm(total=count, desc=f"PSFs {purpose}", unit="PSF", mininterval=5),
    )
    return Pairs(*columns)


Observed = tuple[tuple[ImageStore, ...], Pairs]
"""Photographs and micrographs, and the PSFs that blur them."""


@dataclass(frozen=True)
class Draw:
    """Crops (B, 1, H, W) blurred by one PSF each and given another, (B, SIDE²)."""

    sharp: Tensor
    blurry: Tensor
    given: Tensor


def draw(stores: tuple[ImageStore, ...], pairs: Pairs, count: int, told: float, rng: torch.Generator) -> Draw:
    """`count` observations; `told` is the share of those that are given the true PSF."""
    micrographs = round(count * MICROGRAPHS)
    side, operator = CROP_PX + SIDE - 1, AnyPSF(SIDE)
    counts = (count - micrographs, micrographs)
    x = torch.cat([store.crops(n, (side, side), rng) for store, n in zip(stores, counts, strict=True)])
    some = torch.randint(len(pairs.true), (count,), generator=rng)
    turns = torch.randint(8, (count,), generator=rng).tolist()
    true, found = (
        torch.stack([_turned(psf, turn) for psf, turn in zip(psfs[some], turns, strict=True)])
        for psfs in (pairs.true, pairs.found)
    )
    is_told = torch.rand(count, generator=rng) < told
    given = torch.where(is_told[:, None, None], true, found)
    y = operator.bind(true.flatten(1)).forward(x)
    y = PoissonGaussian(pairs.gain[some], pairs.read_std[some])(y.clamp_min(0), rng)
    margin = SIDE // 2
    return Draw(x[..., margin:-margin, margin:-margin], y, given.flatten(1))


def psnr_db(network: nn.Module, drawn: Draw) -> Tensor:
    """(B,)"""
    noise = noise_std_of(drawn.blurry).mean(1)
    restored = network(drawn.blurry, drawn.given, AnyPSF(SIDE), noise_std=noise)
    return -10 * ((restored - drawn.sharp).square().mean((1, 2, 3)) + LEAST_MSE).log10()


def validate(network: nn.Module, parts: list[Draw], by_tv: Tensor) -> dict[str, float]:
    """Mean PSNR over the held-out draws, and by how much it is above that of TV: all, weak noise, strong noise."""
    with torch.no_grad():
        found = torch.cat([psnr_db(network, part) for part in parts])
    noise = torch.cat([noise_std_of(part.blurry).mean(1) for part in parts])
    gain, order = found - by_tv, noise.argsort()
    thirds = [float(gain[part].mean()) for part in order.tensor_split(3)]
    row = {"psnr_db": float(found.mean()), "above_tv_db": float(gain.mean())}
    return row | dict(zip(("weak", "middle", "strong"), thirds, strict=True))


def train(
    network: nn.Module, learnt: Observed, held: Observed, steps: int, checkpoint: Path, seed: int = 0
) -> nn.Module:
    """The moving average of the weights after `steps`; a checkpoint is kept every 100."""
    parts = [draw(*held, BATCH, 0.0, generator(0, "found psf held", i)) for i in range(VALIDATED // BATCH)]
    by_tv = torch.cat([_tv_psnr_db(part) for part in parts])
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(EMA))
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
    kept: dict[str, Any] = {"network": network, "average": average, "optimizer": optimizer, "schedule": schedule}
    done = 0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        done = state.pop("step")
        for name, values in state.items():
            kept[name].load_state_dict(values)
    else:
        print({"step": 0} | validate(network, parts, by_tv), flush=True)
    for step in range(done, steps):
        loss = -psnr_db(network, draw(*learnt, BATCH, TRUE, generator(seed, "found psf step", step))).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
        if (step + 1) % EVERY == 0 or step + 1 == steps:
            print({"step": step + 1} | validate(average.module, parts, by_tv), flush=True)
            states = {name: part.state_dict() for name, part in kept.items()}
            states["schedule"] = {k: v for k, v in states["schedule"].items() if not callable(v)}
            keep({"step": step + 1, **states}, checkpoint)
    return average.module


def _tv_psnr_db(drawn: Draw) -> Tensor:
    found = []
    for x, y, psf in zip(drawn.sharp, drawn.blurry, drawn.given, strict=True):
        restored = tv(y[0], psf.reshape(SIDE, SIDE))
        found.append(-10 * ((restored - x[0]).square().mean() + LEAST_MSE).log10())
    return torch.stack(found)


def _turned(psf: Tensor, turn: int) -> Tensor:
    psf = psf.rot90(turn % 4)
    return psf if turn < 4 else psf.flip(0)


def put_into(folder: Path, network: nn.Module, facts: dict[str, Any]) -> None:
    """Gives the model of a folder these weights of its deblurring network; the folder is written anew, with its hashes.

    Args:
        folder: of the model that the network was trained on from.
        network: of the same configuration.
        facts: of its training, plain values for the card; PSFs and steps are added to those of trainings before.
    """
    card = load_model(folder).card
    trained = {**card["trained"], "gain": [0.0, GAIN], "read_std": [0.0, READ_STD]}
    before = card.get("found_psfs", {})
    facts = facts | {name: before.get(name, 0) + facts[name] for name in ("psfs", "steps")}
    replace_network(folder, card={**card, "trained": trained, "found_psfs": facts}, deblurrer=network)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("model", type=Path, help="folder of a model with a spectral likelihood and a network that is told the noise")
    add("--data", required=True, help="sharp photographs: photos, coco:ROOT or folder:ROOT")
    add("--micrographs", required=True, metavar="DATA", help="sharp micrographs, 4 of 10 draws")
    add("--held", nargs=2, required=True, metavar="DATA", help="photographs and micrographs to validate on")
    add("--psfs", type=int, default=400, help="PSFs to look for (default: 400, 20 minutes of a core)")
    add("--steps", type=int, default=2000, help="of the optimiser (default: 2000, an hour of a core)")
    add("--seed", type=int, default=0, help="of PSFs and crops; another one where training goes on (default: 0)")
    add("--work", type=Path, default=Path("runs/found_psfs"),
        help="folder for PSFs and checkpoints (default: runs/found_psfs)")  # fmt: skip
    add("--into", type=Path, metavar="MODEL", help="folder of a model that gets the network in the place of its own")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    learnt, held = (
        tuple(open_store(parse_test(text), given.work / "cache") for text in named)
        for named in ((given.data, given.micrographs), given.held)
    )
    model = load_model(given.model)
    weights = "".join(
        sha256(file) for file in sorted(given.model.iterdir()) if file.suffix in (".json", ".safetensors")
    )
    fingerprints = [store.fingerprint for store in (*learnt, *held)]
    made_of = hashlib.sha256(" ".join([weights, *fingerprints]).encode()).hexdigest()[:12]
    found = pairs_of(model, learnt, given.psfs, "learnt", given.work, made_of, given.seed)
    found_held = pairs_of(model, held, VALIDATED, "held", given.work, made_of)
    network = model.deblurrer.train().requires_grad_(True)
    checkpoint = given.work / f"steps_{made_of}_{given.psfs}_{given.steps}_{given.seed}.pt"
    network = train(network, (learnt, found), (held, found_held), given.steps, checkpoint, given.seed)
    if given.into is not None:
        facts = {
            "images": [len(store) for store in learnt],
            "fingerprints": [store.fingerprint[:16] for store in learnt],
            "psfs": given.psfs,
            "true": TRUE,
            "steps": given.steps,
            "seed": given.seed,
            "commit": commit(),
        }
        put_into(given.into, network.eval(), facts)
        print(given.into)


if __name__ == "__main__":
    main()
