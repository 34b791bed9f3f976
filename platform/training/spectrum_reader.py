"""Train the reader of spectra that informs the spectral likelihood (`python -m` runs this module).

Draws are crops of sharp photographs and micrographs at several scales, contrasts and brightnesses, blurred by lenses of
many cutoffs and noisy; all that is kept of each is the average spectrum, 9 kB. The network learns mean and precision of
its |ĥ| by Gaussian likelihood. The same command goes on where it was killed, and ends with the same weights.
"""

import argparse
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.functional import interpolate
from tqdm import tqdm

from deepblur.baselines import SpectralIdentifier
from deepblur.baselines.spectrum_model import WINDOW_CELLS, Grid, average_spectrum, window_px
from deepblur.baselines.spectrum_reader import CUTOFF, SpectrumReader
from deepblur.operators import PoissonGaussian, ZernikeBlur
from deepblur.operators.pupil import NYQUIST, psf_px
from deepblur.platform.data.sources import parse_data, parse_test
from deepblur.platform.data.store import ImageStore, open_store
from deepblur.platform.models.model import load_model, weights_of
from deepblur.platform.models.shipped import replace_network
from deepblur.platform.system.seeds import generator
from deepblur.platform.system.source_tree import commit
from deepblur.platform.system.whole_files import replace_file
from deepblur.platform.training.kept import keep, kept_in_chunks

NETWORK: dict[str, Any] = {"cutoffs": (0.1, 0.25)}
"""Keyword arguments of the reader that ships."""
CHUNK = 2000
BATCH, RATE, DECAY, CLIP = 256, 1e-3, 1e-2, 1.0
LARGEST_PX, LEAST_PX = 320, 96
LARGEST_SCALE = 2.0
MICROGRAPHS = 0.4  # share of the draws
INVERTED = 0.3, 0.1  # share of photographs, of micrographs
CLEAN = 0.15  # share of draws without read noise; of the others its standard deviation is log-uniform, as is the gain
READ_STD, GAIN = (1e-3, 0.2), (1e-3, 0.25)
WITHOUT_GAIN = 0.6
LEAST_ETA = 0.02
FOR_COMPONENTS = 20_000
NODES = 20


@dataclass(frozen=True)
class Draws:
    """N blurry images as the reader sees them: maps (N, 3, 53, 27) in half precision, γ (N, K)."""

    maps: Tensor
    gamma: Tensor


