"""`deepblur restore`: image files in, restored files and what is known of their blur out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deepblur.restoration.batch.image_files import Results, chosen_engine, key_of, output_folders, run_all
from deepblur.restoration.batch.inputs import items_of
from deepblur.restoration.batch.outputs import (
    write_gamma,
    write_picture,
    write_plain,
    write_psfs,
    write_wavefronts,
)
from deepblur.restoration.batch.ownership import RESTORED, Item, Place, claimed, kept
from deepblur.restoration.images.io import read_recording, write_recording
from deepblur.restoration.images.tiff_ome import other_files
from deepblur.restoration.options import EngineChoice, Options, asked, check_together
from deepblur.restoration.report import VERSION, Report
from deepblur.restoration.session import Session

_DEFAULT_ENGINE = EngineChoice()
_DEFAULT_OPTIONS = Options()


def restore_files(
    images: Sequence[str | Path],
    output: str | Path,
    *,
    engine: EngineChoice = _DEFAULT_ENGINE,
    options: Options = _DEFAULT_OPTIONS,
    recursive: bool = False,
    pictures: bool = True,
    again: bool = False,
) -> Results:
    """Restore image files one after another: `deepblur restore` from Python.

    An image that cannot be used is said on standard error and keeps none of the others from being restored. Done
    again, only what is not done yet is done.

    Args:
        images: files or folders: TIFF, PNG, JPEG, BMP, WebP.
        output: folder for the results, made if it is missing; docs/formats.md says what lies there.
        engine: which model or method; default: the registry's champion, and compact where there is none.
        options: how images are treated: intensities, channels, tiles, memory.
        recursive: search folders below too; the results' folders are those of the images.
        pictures: write the overview and the PSF as PNG too.
        again: restore also what is done already.
    Returns:
        A report for each image, and the exit code that the command would have.
    Raises:
        ValueError: options that contradict one another.
        InputError: there is no image at all, or the PSF that was given is none.
        ModelError: the engine cannot be had.
        OutputError: the output folder cannot be written to.
    """
    check_together(engine, options)
    output, wanted = Path(output), asked(engine, options)
    given = items_of(list(map(Path, images)), output, recursive=recursive)
    with output_folders(output, given):
        made, notes = chosen_engine(engine)
        same = replace(options, max_memory_gib=Options.max_memory_gib)  # how much memory there is decides nothing
        parts = (
            repr(made.described()),
            repr(engine.said),
            engine.restorer,
            repr(same),
            str(pictures),
            f"report version {VERSION}",
        )

        def restore(item: Item, tick: Callable[[float], None]) -> dict[str, Any]:
            item = replace(item, name=f"{item.name}_region") if options.crop else item  # no trial replaces a result
            own = key_of(item.path, parts)  # which refuses what is no file, before anything else opens it
            key = " ".join([own, *(key_of(path, ()) for path in other_files(item.path))])
            folder = output / item.below
            about = {"input": str(item.path), "folder": str(folder)}
            if not again and (report := kept(folder, item, RESTORED, key)) is not None:
                return report | about | {"status": "kept"}
            recording = read_recording(item.path)
            session = Session.of(made, engine, recording, options, folder, lambda share: tick(share / recording.length))
            image = "_restored.tif" if options.crop else f"_restored{item.suffix}"
            with claimed(folder, item, RESTORED, key, (image,)) as place:
                if options.crop:
                    write_plain(place.path("image", image), np.stack(list(session.frames())), recording)
                else:
                    write_recording(place.path("image", image), session.frames(), session.recording)
                value = _write(place, session, session.report(notes, wanted), pictures)
            return value | about | {"status": "done"}

        return run_all(given, restore)


def _write(place: Place, session: Session, report: Report, pictures: bool) -> dict[str, Any]:
    """PSFs, coefficients, pictures and the report, which is returned."""
    recording = session.recording
    write_psfs(place.path("psf", "_psf.tif"), report.blurs, recording.pixel_um, recording.pixel_height_um)
    if any(blur.noll for blur in report.blurs):
        write_gamma(place.path("gamma", "_gamma.csv"), report.blurs)
        write_wavefronts(place.path("wavefront", "_wavefront.tif"), report.blurs)
    if pictures and session.first is not None:
        from deepblur.restoration.overview import overview, psf_picture  # a second that --no-pictures saves

        picture = overview(place.item.path.name, *session.first, report)
        write_picture(place.path("overview", "_overview.png"), picture)
        write_picture(place.path("psf_picture", "_psf.png"), psf_picture(report))
    return place.finish(report.as_json())
