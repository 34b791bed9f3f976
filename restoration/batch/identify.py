"""`deepblur identify`: the PSF and the aberrations of every frame, without restoring: metrology over a time series."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepblur.restoration.batch.image_files import Results, chosen_engine, key_of, output_folders, run_all
from deepblur.restoration.batch.inputs import items_of
from deepblur.restoration.batch.outputs import write_gamma, write_picture, write_psfs
from deepblur.restoration.batch.ownership import IDENTIFIED, Item, Place, claimed
from deepblur.restoration.formats.files import open_image
from deepblur.restoration.options import EngineChoice, Options, asked
from deepblur.restoration.pixels.masks import mask_of
from deepblur.restoration.report import Report
from deepblur.restoration.session import Session


def identify_files(
    images: Sequence[str | Path],
    output: str | Path,
    *,
    engine: EngineChoice = EngineChoice(),
    options: Options = Options(),
    recursive: bool = False,
    pictures: bool = True,
) -> Results:
    """Measure the blur of image files and of every frame in them: `deepblur identify` from Python.

    Args:
        images: files or folders: TIFF, PNG, JPEG, BMP, WebP, and with the extra `formats` those of microscopes.
        output: folder for the results, made if it is missing; docs/formats.md says what lies there.
        engine: which model or method; default: the registry's champion, and compact where there is none.
        options: how images are treated: intensities, channels, memory.
        recursive: search folders below too; the results' folders are those of the images.
        pictures: write the PSFs, and the coefficients over a series, as PNG too.
    Returns:
        The findings for each image, coefficients in waves, and the exit code that the command would have.
    Raises:
        InputError: there is no image at all.
        ModelError: the engine cannot be had.
        OutputError: the output folder cannot be written to.
    """
    output, given = Path(output), items_of(list(map(Path, images)), Path(output), recursive=recursive)
    wanted, mask = asked(engine, options, without=("restorer", "tile")), mask_of(options.mask)
    options = replace(options, mask=mask)
    with output_folders(output, given):
        made, notes = chosen_engine(engine)

        def identify(item: Item, tick: Callable[[float], None]) -> dict[str, Any]:
            parts = [repr(wanted), repr(item.position), "" if mask is None else mask.digest]
            key, folder = key_of(item.path, parts), output / item.below
            session = Session.of(made, engine, open_image(item.path, item.position), options, folder)
            for _ in session.identified():
                tick(1 / session.recording.length)
            with claimed(folder, item, IDENTIFIED, key) as place:
                value = _write(place, session, session.report(notes, wanted), pictures)
            return value | {"folder": str(folder), "status": "done"}

        return run_all(given, identify)


def _write(place: Place, session: Session, report: Report, pictures: bool) -> dict[str, Any]:
    """PSFs, coefficients, pictures and the report, which is returned."""
    blurs, recording = session.blurs, session.recording
    write_psfs(place.path("psf", "_psf.tif"), blurs, recording.pixel_um, recording.pixel_height_um)
    if any(blur.noll for blur in blurs):
        write_gamma(place.path("gamma", "_gamma.csv"), blurs)
    if pictures:
        from deepblur.restoration.overview import psf_picture, series_picture

        write_picture(place.path("psf_picture", "_psf.png"), psf_picture(report))
        if recording.length > 1 and blurs[0].noll:
            picture = series_picture(place.item.path.name, report, recording.interval_s)
            write_picture(place.path("series", "_gamma.png"), picture)
    return place.finish(report.as_json() | {"format": IDENTIFIED.format})
