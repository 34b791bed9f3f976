"""A folder of images is divided by source, whole or not at all, and studies take the division as it is."""

import numpy as np
import pytest
from PIL import Image

from deepblur.platform.data.sources import DIVISIONS, Folder, parse_data
from deepblur.platform.data.split import divide, main

SOURCES = {
    "a_1.png": "lab/one",
    "a_2.png": "lab/one",
    "b.png": "lab/two",
    "deep.png": "far/three",
    "sub/c.png": "far/four",
}
LISTS = ["--test", "lab/two", "--validation", "three"]


@pytest.fixture
def images(tmp_path):
    root = tmp_path / "images"
    (root / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in SOURCES:
        stored = rng.integers(0, 256, (12, 10)).astype(np.uint8)
        if name == "deep.png":
            stored = rng.integers(300, 3000, (120, 100)).astype(np.uint16)
            stored[5, 5] = 60000  # a hot pixel
        Image.fromarray(stored).save(root / name)
    rows = [f"{name},x,{source}" for name, source in SOURCES.items()]
    (root / "images.csv").write_text("\n".join(["file,note,source", *rows]) + "\n")
    return root


def test_sources_are_never_in_two_parts_and_what_nobody_claims_is_for_training():
    parts = divide(SOURCES, validation=["three"], test=["lab/two"])
    assert parts == {"train": ["a_1.png", "a_2.png", "sub/c.png"], "validation": ["deep.png"], "test": ["b.png"]}


def test_studies_take_the_folder_as_it_was_divided(images, tmp_path, capsys):
    out = tmp_path / "new" / "split"
    assert main([str(images), str(out), *LISTS]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "train: 3 images: lab/one (2), far/four (1)"
    data = parse_data(f"folder:{out}")
    names = {part: {entry.name for (source,) in [getattr(data, part)] for entry in source.entries()}
             for part in ("train", "validation", "test")}  # fmt: skip
    assert names == {
        "train": {"train/a_1.png", "train/a_2.png", "train/sub/c.png"},
        "validation": {"validation/deep.png"},
        "test": {"test/b.png"},
    }
    assert len(Folder(str(out)).entries()) == 5
    assert (out / "train" / "sub" / "c.png").read_bytes() == (images / "sub" / "c.png").read_bytes()


def test_deep_images_fill_eight_bits_by_their_own_range(images, tmp_path):
    main([str(images), str(tmp_path / "out"), *LISTS])
    stored = np.asarray(Image.open(tmp_path / "out" / "validation" / "deep.png"))
    original = np.asarray(Image.open(images / "deep.png")).astype(float)
    dark, hot = original.min(), original == 60000
    scaled = 255 * (original - dark) / (original[~hot].max() - dark)
    assert stored.dtype == np.uint8
    assert stored[hot] == 255
    assert np.abs(stored - scaled)[~hot].max() < 1


def test_a_folder_without_the_three_parts_is_divided_by_name(images):
    def names():
        return [[entry.name for entry in Folder(str(images), part).entries()] for part in DIVISIONS]

    before = names()
    (images / "train").mkdir()
    (images / "test").mkdir()
    assert names() == before
    assert sum(map(len, before)) == 5
    (images / "validation").mkdir()
    assert names() == [[], [], []]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            {},
            ["--test", "lab/two", "--validation", "five"],
            "no source has 'five' in its name; there are far/four, far/th",
        ),
        ({}, ["--test", "lab", "--validation", "one"], "the source 'lab/one' is named for validation and for test"),
        ({}, ["--test", "lab,four", "--validation", "three"], "no image is left for train; name other sources"),
        ({"images.csv": None}, LISTS, "images.csv should say where each image comes from"),
        ({"images.csv": "name,source\nb.png,x\n"}, LISTS, "needs the columns file and source; it has name, source"),
        ({"images.csv": "file,source\nb.png,\n"}, LISTS, "line 2 of"),
        ({"images.csv": "file,source\nb.png,x\nb.png,y\n"}, LISTS, "names b.png twice"),
        ({"b.png": None}, LISTS, "b.png: there is no such file"),
        ({"b.png": "no picture"}, LISTS, "b.png: not a readable image"),
        (
            {"images.csv": "file,source\n../b.png,lab/two\na_1.png,three\na_2.png,x\n"},
            LISTS,
            "'../b.png' is no plain name",
        ),
    ],
)
def test_what_cannot_be_divided_is_said_in_a_sentence_and_leaves_nothing(
    images, tmp_path, capsys, change, options, message
):
    for name, content in change.items():
        (images / name).unlink() if content is None else (images / name).write_text(content)
    assert main([str(images), str(tmp_path / "out"), *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]


def test_a_folder_that_is_there_is_left_alone(images, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    assert main([str(images), str(tmp_path / "out"), *LISTS]) == 1
    assert "is there already" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []
