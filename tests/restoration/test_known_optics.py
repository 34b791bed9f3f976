"""Optics in the words of the user and of the file: NA, wavelength and pixel size give the cutoff, and whose is said."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from micro_registry import tikhonov_model
from skimage import data

import deepblur
from deepblur import cli
from deepblur.platform.system.errors import InputError, ModelError
from deepblur.restoration.channels import Channels
from deepblur.restoration.engine_choice import choose_engine
from deepblur.restoration.formats.ome_tiff_write import write_ome_tiff
from deepblur.restoration.images import tiff_metadata
from deepblur.restoration.images.io import read_recording, recording_of
from deepblur.restoration.known_optics import optics_of, told_optics
from deepblur.restoration.options import EngineChoice

SMALL = data.camera()[100:164, 200:264]
LENS = {"na": 1.2, "wavelength_nm": 520.0, "pixel_nm": 65.0}


def call(*arguments):
    return cli.main([str(a) for a in arguments])


def origins(optics):
    return {name: one["from"] for name, one in optics.as_json().items()}


@pytest.fixture
def imagej(tmp_path):
    """A file that says its pixel, 65 nm, and nothing else of its optics."""
    tifffile.imwrite(tmp_path / "a.tif", SMALL, imagej=True, resolution=(1 / 0.065,) * 2, metadata={"unit": "um"})
    return tmp_path / "a.tif"


def test_na_wavelength_and_pixel_are_the_cutoff():
    (optics,) = told_optics(EngineChoice(**LENS, index=1.33))
    assert optics.cutoff.value == pytest.approx(1.2 / 520 * 65)
    assert origins(optics) == dict.fromkeys(("cutoff", "na", "wavelength_nm", "pixel_nm", "index"), "told")
    assert optics.words == "cutoff 0.15 (NA 1.2 told, 520 nm told, pixels of 65 nm told)"
    engine, _ = choose_engine(EngineChoice(method="spectral", **LENS))
    assert engine.operator.cutoff == optics.cutoff.value
    assert engine.assumed() == ()
    assert engine.psf_size == 41


def test_every_channel_has_its_wavelength():
    choice = EngineChoice(method="spectral", **LENS | {"wavelength_nm": (450.0, 600.0)})
    engine, _ = choose_engine(choice)
    assert [engine.of_channel(k).operator.cutoff for k in (0, 1)] == pytest.approx([1.2 / 450 * 65, 1.2 / 600 * 65])
    two = recording_of(np.stack([SMALL] * 2), "CYX")
    assert len(optics_of(choice, two, Channels(shared=False))) == 2
    with pytest.raises(InputError, match=r"array: has 1 channels, but --wavelength-nm says 2 numbers; say one"):
        deepblur.restore(SMALL, method="spectral", na=1.2, wavelength_nm=(450, 600), pixel_nm=65)
    one, _ = choose_engine(EngineChoice(method="spectral", **LENS))
    assert (
        "each wavelength has its own: say them in the channels' order, as in --wavelength-nm 520,520"
        in one.assumed(2)[0]
    )


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({**LENS, "cutoff": 0.2}, r"--cutoff 0.2 is NA / wavelength \* pixel size already; leave out --cutoff, or "
                                  "--na 1.2, --wavelength-nm 520, --pixel-nm 65"),
        ({"cutoff": (0.2, 0.1), "index": 1.5}, "--cutoff 0.2,0.1 is .*; leave out --cutoff, or --index 1.5"),
        ({"na": 1.4, "index": 1.33}, "cannot exceed the index n .*; got --na 1.4 --index 1.33"),
        ({"na": 14.0}, "--na lies between 0.001 and 2; got 14"),
        ({"wavelength_nm": (520.0, 0.6)}, "--wavelength-nm lies between 10 and 50000; got 0.6 .green light has"),
        ({"pixel_nm": 0.065}, "--pixel-nm lies between .*; got 0.065 .a micrometre has 1000 nm"),
    ],
)  # fmt: skip
def test_what_no_lens_has_or_is_said_twice_is_one_sentence(said, sentence):
    with pytest.raises(ValueError, match=sentence):
        EngineChoice(**said)


def test_half_of_the_numbers_are_refused_with_the_missing_ones(imagej):
    with pytest.raises(InputError, match=r"array: the cutoff is .* --na 1.2, --wavelength-nm 520 was told, but neither "
                       r"you nor the file says the pixel size; say --pixel-nm too, or --cutoff alone"):  # fmt: skip
        deepblur.restore(SMALL, method="spectral", na=1.2, wavelength_nm=520)
    with pytest.raises(InputError, match="says NA or the wavelength; say --na and --wavelength-nm too"):
        optics_of(EngineChoice(index=1.5), read_recording(imagej), Channels())


def test_what_is_not_said_is_taken_from_the_file(imagej, tmp_path, capsys):
    (optics,) = optics_of(EngineChoice(na=1.2, wavelength_nm=520.0), read_recording(imagej), Channels())
    assert optics.cutoff.value == pytest.approx(0.15, rel=1e-3)
    assert origins(optics) == {"cutoff": "file", "na": "told", "wavelength_nm": "told", "pixel_nm": "file"}
    lens = ("--na", 1.2, "--wavelength-nm", 520, "--index", 1.33)
    assert call("restore", imagej, "-o", tmp_path / "out", "--method", "spectral", "--no-pictures", *lens) == 0
    words = "cutoff 0.15 (NA 1.2 told, 520 nm told, pixels of 65 nm from the file)"
    assert f"    {words}\n" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "a_report.json").read_text())
    assert report["optics"]["known"] == [optics.as_json() | {"index": {"value": 1.33, "from": "told"}}]
    assert report["optics"]["cutoff"] == report["blurs"][0]["cutoff"] == optics.cutoff.value
    assert not report["optics"]["cutoff_assumed"]
    assert report["options"] | {"na": 1.2, "wavelength_nm": 520, "pixel_nm": None, "index": 1.33} == report["options"]
    assert call("identify", imagej, "-o", tmp_path / "out", "--method", "spectral", "--no-pictures", *lens) == 0
    assert f"    {words}\n" in capsys.readouterr().out


def test_optics_beyond_what_a_camera_samples_are_refused():
    with pytest.raises(ModelError, match=r"cutoff .* got 0.7; lower NA"):
        choose_engine(EngineChoice(method="spectral", na=1.4, wavelength_nm=520, pixel_nm=260))


def test_a_network_of_one_cutoff_takes_only_that(tmp_path):
    model = str(tikhonov_model(tmp_path / "model", 0.05))
    confirmed, _ = choose_engine(EngineChoice(model=model, na=1.2, wavelength_nm=520, pixel_nm=86))
    assert (confirmed.assumed(), confirmed.known_or_assumed.cutoff.value) == ((), 0.2)
    with pytest.raises(ModelError, match=r"of the cutoff 0.2; leave out --na 1.2, --wavelength-nm 520, --pixel-nm 65"):
        choose_engine(EngineChoice(model=model, **LENS))
    with pytest.raises(ModelError, match=r"knows no aberrations; leave out --na 1.2, --wavelength-nm 520"):
        choose_engine(EngineChoice(method="l0", **LENS))


def test_simulate_takes_the_lens_of_the_file_and_hands_it_on(tmp_path, capsys):
    source = recording_of(np.stack([data.camera()[100:180, 200:290]] * 2), "TYX")
    stated = replace(source, na=1.3, index=1.515, pixel_um=0.08, pixel_height_um=0.08, emission_nm=(520.0,))
    write_ome_tiff(tmp_path / "cells.ome.tif", stated.frames(), stated)
    assert call("simulate", tmp_path / "cells.ome.tif", "-o", tmp_path / "out") == 0
    assert "cutoff 0.2 (NA 1.3 from the file, 520 nm from the file, pixels of 80 nm" in capsys.readouterr().out
    for name in ("cells_blurry.tif", "cells_sharp.tif"):
        made = read_recording(tmp_path / "out" / name)
        assert (made.axes, made.shape) == ("TYX", (2, 50, 60))
        assert (made.na, made.index, made.pixel_um, made.emission_nm) == (1.3, 1.515, 0.08, (520.0,))


def test_simulate_takes_the_same_words(imagej, tmp_path, capsys):
    def truth(*words):
        assert call("simulate", imagej, "-o", tmp_path / "out", "--json", *words) == 0
        return json.loads(capsys.readouterr().out)

    made = truth("--na", 1.6, "--wavelength-nm", 520)
    assert made["cutoff"] == pytest.approx(0.2, rel=1e-3)
    assert made["optics"]["pixel_nm"]["from"] == "file"
    assert truth()["optics"]["cutoff"] == {"value": 0.2, "from": "assumed"}
    assert truth("--cutoff", 0.25)["optics"] == {"cutoff": {"value": 0.25, "from": "told"}}
    assert call("simulate", imagej, "-o", tmp_path / "out", "--na", 1.6) == 4
    assert "says the wavelength; say --wavelength-nm too" in capsys.readouterr().err


OME = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
<Instrument ID="Instrument:0">{lenses}</Instrument>
<Image ID="Image:0">{settings}
<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="64" SizeY="64" SizeZ="1" SizeT="1" SizeC="2"
 PhysicalSizeX="65" PhysicalSizeXUnit="nm" PhysicalSizeY="65" PhysicalSizeYUnit="nm">
<Channel ID="Channel:0:0" Name="DAPI" {first}/><Channel ID="Channel:0:1" Name="GFP" {second}/>
<TiffData/></Pixels></Image></OME>"""
OIL = '<Objective ID="Objective:0" LensNA="1.4" Immersion="Oil"/>'
DRY = '<Objective ID="Objective:1" LensNA="0.75" Immersion="Air"/>'
FULL = {"lenses": OIL, "settings": "", "first": 'EmissionWavelength="460"', "second": 'EmissionWavelength="0.52" '
        'EmissionWavelengthUnit="µm"'}  # fmt: skip


@pytest.fixture
def ome(tmp_path):
    def made(**parts):
        text = OME.format(**FULL | parts)
        two = np.stack([SMALL, SMALL.T])
        with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
            writer.write(two, photometric="minisblack", description=text.encode(), metadata=None)
        return tmp_path / "a.ome.tif"

    return made


def test_ome_says_all_channel_by_channel(ome, tmp_path):
    recording = read_recording(ome())
    assert (recording.na, recording.index, recording.emission_nm) == (1.4, 1.518, (460.0, 520.0))
    two = optics_of(EngineChoice(), recording, Channels(shared=False))
    assert [one.cutoff.value for one in two] == pytest.approx([1.4 / 460 * 65, 1.4 / 520 * 65])
    assert set(origins(two[0]).values()) == {"file"}
    (mean,) = optics_of(EngineChoice(), recording, Channels())
    assert mean.wavelength_nm.value == 490
    told = optics_of(EngineChoice(na=1.3), recording, Channels(shared=False))
    assert [origins(one)["na"] for one in told] == ["told"] * 2
    assert told[1].cutoff.value == pytest.approx(1.3 / 520 * 65)
    (all_,) = optics_of(EngineChoice(wavelength_nm=500.0), recording, Channels(shared=False))
    assert origins(all_)["wavelength_nm"] == "told"
    assert optics_of(EngineChoice(cutoff=0.1), recording, Channels(shared=False))[0].cutoff.value == 0.1


