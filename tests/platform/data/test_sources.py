"""Sources select, divide and refuse as they say."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places import REAL

from deepblur.platform.data.sources import PHOTOGRAPHS, Coco, Data, DeadLeaves, Folder, Photos, parse_data

CATEGORIES = [
    {"id": 1, "name": "person", "supercategory": "person"},
    {"id": 18, "name": "dog", "supercategory": "animal"},
    {"id": 20, "name": "sheep", "supercategory": "animal"},
]


@pytest.fixture
def coco_root(tmp_path):
    """Four images: a man with a larger dog, a small man, nothing, a flock."""
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    (root / "train2017").mkdir()
    images = []
    for i in range(4):
        name, width, height = f"{i:012d}.jpg", 60 - 10 * i, 30 + i
        Image.new("RGB", (width, height), (9, 99, 9)).save(root / "train2017" / name)
        images.append({"id": i, "file_name": name, "height": height, "width": width})
    objects = [(0, 1, 50), (0, 18, 80), (1, 1, 10), (3, 20, 40)]
    annotations = [
        {"id": k, "image_id": image, "category_id": category, "area": area, "bbox": [0, 0, 1, 1], "iscrowd": 0}
        for k, (image, category, area) in enumerate(objects)
    ]
    instances = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(instances))
    return root


def numbers(source):
    return [int(Path(entry.name).stem) for entry in source.entries()]


def test_coco_groups_by_the_largest_object_and_prints_nothing(coco_root, capsys):
    entries = Coco(str(coco_root)).entries()
    assert [entry.group for entry in entries] == ["animal", "person", "none", "animal"]
    assert entries[0].load().shape == (30, 60)
    assert capsys.readouterr() == ("", "")


def test_coco_selects_by_category_and_size(coco_root):
    assert numbers(Coco(str(coco_root), categories=("person",))) == [0, 1]
    assert numbers(Coco(str(coco_root), categories=("dog", "sheep"))) == [0, 3]
    assert numbers(Coco(str(coco_root), min_side_px=31)) == [1, 2]
    assert numbers(Coco(str(coco_root), categories=("person",), min_side_px=31)) == [1]


def test_coco_parts_divide_the_images(coco_root):
    fit, held = numbers(Coco(str(coco_root), part="fit")), numbers(Coco(str(coco_root), part="held"))
    assert sorted(fit + held) == [0, 1, 2, 3]


def test_an_unknown_category_is_refused_with_the_near_ones(coco_root):
    with pytest.raises(ValueError, match="no category 'sheeps'; near ones are sheep"):
        Coco(str(coco_root), categories=("sheeps",)).entries()


def test_missing_parts_of_a_coco_tree_are_named(coco_root):
    with pytest.raises(FileNotFoundError, match=r"val2017 needs .*instances_val2017.json, which is missing; unpack"):
        Coco(str(coco_root), split="val2017").state()
    with pytest.raises(FileNotFoundError, match=r"nowhere should be a COCO root .* correct the path"):
        Coco(str(coco_root / "nowhere")).state()
    (coco_root / "train2017").rename(coco_root / "elsewhere")
    with pytest.raises(FileNotFoundError, match="train2017 should be the images of COCO's train2017"):
        Coco(str(coco_root)).state()


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"images": []}', '{"images": [], "annotations": []}'])
def test_a_file_that_is_not_cocos_is_refused(coco_root, text):
    (coco_root / "annotations" / "instances_train2017.json").write_text(text)
    with pytest.raises(ValueError, match=r"instances_train2017.json is not a COCO instances file .* download it again"):
        Coco(str(coco_root)).entries()


def test_a_folder_is_searched_deeply_and_without_hidden_files(tmp_path):
    for name in ("a.PNG", "deep/er/b.jpg", "deep/c.d/e.tiff", "._f.png", ".thumbnails/g.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    root = tmp_path.name
    assert [(e.name, e.group) for e in Folder(str(tmp_path)).entries()] == [
        ("a.PNG", root),
        ("deep/c.d/e.tiff", f"{root}/deep/c.d"),
        ("deep/er/b.jpg", f"{root}/deep/er"),
    ]


def test_folder_parts_divide_the_images_and_keep_them(tmp_path):
    for k in range(200):
        (tmp_path / f"{k}.png").touch()

    def parts():
        return {p: {e.name for e in Folder(str(tmp_path), p).entries()} for p in ("train", "validation", "test")}

    before = parts()
    assert sum(map(len, before.values())) == len(set.union(*before.values())) == 200
    assert len(before["train"]) > 140
    assert min(len(before["validation"]), len(before["test"])) > 10
    for k in range(200, 220):
        (tmp_path / f"{k}.png").touch()
    after = parts()
    assert all(before[p] <= after[p] for p in before)


def test_photographs_are_present_disjoint_and_no_network_is_asked():
    seen, held, test = (set(PHOTOGRAPHS[split]) for split in ("train", "validation", "test"))
    assert len(seen | held | test) == len(seen) + len(held) + len(test)
    assert not set(PHOTOGRAPHS["microscopy"]) & (seen | held)
    for split in PHOTOGRAPHS:
        entries = Photos(split, reduce=1).entries()
        assert len(Photos(split).state()) == len(entries) == len(PHOTOGRAPHS[split])
        assert min(min(e.load().shape) for e in entries) >= 300


def test_photographs_are_reduced_by_averaging():
    for whole, half in zip(Photos("validation", reduce=1).entries(), Photos("validation").entries(), strict=True):
        image = whole.load()
        expected = (image[0:-1:2, 0:-1:2] + image[1::2, 0:-1:2] + image[0:-1:2, 1::2] + image[1::2, 1::2]) / 4
        assert np.allclose(half.load(), expected[: half.load().shape[0], : half.load().shape[1]], atol=1e-6)


def test_dead_leaves_are_a_function_of_seed_and_index():
    few, many, other = (DeadLeaves(n, 32, seed).entries() for n, seed in ((2, 0), (3, 0), (2, 1)))
    assert np.array_equal(few[1].load(), many[1].load())
    assert not np.array_equal(few[1].load(), other[1].load())
    assert not np.array_equal(many[1].load(), many[2].load())


def test_parse_data_keeps_the_parts_apart():
    photos = parse_data("photos")
    assert photos.validation == (Photos("validation"),)
    assert photos.test == parse_data("dead-leaves").test == (Photos("test"),)
    assert Photos("train") in photos.train
    assert parse_data("coco:/c") == Data(
        (Coco("/c", part="fit"),), (Coco("/c", part="held"),), (Coco("/c", split="val2017"),)
    )
    assert parse_data("folder:x").test == (Folder(os.path.abspath("x"), "test"),)


@pytest.mark.parametrize(("source", "field"), [(Coco, "part"), (Folder, "part"), (Photos, "split")])
def test_a_misspelt_part_is_refused(source, field):
    with pytest.raises(ValueError, match=f"{field} is one of .*; got 'hold'"):
        source(**{field: "hold"} | ({} if source is Photos else {"root": "r"}))


@pytest.mark.parametrize("text", ["", "coco", "coco:", "folder:", "photo", "photos:", "s3://bucket"])
def test_any_other_text_is_refused_with_the_accepted_forms(text):
    with pytest.raises(ValueError, match="one of photos, dead-leaves, coco:ROOT, folder:ROOT; got"):
        parse_data(text)


@pytest.mark.skipif(not (REAL / "coco").is_dir(), reason=f"no COCO tree in {REAL}; set DEEPBLUR_DATA")
def test_the_real_coco_is_read():
    data = parse_data(f"coco:{REAL / 'coco'}")
    fit, held, test = (part[0].entries() for part in (data.train, data.validation, data.test))
    assert min(len(fit), len(held), len(test)) > 5
    assert not {e.name for e in fit} & {e.name for e in held}
    assert {"person", "animal", "vehicle"} <= {e.group for e in fit}
    cats = Coco(str(REAL / "coco"), categories=("cat",)).entries()
    assert 0 < len(cats) < len(fit)
    assert cats[0].load().max() > 0.5
