"""The command line of every study: what it asks for, turned into a plan."""

import argparse
import inspect
import math
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import psutil

from deepblur.platform.cluster.address import refuse_rays_copy
from deepblur.platform.data.sources import parse_data, parse_test
from deepblur.platform.evaluation.levels import Grid, NoiseLevel, RealImages
from deepblur.platform.experiment import naming
from deepblur.platform.experiment.study import Design, Plan
from deepblur.platform.tracking.connection import database_file, default_runs, default_uri, shown

N = TypeVar("N", int, float)
ENDS = """exit code:
  0 the study is complete   1 an error, named in the last line   3 a budget is spent   130 stopped by Ctrl-C or SIGTERM
  Whatever ends it, the same command goes on from what is done and from the last checkpoint of what is not. One command
  at a time works in a folder of results; another one is refused."""


class _Help(argparse.RawDescriptionHelpFormatter):
    """Descriptions as they are: argparse would fill in what looks like a place for the program's name."""

    def _format_text(self, text: str) -> str:
        return super()._format_text(text.replace("%", "%%") if "%(prog)" in text else text)


def words(command: str) -> list[str]:
    """The options of a command that `Study.typed` begins."""
    parts = shlex.split(command)
    return parts[3:] if parts[:2] == ["deepblur", "study"] else parts[2:]


def parser(study: Design) -> argparse.ArgumentParser:
    epilog = f"{ENDS}\n\nsettings for --set (defaults are those of the arm function; a preset overrides some):\n"
    epilog += "\n".join(f"  {line}" for line in _describe_settings(study))
    result = argparse.ArgumentParser(
        prog=shlex.join(study.typed()),
        description="\n".join([study.title, "", *(f"{k:8} {v}" for k, v in study.abstract.items())]),
        epilog=epilog,
        formatter_class=_Help,
    )
    add = result.add_argument
    add("--preset", choices=tuple(study.presets), default=next(iter(study.presets)), help="size of the study")
    add("--data", metavar="SOURCE", help="photos, dead-leaves, coco:ROOT or folder:ROOT (default: the preset's)")
    add("--test", metavar="SOURCE", help="test images from elsewhere: photos, microscopy, coco:ROOT or folder:ROOT "
        "(default: the preset's, or those of --data)")  # fmt: skip
    names = ", ".join(study.arms).replace("%", "%%")
    add("--arms", metavar="A,B", help=f"arms to run, out of {names} (default: all)")
    add("--seeds", metavar="0,1", help="training seeds (default: the preset's)")
    add("--set", metavar="NAME=VALUE", action="append", default=[], help="override a setting; repeat for more")
    add("--noise", metavar="NAME:GAIN:READ,...", help="noise levels of the evaluation grid, images in [0, 1], such as "
        "clean:0:0,low:0.005:0.01 (default: the preset's)")  # fmt: skip
    add("--eta", metavar="0.05,0.10", help="PSF complexities of the grid, in waves (default: the preset's)")
    add("--images", type=int, help="test images of the evaluation grid (default: the preset's)")
    add("--draws", type=int, help="draws per image and cell (default: the preset's)")
    add("--crop", type=int, metavar="PX", help="side of the grid's crops, or largest side of real images (default: the "
        "preset's)")  # fmt: skip
    if "trials" in inspect.signature(study.arm).parameters:
        add("--trials", type=int, metavar="N", help="trials of every search: --set trials=N; more go on from fewer")
    add("--runs", type=Path, help="folder of results, shared by all nodes (default: $DEEPBLUR_RUNS, ~/deepblur-runs)")
    add("--tracking-uri", help="MLflow server or database; 'none' records nothing (default: $MLFLOW_TRACKING_URI or a "
        "sqlite file in the runs folder)")  # fmt: skip
    add("--workers", type=_workers, default=(1, 1), metavar="N|N-M", help="data-parallel workers per training; 1-4: as "
        "many of these as the cluster has nodes for, changing while it runs (default: 1)")  # fmt: skip
    add("--cpus", type=int, default=1, help="cores per worker (default: 1)")
    add("--gpus", type=float, default=0, help="GPUs per worker; a fraction lets trainings share one (default: 0)")
    add("--wait-for-nodes", type=float, default=0, metavar="S", help="seconds to wait for nodes that an autoscaler has "
        "yet to start (default: 0, a study that does not fit is refused)")  # fmt: skip
    add("--local", action="store_true", help="carry out the stages one by one in this process, without Ray")
    add("--hours", type=float, metavar="H", help="stop after H hours; what is done stays done (default: no limit)")
    add("--gpu-hours", type=float, metavar="G", help="stop when the stages have reserved G GPU-hours, each GPU counted "
        "whether busy or not (default: no limit)")  # fmt: skip
    return result