def test_each_file_of_a_batch_has_its_own_optics(ome, imagej, tmp_path, capsys):
    more = ("--no-pictures", "--json", "--method", "spectral")
    assert call("identify", ome(), imagej, "-o", tmp_path / "out", *more) == 0
    two, one = (entry["optics"] for entry in json.loads(capsys.readouterr().out)["images"])
    assert two["cutoff"] == pytest.approx([1.4 / 460 * 65, 1.4 / 520 * 65])
    assert (two["cutoff_assumed"], one["cutoff_assumed"]) == (False, True)
    assert (one["cutoff"], one["known"][0]["pixel_nm"]["from"]) == (0.2, "file")


@pytest.mark.parametrize(
    ("parts", "na", "index"),
    [
        ({"lenses": OIL + DRY}, None, None),
        ({"lenses": OIL + DRY, "settings": '<ObjectiveSettings ID="Objective:1"/>'}, 0.75, 1.0),
        ({"settings": '<ObjectiveSettings ID="Objective:0" RefractiveIndex="1.51"/>'}, 1.4, 1.51),
        ({"lenses": OIL.replace("Oil", "Air")}, 1.4, None),
        ({"lenses": OIL.replace("1.4", "14")}, None, 1.518),
        ({"lenses": OIL.replace("1.4", "high")}, None, None),
        ({"lenses": OIL, "settings": '<ObjectiveSettings ID="Objective:7"/>'}, None, None),
    ],
)
def test_the_objective_is_the_one_of_the_image_and_credible(ome, parts, na, index):
    recording = read_recording(ome(**parts))
    assert (recording.na, recording.index) == (na, index)