def draw(stores: tuple[ImageStore, ...], reader: SpectrumReader, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """One blurry image: its maps and γ (K,).

    Args:
        stores: sharp photographs and, where there are any, micrographs.
        reader: whose blurs are drawn.
        rng: decides all.
    """
    u = torch.rand(13, generator=rng).tolist()
    kind = int(len(stores) > 1 and u[11] < MICROGRAPHS)
    store = stores[kind]
    sides = [window_px(cutoff) for cutoff in reversed(reader.cutoffs)]
    window = sides[0] + 2 * int(u[12] * ((sides[1] - sides[0]) // 2 + 1))
    cutoff = min(WINDOW_CELLS / window, NYQUIST)  # one for each window, so that few optics are computed
    family = ZernikeBlur(noll=reader.noll, cutoff=cutoff, psf_size=psf_px(cutoff), pupil_size=NODES)
    reach, largest = family.psf_size - 1, int(store.heights.minimum(store.widths).max())
    least = max(LEAST_PX, window)
    side = min(round(least + (LARGEST_PX - least) * u[0]), largest - reach)
    room = min(LARGEST_SCALE, largest / (side + reach))
    size = int((side + reach) * (1 + (room - 1) * u[1] if u[2] < 0.5 else 1))
    x = store.crops(1, (size, size), rng)
    x = interpolate(x, size=(side + reach,) * 2, mode="bilinear", antialias=True, align_corners=False)
    x = (1 - x if u[3] < INVERTED[kind] else x).clamp(0, 1) ** (0.6 + u[4])
    eta = LEAST_ETA + (reader.eta_waves - LEAST_ETA) * u[5]
    gamma = eta * (2 * torch.rand(1, family.num_parameters, generator=rng) - 1)
    if u[6] < 0.5 and 11 in family.noll:
        gamma[:, family.noll.index(11)] = 0.0  # half of the lenses have no spherical aberration
    read_std = 0.0 if u[7] < CLEAN else _log_uniform(READ_STD, u[8])
    gain = 0.0 if u[9] < WITHOUT_GAIN else _log_uniform(GAIN, u[10])
    y = PoissonGaussian(gain, read_std)(family.forward(x, gamma), rng)[0, 0]
    grid = Grid(window, y)
    return SpectrumReader.maps(grid, average_spectrum(y, grid, passband=2 * cutoff)).half(), gamma[0]


def draws_of(stores: tuple[ImageStore, ...], reader: SpectrumReader, count: int, seed: int, folder: Path) -> Draws:
    """`count` draws, kept in chunks in the folder; a chunk that is there is not drawn again."""
    images = "_".join(store.fingerprint[:12] for store in stores)
    columns = kept_in_chunks(
        count,
        CHUNK,
        lambda i: draw(stores, reader, generator(seed, "reader", i)),
        lambda first: folder / f"draws_{images}_{seed}_{first}.pt",
        tqdm(total=count, desc="draws", unit="image", mininterval=2),
    )
    return Draws(*columns)


@torch.no_grad()
def set_coordinates(reader: SpectrumReader, gamma: Tensor) -> Tensor:
    """Principal components of |ĥ| into the reader's buffers; the coordinates (N, D) of all γ (N, K)."""
    modulation = reader.modulation_of(ZernikeBlur(noll=reader.noll, cutoff=CUTOFF, pupil_size=NODES), gamma)
    some = modulation[:FOR_COMPONENTS]
    reader.mean.copy_(some.mean(0))
    values, vectors = torch.linalg.eigh(torch.cov((some - reader.mean).double().T))
    largest = values.argsort(descending=True)[: reader.size]
    reader.components.copy_(vectors[:, largest].T)
    reader.scale.copy_(values[largest].clamp_min(0).sqrt())
    return reader.coordinates(modulation)


def misfit(reader: SpectrumReader, maps: Tensor, coordinates: Tensor) -> Tensor:
    """−log likelihood per coordinate, (B,), without its constant."""
    mean, factor = reader(maps.float())
    residual = (factor.mT @ (coordinates - mean)[..., None])[..., 0]
    return 0.5 * residual.square().mean(1) - factor.diagonal(dim1=1, dim2=2).log().mean(1)


def train(reader: SpectrumReader, draws: Draws, held: Draws, epochs: int, seed: int, checkpoint: Path) -> None:
    """Trains the reader in place, an epoch at a time."""
    coordinates, truth = set_coordinates(reader, torch.cat([draws.gamma, held.gamma])).split(
        [len(draws.gamma), len(held.gamma)]
    )
    steps = len(draws.maps) // BATCH
    optimizer = torch.optim.AdamW(reader.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, epochs * steps, pct_start=0.1)
    done = 0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        reader.load_state_dict(state["reader"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        done = state["epochs"]
    for epoch in range(done, epochs):
        torch.manual_seed(seed + epoch)  # of dropout
        reader.train()
        total = 0.0
        for part in tqdm(
            list(_batches(len(draws.maps), seed, epoch)), desc=f"epoch {epoch + 1}/{epochs}", mininterval=5
        ):
            loss = misfit(reader, draws.maps[part], coordinates[part]).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(reader.parameters(), CLIP)
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        reader.eval()
        with torch.no_grad():
            parts = zip(held.maps.split(500), truth.split(500), strict=True)
            found = torch.cat([misfit(reader, maps, told) for maps, told in parts]).mean()
        print(f"epoch {epoch + 1}: training {total / steps:.4f}, held-out images {found:.4f}", flush=True)
        keep({"reader": reader.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(),
               "epochs": epoch + 1}, checkpoint)  # fmt: skip
    reader.eval()


def put_into(folder: Path, reader: SpectrumReader, config: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Gives the model of a folder another reader; the folder is written anew, with its hashes.

    Args:
        folder: of a model whose blur the spectral likelihood identifies.
        reader: trained.
        config: the keyword arguments that build it.
        facts: of its training, plain values for the card.
    Raises:
        ModelError: no such model.
        ValueError: the model has an identification network.
    """
    model, description = load_model(folder), json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if not isinstance(model.identifier, SpectralIdentifier):
        raise ValueError(f"{folder} has no spectral likelihood, so no reader of spectra; give another model")
    identifier = {**description["identifier"], "reader": dict(config)}
    whole = SpectralIdentifier(model.operator, **{k: v for k, v in identifier.items() if k != "method"})
    assert whole.reader is not None
    whole.reader.load_state_dict(reader.state_dict())
    replace_network(folder, card={**description["card"], "reader": dict(facts)}, identifier=(whole, identifier))


def _batches(count: int, seed: int, epoch: int) -> Iterator[Tensor]:
    order = torch.randperm(count, generator=generator(seed, "reader order", epoch))
    yield from order[: count // BATCH * BATCH].split(BATCH)


def _log_uniform(bounds: tuple[float, float], fraction: float) -> float:
    low, high = map(math.log, bounds)
    return math.exp(low + (high - low) * fraction)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", default="photos", help="sharp photographs: photos, coco:ROOT or folder:ROOT (default: photos)")
    add("--micrographs", metavar="DATA", help="sharp micrographs, 4 of 10 draws (default: none)")
    add("--held", nargs="+", metavar="DATA", help="sharp images to validate on, one for each of the above, which are "
        "then learned from as a whole (default: a tenth of each)")  # fmt: skip
    add("--draws", type=int, default=240_000, help="blurry images to learn from (default: 240000, 40 minutes)")
    add("--epochs", type=int, default=8, help="passes over them (default: 8, an hour)")
    add("--seed", type=int, default=0)
    add("--start", type=Path, metavar="FILE", help="safetensors file of a reader to go on from (default: random)")
    add(
        "--work", type=Path, default=Path("runs/reader"), help="folder for draws and checkpoints (default: runs/reader)"
    )
    add("-o", "--output", type=Path, required=True, help="safetensors file to write")
    add("--into", type=Path, metavar="MODEL", help="folder of a model that gets this reader in the place of its own")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(arguments.seed)
    reader = SpectrumReader(**NETWORK)
    if arguments.start is not None:
        state = load_file(arguments.start)  # an identifier holds its reader under that name
        reader.load_state_dict({name.removeprefix("reader."): values for name, values in state.items()})
    named = [text for text in (arguments.data, arguments.micrographs) if text is not None]
    if arguments.held is None:
        parts = [[parse_data(text).train for text in named], [parse_data(text).validation for text in named]]
    elif len(arguments.held) == len(named):
        parts = [[parse_test(text) for text in named], [parse_test(text) for text in arguments.held]]
    else:
        parser.error(f"--held takes one for each of {', '.join(named)}; got {', '.join(arguments.held)}")
    learnt, held = (tuple(open_store(sources, arguments.work / "cache") for sources in part) for part in parts)
    sizes = arguments.draws, max(BATCH, arguments.draws // 50)
    draws, validation = (draws_of(stores, reader, n, arguments.seed, arguments.work)
                         for stores, n in zip((learnt, held), sizes, strict=True))  # fmt: skip
    images = "_".join(store.fingerprint[:12] for store in learnt)
    name = f"reader_{images}_{arguments.draws}_{arguments.epochs}_{arguments.seed}.pt"
    train(reader, draws, validation, arguments.epochs, arguments.seed, arguments.work / name)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    replace_file(arguments.output, save(weights_of(reader)))
    print(arguments.output)
    if arguments.into is not None:
        facts = {
            "noll": reader.noll,
            "cutoffs": reader.cutoffs,
            "eta_waves": reader.eta_waves,
            "images": [len(store) for store in learnt],
            "fingerprints": [store.fingerprint[:16] for store in learnt],
            "draws": arguments.draws,
            "epochs": arguments.epochs,
            "seed": arguments.seed,
            "went_on": arguments.start is not None,
            "commit": commit(),
        }
        put_into(arguments.into, reader, NETWORK, facts)
        print(arguments.into)


if __name__ == "__main__":
    main()
