"""`deepblur restore`: image files in, restored files and what is known of their blur out."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from deepblur.restoration.batch.cluster_crew import ClusterTasks
from deepblur.restoration.batch.crew import WorkerProcesses, with_memory
from deepblur.restoration.batch.image_files import Results, Told, output_folders, run_all
from deepblur.restoration.batch.inputs import Given, items_of
from deepblur.restoration.batch.many import SEVERAL, check_workers, run_together, threads_each, with_threads
from deepblur.restoration.batch.restoring import Restoring
from deepblur.restoration.engines.engine import Engine
from deepblur.restoration.options import EngineChoice, Options, check_together


def restore_files(
    images: Sequence[str | Path],
    output: str | Path,
    *,
    engine: EngineChoice = EngineChoice(),
    options: Options = Options(),
    recursive: bool = False,
    workers: int | None = None,
    ray: str | None = None,
    pictures: bool = True,
    again: bool = False,
) -> Results:
    """Restore image files: `deepblur restore` from Python.

    An image that cannot be used is said on standard error and keeps none of the others from being restored. Done
    again, only what is not done yet is done.

    Args:
        images: files or folders: TIFF, PNG, JPEG, BMP, WebP, and with the extra `formats` those of microscopes.
        output: folder for the results, made if it is missing; docs/formats.md says what lies there.
        engine: which model or method; default: the registry's champion, and compact where there is none.
        options: how images are treated: intensities, channels, tiles, memory: of all workers together, or, on a
            cluster, of each.
        recursive: search folders below too; the results' folders are those of the images.
        workers: so many images at once, each in a process of its own; results are those of one worker. None: one, or as
            many as the cluster has cores.
        ray: HOST:PORT of a Ray cluster whose nodes do it, or auto, that of this machine or of RAY_ADDRESS.
        pictures: write the overview and the PSF as PNG too.
        again: restore also what is done already.
    Returns:
        A report for each image, and the exit code that the command would have.
    Raises:
        ValueError: options that contradict one another, or no such cluster.
        InputError: there is no image at all, or the PSF or the mask that was given is none.
        ModelError: the engine cannot be had.
        OutputError: the output folder cannot be written to.
    """
    check_together(engine, options)
    check_workers(workers)
    output = Path(output)
    given = items_of(list(map(Path, images)), output, recursive=recursive)
    threads = threads_each(SEVERAL if ray else len(given.items))  # a node has other cores than this machine
    with output_folders(output, given), with_threads(threads):
        job, made = Restoring.of(output, engine, options, pictures=pictures, again=again)
        return carry_out(job, given, made, threads, workers if ray else with_memory(workers or 1, options), ray)


def carry_out(
    job: Restoring,
    given: Given,
    made: Engine,
    threads: int,
    workers: int | None,
    ray: str | None = None,
    told: Told | None = None,
) -> Results:
    """All images, one after another in this process, by worker processes or by a cluster.

    Args:
        threads: of each process; those of this one are set.
        workers, ray: as of `restore_files`.
    """
    alone = partial(job.restored, made)
    if ray is not None:
        return run_together(given, job, ClusterTasks(job, ray, workers, threads), alone, told)
    if workers is None or workers == 1:
        return run_all(given, lambda item, tick: job.kept(item) or alone(item, tick), told)
    return run_together(given, job, WorkerProcesses(job.in_share(workers), workers, threads), alone, told)