def test_a_channel_of_which_the_file_says_nothing_stays_unknown(ome):
    recording = read_recording(ome(first=""))
    assert recording.emission_nm == (None, 520.0)
    first, second = optics_of(EngineChoice(), recording, Channels(shared=False))
    assert (first.cutoff, second.cutoff.value) == (None, pytest.approx(1.4 / 520 * 65))
    assert optics_of(EngineChoice(), recording, Channels())[0].cutoff is None
    with pytest.raises(InputError, match=r"--na 1.4 was told, but neither you nor the file says the wavelength"):
        optics_of(EngineChoice(na=1.4), recording, Channels(shared=False))
    with pytest.raises(InputError, match=r"NA 1.4 \(from the file\) exceeds the index 1.33 \(told\)"):
        optics_of(EngineChoice(index=1.33), recording, Channels())


PLANE = """<MetaData><PlaneInfo><prop id="spatial-calibration-state" type="bool" value="on"/>
<prop id="spatial-calibration-x" type="float" value="0.108"/>
<prop id="spatial-calibration-y" type="float" value="0.108"/>
<prop id="spatial-calibration-units" type="string" value="um"/><prop id="wavelength" type="float" value="525"/>
<prop id="_MagNA_" type="float" value="0.75"/><prop id="_MagRI_" type="float" value="1"/></PlaneInfo></MetaData>"""
INFO = "Information|Instrument|Objective|LensNA #1 = 1.2\nInformation|Image|Channel|EmissionWavelength #2 = 603.0\n" \
       "Information|Image|Channel|EmissionWavelength #1 = 450.0\nDate = 2024"  # fmt: skip


def test_what_vendors_write_is_read(tmp_path):
    def read(pixels=SMALL, **how):
        tifffile.imwrite(tmp_path / "a.tif", pixels, **how)
        found = read_recording(tmp_path / "a.tif")
        return found.pixel_um, found.na, found.index, found.emission_nm

    assert read(description=PLANE, software="MetaSeries", metadata=None) == (0.108, 0.75, 1.0, (525.0,))
    two = {"imagej": True, "resolution": (10, 10), "metadata": {"unit": "um", "Info": INFO, "axes": "CYX"}}
    assert read(np.stack([SMALL] * 2), **two) == (0.1, 1.2, None, (450.0, 603.0))
    assert read(**two | {"metadata": {"unit": "um", "Info": INFO + "\nObjectiveNA = 0.5"}}) == (0.1, None, None, ())
    micro_manager = [(51123, 2, 0, json.dumps({"PixelSizeUm": 0.0645}), True)]
    assert read(extratags=micro_manager, metadata=None)[0] == 0.0645
    assert read(description="Aperio Image Library v12\n64x64|AppMag = 20|MPP = 0.4990", metadata=None)[0] == 0.499


@pytest.mark.parametrize(
    ("engraved", "facts"),
    [
        ("Plan-Apochromat 63x/1.40 Oil DIC M27", {"na": 1.4, "index": 1.518}),
        ("EC Plan-Neofluar 20x/0.50", {"na": 0.5, "index": 1.0}),
        ("C-Apochromat 40x/1,2 W Corr", {"na": 1.2, "index": 1.333}),
        ("None", {}),
    ],
)
def test_an_objective_is_read_as_it_is_engraved(engraved, facts):
    assert tiff_metadata.engraved(engraved) == facts


def test_a_file_can_contradict_a_network_and_cannot_be_undersampled(ome, tmp_path, capsys):
    path = ome(first='EmissionWavelength="520"')
    model = str(tikhonov_model(tmp_path / "model", 0.05))
    assert call("identify", path, "-o", tmp_path / "out", "--model", model, "--no-pictures", "--json") == 0
    (entry,) = json.loads(capsys.readouterr().out)["images"]
    assert entry["optics"]["cutoff_assumed"]
    assert entry["verdict"] != "good"
    assert any("is not the cutoff 0.2 that the network" in flag for flag in entry["blurs"][0]["flags"])
    path = ome(first='EmissionWavelength="170"')
    assert call("identify", path, "-o", tmp_path / "out", "--method", "spectral") == 4
    said = capsys.readouterr().err
    assert "cutoff 0.5353 (NA 1.4 from the file, 170 nm from the file, pixels of 65 nm from the file)" in said
    assert "a.ome.tif" in said
