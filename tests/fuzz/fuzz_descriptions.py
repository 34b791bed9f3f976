"""Models and optics from strangers: a result or one sentence, in bounded time and memory, whatever they say.

    python tests/fuzz/fuzz_descriptions.py model --files 3000 --seed 0
    python tests/fuzz/fuzz_descriptions.py optics --files 3000 --seed 0

Each mutant is made from the seed and its number alone, so `--first N --files 1` repeats one: some settings of a sound
description get a value of another type, a huge or a tiny one, go or come twice. What loads restores a small image.
"""

import argparse
import contextlib
import copy
import json
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fuzz_restore
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from deepblur.nets import Deblurrer, Identifier
from deepblur.platform.optics.family import OpticsFile
from deepblur.platform.optics.networks import load_trained, networks_folder, save_trained
from deepblur.platform.optics.optics_file import Optics, load_optics, save_optics
from deepblur.platform.system.errors import RestorationError

MAX_S = 30
MEMORY_BYTES = 3 * 2**30
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2, 3, 9, 10**3, 10**6, 10**9, 2**63, 10**40, 10**400, -(10**18), 0.0, -0.0, 1e-320,
    1e-12, 0.5, 1.5, 9.0, 1e12, 1e308, float("inf"), float("-inf"), float("nan"), "", "9", "spectral", "../x", "\0",
    "a" * 10000, "\ud800", [], [[]], {}, [None], [1, 2, 3], [4, 4], [10**9], ["4"], [0.1] * 5000, {"a": {"b": []}},
]  # fmt: skip


def mutated(description: Any, rng: random.Random) -> Any:
    """One place of a JSON value changed."""
    value = copy.deepcopy(description)
    place, key = rng.choice([(value, None), *_places(value)][1:])
    kind = rng.random()
    if kind < 0.6:
        place[key] = copy.deepcopy(rng.choice(ODD))
    elif kind < 0.75:
        del place[key]
    elif kind < 0.85 and isinstance(place[key], int | float) and not isinstance(place[key], bool):
        place[key] = place[key] * rng.choice([-1, 0, 0.999, 2, 3, 10, 1000, 1e9])
    elif kind < 0.95:
        place[key] = [place[key]] * rng.choice([0, 1, 2, 300])
    else:
        deep: Any = place[key]
        for _ in range(rng.choice([5, 50, 300])):
            deep = [deep]
        place[key] = deep
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def model_case(folder: Path) -> Callable[[random.Random], str]:
    """Mutants of a model.json beside sound weights, and what `deepblur.restore` makes of them."""
    import deepblur

    model = fuzz_restore.micro_model(folder)
    sound = json.loads((model / "model.json").read_text())
    sound["card"] = {
        "trained": {"eta_waves": 0.1, "crop_px": 32, "gain": [0, 0.05], "read_std": [0, 0.1]},
        "uncertainty": {"levels": [{"windows": 1, "floor_waves": [0.01] * 3, "factor": [1.0] * 3}]},
    }
    searched = sound | {"identifier": {"method": "spectral", "starts": 4, "eta_waves": 0.1}}
    image = torch.rand(40, 44, generator=torch.Generator().manual_seed(0)).numpy()

    def case(rng: random.Random) -> str:
        told = mutated(rng.choice([sound, sound, searched]), rng)
        (model / "model.json").write_text(json.dumps(mutated(told, rng) if rng.random() < 0.3 and told else told))
        deepblur.restore(image, model=str(model))
        return "restored"

    return case


def optics_case(folder: Path) -> Callable[[random.Random], str]:
    """Mutants of an optics file's facts and shapes, and of its networks.json."""
    file = folder / "scope.safetensors"
    spot = torch.zeros(1, 9, 9)
    spot[0, 4, 4] = 1
    one = torch.ones(1)
    save_optics(Optics(spot, torch.ones(1, 4, 4), torch.ones(1, 1), one, one.clone(), (40, 44), 0.1, ("a",), {}), file)
    told = {"num_parameters": 1, "arch": "compact", "widths": [4, 6]}
    config = {"unroll": 1, "widths": [4, 6], "blocks": 1, "residual": True, "lam": 0.1, "data_step": "cg"}
    save_trained(OpticsFile.of(file), identifier_config=told, identifier=Identifier(**told), deblurrer_config=config,
                 deblurrer=Deblurrer(**config), patch_px=16, card={"noise_std": 0.1})  # fmt: skip
    networks = networks_folder(file)
    sound_networks = json.loads((networks / "networks.json").read_text())
    with safe_open(file, "pt") as opened:
        sound = json.loads(opened.metadata()["deepblur-optics"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118

    def case(rng: random.Random) -> str:
        parts, about, described = dict(tensors), sound, sound_networks
        if rng.random() < 0.4:
            described = mutated(sound_networks, rng)
        elif rng.random() < 0.7:
            about = mutated(sound, rng)
        else:
            name = rng.choice(list(parts))
            shape = [rng.choice([0, 1, 2, 3, 4, 9]) for _ in range(rng.choice([0, 1, 2, 3, 4]))]
            parts[name] = rng.choice([1.0, 0.0, float("nan"), 1e30]) * torch.ones(shape)
        save_file(parts, file, metadata={"deepblur-optics": json.dumps(about)})
        load_optics(file)
        if described is sound_networks:  # else it would be refused for the digest alone
            described = sound_networks | {"optics": OpticsFile.of(file).digest}
        (networks / "networks.json").write_text(json.dumps(described))
        load_trained(file)
        return "loaded"

    return case


@contextlib.contextmanager
def within(seconds: int) -> Iterator[None]:
    """Raises TimeoutError in what takes longer."""

    def late(*_: object) -> None:
        raise TimeoutError(f"no answer within {seconds} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def outcome(case: Callable[[random.Random], str], rng: random.Random, seconds: int = MAX_S) -> str:
    """ "restored", "loaded" or "refused"; the traceback of whatever else happened."""
    try:
        with within(seconds):
            return case(rng)
    except RestorationError as error:
        return "refused" if "\n" not in str(error).strip() else f"more than a sentence: {error}"
    except BaseException:
        return traceback.format_exc()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("kind", choices=("model", "optics"))
    options.add_argument("--files", type=int, default=3000, help="how many")
    options.add_argument("--first", type=int, default=0, help="number of the first")
    options.add_argument("--seed", type=int, default=0)
    arguments = options.parse_args()
    torch.set_num_threads(1)
    started, told, outcomes = time.monotonic(), time.monotonic(), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        case = (model_case if arguments.kind == "model" else optics_case)(Path(folder))
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))
        for number in range(arguments.first, arguments.first + arguments.files):
            found = outcome(case, random.Random(f"{arguments.seed}/{number}"))
            if found.count("\n"):
                print(f"\n--- {arguments.kind} {number} ---\n{found}", flush=True)
                found = "findings"
            outcomes[found] += 1
            if time.monotonic() - told > 10:
                told = time.monotonic()
                print(f"{outcomes.total()} of {arguments.files}", file=sys.stderr, flush=True)
    print(f"{outcomes.total()} in {time.monotonic() - started:.0f} s (seed {arguments.seed}): {dict(outcomes)}")
    return 1 if outcomes["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