def written(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as Python has them → as they are typed: texts, True, and a list of what is typed several times."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        if name == "settings":
            found["set"] = [f"{setting}={chosen!r}" for setting, chosen in value.items()]
        elif isinstance(value, (tuple, list)):
            found[name] = ",".join(map(str, value))
        elif value is not None and value is not False:  # a zero is said, and refused where it makes no sense
            found[name] = value
    return found


def plan(study: Design, argv: Sequence[str] | None, *, program: bool = True) -> Plan:
    """The command line, checked as far as it can be before any work.

    Args:
        program: whether the program that runs may be the study's file; see `Design.typed`.
    Raises:
        ValueError: an unknown arm, setting or data source, or a number that makes no sense.
    """
    arguments = parser(study).parse_args(argv)
    preset = study.presets[arguments.preset]
    arms = _arms(arguments.arms, study) if arguments.arms else tuple(study.arms)
    settings = {**preset.settings, **dict(study.parse_setting(text) for text in arguments.set)}
    if getattr(arguments, "trials", None) is not None:
        settings["trials"] = arguments.trials
    data = parse_data(arguments.data or preset.data)
    test = arguments.test or preset.test
    if test:
        data = replace(data, test=parse_test(test))
    fewest, workers = arguments.workers
    if arguments.local and (workers > 1 or arguments.gpus):
        raise ValueError("--local is one process on one device; leave --workers and --gpus out, or leave out --local")
    amounts = (arguments.gpus, arguments.wait_for_nodes)
    if min(fewest, arguments.cpus) < 1 or not all(0 <= n < math.inf for n in amounts) or fewest > workers:
        raise ValueError(
            "--workers (N or FEWEST-MOST) and --cpus are at least 1, --gpus and --wait-for-nodes at least 0; got "
            f"{fewest}-{workers}, {arguments.cpus}, {arguments.gpus:g}, {arguments.wait_for_nodes:g}"
        )
    runs = (arguments.runs or default_runs()).expanduser().resolve()
    refuse_rays_copy(runs, "--runs" if arguments.runs else "DEEPBLUR_RUNS")
    if database := database_file(arguments.tracking_uri or default_uri(runs)):
        refuse_rays_copy(database, "--tracking-uri" if arguments.tracking_uri else "MLFLOW_TRACKING_URI")
    chosen = Plan(
        study=study,
        preset=arguments.preset,
        arms=arms,
        seeds=_numbers(arguments.seeds, "--seeds", int) if arguments.seeds else preset.seeds,
        grid=_grid(preset.grid, vars(arguments)),
        data=data,
        settings=settings,
        runs=runs,
        tracking_uri=arguments.tracking_uri,
        workers=workers,
        fewest_workers=fewest,
        cpus=arguments.cpus,
        gpus=arguments.gpus,
        wait_s=arguments.wait_for_nodes,
        local=arguments.local,
        hours=_budget(arguments.hours, "--hours"),
        gpu_hours=_budget(arguments.gpu_hours, "--gpu-hours"),
        started=time.time() if argv is not None else psutil.Process().create_time(),
        command=shlex.join([*study.typed(program), *map(shown, sys.argv[1:] if argv is None else argv)]),
        program=program,
    )
    naming.check(chosen)
    return chosen


def _arms(text: str, study: Design) -> tuple[str, ...]:
    """The arms that a comma-separated list names; a name may hold commas itself, the longest one counts."""
    parts, found = text.split(","), []
    while parts:
        ends = (n for n in range(len(parts), 0, -1) if ",".join(parts[:n]) in study.arms)
        if (end := next(ends, None)) is None:
            raise ValueError(f"--arms names {parts[0]!r}; this study has {', '.join(study.arms)}")
        found.append(",".join(parts[:end]))
        parts = parts[end:]
    return tuple(found)


def _grid(grid: Grid | RealImages, given: Mapping[str, Any]) -> Grid | RealImages:
    """The preset's grid with what the command line changes."""
    changes: dict[str, Any] = {}
    if given["noise"]:
        changes["noise"] = _noise(given["noise"])
    if given["eta"]:
        changes["eta_waves"] = _numbers(given["eta"], "--eta", float)
    for option, name in {"images": "images", "draws": "draws", "crop": "crop_px"}.items():
        value = given[option]
        if value is not None:
            if value < 1:
                raise ValueError(f"--{option} must be at least 1; got {value}")
            changes[name] = value
    if isinstance(grid, RealImages) and changes.keys() - {"images", "crop_px"}:
        raise ValueError("this study takes real images as they are; leave --noise, --eta and --draws out")
    return replace(grid, **changes)


def _budget(hours: float | None, option: str) -> float | None:
    if hours is not None and not hours > 0:
        raise ValueError(f"{option} must be above 0; got {hours:g}; leave it out for no limit")
    return hours


def _numbers(text: str, option: str, kind: type[N]) -> tuple[N, ...]:
    try:
        values = tuple(kind(part) for part in text.split(","))
    except ValueError:
        example = "0,1,2" if kind is int else "0.05,0.10"
        raise ValueError(f"{option} takes numbers with commas between them, such as {example}; got {text!r}") from None
    if len(set(values)) < len(values):
        raise ValueError(f"{option} names a number twice: {text!r}")
    return values


def _workers(text: str) -> tuple[int, int]:
    """Fewest and most: "4" is 4 of 4, "1-4" any number from 1 to 4."""
    fewest, dash, most = text.partition("-")
    return int(fewest), int(most) if dash else int(fewest)


def _noise(text: str) -> tuple[NoiseLevel, ...]:
    levels = []
    for part in text.split(","):
        name, *numbers = part.split(":")
        try:
            gain, read_std = map(float, numbers)
        except ValueError:
            raise ValueError(f"--noise takes NAME:GAIN:READ, such as low:0.005:0.01; got {part!r}") from None
        levels.append(NoiseLevel(name, gain, read_std))
    return tuple(levels)


def _describe_settings(study: Design) -> list[str]:
    lines = []
    for name, parameter in inspect.signature(study.arm).parameters.items():
        if name in ("data", "seed"):
            continue
        default = "given by the arms" if parameter.default is parameter.empty else repr(parameter.default)
        presets = [f"{key}: {p.settings[name]!r}" for key, p in study.presets.items() if name in p.settings]
        lines.append(f"{name:20} {default}" + (f"   ({', '.join(presets)})" if presets else ""))
    return lines
