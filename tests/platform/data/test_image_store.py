"""The cache of decoded images never lies, whatever happens to it or to its files."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from places import REAL
from torch.testing import assert_close

from deepblur.platform.data import cache as image_cache
from deepblur.platform.data.image_file import read_grey
from deepblur.platform.data.sources import Coco, DeadLeaves, Folder, Photos
from deepblur.platform.data.store import open_store
from deepblur.platform.system.seal import read_sealed, write_sealed


def caches(cache_dir):
    return sorted(p.name for p in cache_dir.iterdir() if p.is_dir())


def test_images_come_back_exactly(store, folder):
    assert len(store) == 5
    assert store.pixels.dtype == np.uint8
    for i, entry in enumerate(folder.entries()):
        assert store.names[i] == entry.name
        assert store.image(i).dtype == torch.float32
        assert_close(store.image(i)[0].numpy(), entry.load(), rtol=0, atol=0)
        start, H, W = (int(t[i]) for t in (store.offsets, store.heights, store.widths))
        assert_close(
            store.pixels[start : start + H * W].reshape(H, W) / 255, entry.load().astype(float), atol=1e-7, rtol=0
        )


def test_decoding_happens_once(folder, tmp_path, monkeypatch):
    first = open_store((folder,), tmp_path / "cache")
    monkeypatch.setattr(image_cache, "_build", lambda *a, **k: pytest.fail("built twice"))
    assert open_store((folder,), tmp_path / "cache").fingerprint == first.fingerprint


def test_a_changed_file_is_seen(folder, store, tmp_path):
    Image.new("L", (40, 40), 7).save(Path(folder.root) / "0.png")
    changed = open_store((folder,), tmp_path / "cache")
    assert changed.fingerprint != store.fingerprint
    assert changed.image(0).shape == (1, 40, 40)


def test_the_fingerprint_depends_on_pixels_alone(make_images, store, tmp_path):
    moved = make_images(tmp_path / "elsewhere" / "images")
    os.utime(Path(moved.root) / "0.png", (1, 1))
    assert open_store((moved,), tmp_path / "other").fingerprint == store.fingerprint
    assert open_store((make_images(tmp_path / "b", seed=1),), tmp_path / "cache").fingerprint != store.fingerprint


def test_a_mixture_shares_the_caches_of_its_sources(folder, store, tmp_path):
    leaves = DeadLeaves(count=2, side_px=40, seed=0)
    mixed = open_store((leaves, folder), tmp_path / "cache")
    assert len(caches(tmp_path / "cache")) == 2
    assert mixed.groups == ("dead-leaves",) * 2 + ("images",) * 5
    assert_close(mixed.image(3), store.image(1), rtol=0, atol=0)
    start = int(mixed.offsets[3])
    assert bytes(mixed.pixels[start : start + 10]) == bytes(store.pixels[store.offsets[1] : store.offsets[1] + 10])


@pytest.mark.parametrize(
    "damage",
    ["truncate pixels", "other pixels", "no index", "cut index", "no pixels", "empty index", "list as index",
     "other sizes", "an index that fits other sizes"],
)  # fmt: skip
def test_a_damaged_cache_is_rebuilt(store, folder, tmp_path, damage):
    (cache,) = (tmp_path / "cache").glob("folder-*")
    pixels, index = cache / "pixels.u8", cache / "index.json"
    match damage:
        case "truncate pixels":
            os.truncate(pixels, 100)
        case "other pixels":
            pixels.write_bytes(bytes(pixels.stat().st_size))
        case "other sizes":
            index.write_text(index.read_text().replace('"heights": [', '"heights": [99999, '))
        case "an index that fits other sizes":
            known = read_sealed(index)
            write_sealed(index, {**known, "heights": known["widths"], "widths": known["heights"], "written": 0})
        case "no index":
            index.unlink()
        case "cut index":
            os.truncate(index, index.stat().st_size // 2)
        case "no pixels":
            pixels.unlink()
        case "empty index":
            index.write_text("{}")
        case "list as index":
            index.write_text("[]")
    again = open_store((folder,), tmp_path / "cache")
    assert again.fingerprint == store.fingerprint
    assert_close(again.image(4)[0].numpy(), folder.entries()[4].load(), rtol=0, atol=0)


def test_a_cache_that_was_copied_is_read_once_and_then_known(store, folder, tmp_path, monkeypatch):
    (cache,) = (tmp_path / "cache").glob("folder-*")
    os.utime(cache / "pixels.u8", (1, 1))
    assert open_store((folder,), tmp_path / "cache").fingerprint == store.fingerprint
    monkeypatch.setattr(image_cache, "_fingerprint", None)
    assert open_store((folder,), tmp_path / "cache").fingerprint == store.fingerprint


def test_folders_that_are_not_ours_stay_in_the_cache(make_images, tmp_path):
    cache = tmp_path / "cache"
    theirs = [".ipynb_checkpoints", ".a.b", ".somebody.elses.data", "notes", ".folder-01.1.x", "folder"]
    for name in theirs:
        (cache / name).mkdir(parents=True)
        (cache / name / "file").write_text("precious")
        os.utime(cache / name, (1, 1))
    open_store((make_images(tmp_path / "images"),), cache)
    assert all((cache / name / "file").read_text() == "precious" for name in theirs)


SLOW_BUILD = """
import sys, time
from pathlib import Path
from deepblur.platform.data import sources
from deepblur.platform.data.store import open_store
fast = sources.read_grey
def slow(path):
    print("decoded", path.name, file=sys.stderr)
    time.sleep(float(sys.argv[3]))
    return fast(path)
sources.read_grey = slow
print(open_store((sources.Folder(sys.argv[1]),), Path(sys.argv[2])).fingerprint)
"""


def slow_build(folder, cache_dir, seconds):
    command = [sys.executable, "-c", SLOW_BUILD, folder.root, str(cache_dir), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/")


def test_a_killed_build_leaves_nothing_that_loads(make_images, tmp_path):
    folder, cache_dir = make_images(tmp_path / "images", count=7), tmp_path / "cache"
    build = slow_build(folder, cache_dir, seconds=20)
    deadline = time.monotonic() + 300
    while not list(cache_dir.glob(".folder-*/pixels.u8")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    build.send_signal(signal.SIGKILL)
    build.communicate()
    assert len(list(cache_dir.glob(".folder-*/pixels.u8"))) == 1
    elsewhere = cache_dir / ".folder-0123.another-machine.1.0123abcd"
    elsewhere.mkdir()
    os.utime(elsewhere, (1, 1))  # long abandoned
    assert len(open_store((folder,), cache_dir)) == 7
    assert len(caches(cache_dir)) == 1  # and what was left is cleared away


def test_two_processes_build_once_and_both_end_well(make_images, tmp_path):
    folder, cache_dir = make_images(tmp_path / "images"), tmp_path / "cache"
    builds = [slow_build(folder, cache_dir, seconds=0.3) for _ in range(2)]
    ends = [build.communicate(timeout=300) for build in builds]
    fingerprint = open_store((folder,), cache_dir).fingerprint
    assert [out.strip() for out, _ in ends] == [fingerprint] * 2
    assert sum(err.count("decoded") for _, err in ends) == 5


def test_builders_that_no_lock_orders_end_well(folder, tmp_path, monkeypatch):
    """As on a file system that knows no locks, or from two machines."""
    meet = threading.Barrier(3)
    decode_all = image_cache._decode_all

    def together(*args, **kwargs):
        meet.wait(timeout=900)
        return decode_all(*args, **kwargs)

    monkeypatch.setattr(image_cache, "_decode_all", together)
    monkeypatch.setattr(image_cache, "locked", lambda path: nullcontext())
    ends: list[str] = []
    builders = [
        threading.Thread(target=lambda: ends.append(open_store((folder,), tmp_path / "cache").fingerprint))
        for _ in range(3)
    ]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert len(ends) == 3
    assert len(set(ends)) == 1
    assert len(caches(tmp_path / "cache")) == 1


def test_unusable_files_are_skipped_and_counted(folder, tmp_path):
    (Path(folder.root) / "broken.png").write_text("no image")
    store = open_store((folder,), tmp_path / "cache")
    assert len(store) == 5
    ((name, reason),) = store.skipped
    assert name == "broken.png"
    assert reason.startswith(f"{folder.root}/broken.png: not a readable image")
    assert open_store((folder,), tmp_path / "cache").skipped == store.skipped


def test_too_many_unusable_files_are_an_error_and_leave_nothing(folder, tmp_path):
    for k in range(3):
        (Path(folder.root) / f"broken{k}.png").write_text("no image")
    with pytest.raises(
        ValueError,
        match=r"at least 2 of the 8 images of Folder.* only 5% may be skipped; .*broken0.png: .* max_skipped",
    ):
        open_store((folder,), tmp_path / "cache")
    assert caches(tmp_path / "cache") == []
    assert len(open_store((folder,), tmp_path / "cache", max_skipped=0.5).skipped) == 3
    with pytest.raises(ValueError, match="3 of the 8 images"):  # the stricter reader is not fooled by the cache
        open_store((folder,), tmp_path / "cache")


def test_a_coco_image_that_is_absent_is_skipped_by_name(make_images, tmp_path):
    root = tmp_path / "coco"
    make_images(root / "train2017", count=3)
    images = [{"id": k, "file_name": f"{k}.png", "height": 20, "width": 50} for k in range(4)]
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_train2017.json").write_text(
        json.dumps({"images": images, "annotations": [], "categories": []})
    )
    store = open_store((Coco(str(root)),), tmp_path / "cache")
    assert store.names == ("0.png", "1.png", "2.png")
    assert store.skipped[0][0] == "3.png"
    assert "there is no such file" in store.skipped[0][1]


def test_nothing_to_open_is_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"Folder\(.*empty.*\) selects no image; relax the selection or add images"):
        open_store((Folder(str(tmp_path / "empty")),), tmp_path / "cache")
    (tmp_path / "empty" / "only.png").write_text("no image")
    with pytest.raises(ValueError, match=r"holds no readable image: .*only.png: not a readable image"):
        open_store((Folder(str(tmp_path / "empty")),), tmp_path / "cache")
    with pytest.raises(ValueError, match="at least one source"):
        open_store((), tmp_path / "cache")


def test_a_full_disk_is_seen_before_it_is_full(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(image_cache.shutil, "disk_usage", lambda path: usage(0, 0, 1000))
    with pytest.raises(OSError, match=r"needs about 0.0 GB more, but .*cache has 0.0 GB free; choose another"):
        open_store((DeadLeaves(count=80, side_px=16, seed=0),), tmp_path / "cache")
    assert caches(tmp_path / "cache") == []


def test_a_long_build_reports_now_and_then(capsys, monkeypatch):
    seconds = iter([0.0, 1.0, 3.0, 4.0, 8.5])
    monkeypatch.setattr(image_cache.time, "monotonic", lambda: next(seconds))
    report = image_cache._Progress("it", 100, wanted=True)
    for done in (10, 25, 30, 50):
        report(done)
    assert capsys.readouterr().err == "decoding it: 25 of 100, 9 s left\ndecoding it: 50 of 100, 8 s left\n"


def test_photographs_open(tmp_path, rng):
    store = open_store((Photos("validation"),), tmp_path)
    assert store.groups == ("moon", "motorcycle_left", "rocket")
    assert store.crops(4, (94, 94), rng).std() > 0.01


@pytest.mark.skipif(not (REAL / "coco").is_dir(), reason=f"no COCO tree in {REAL}; set DEEPBLUR_DATA")
def test_the_real_coco_opens_without_loss(tmp_path):
    source = Coco(str(REAL / "coco"), split="val2017")
    store = open_store((source,), tmp_path)
    assert len(store) == 64
    assert store.skipped == ()
    expected = read_grey(source.images / store.names[10])
    assert_close(store.image(10)[0].numpy(), expected, rtol=0, atol=0)


@pytest.mark.skipif(not (REAL / "microscopy").is_dir(), reason=f"no microscopy folder in {REAL}; set DEEPBLUR_DATA")
def test_real_microscopy_opens(tmp_path, rng):
    store = open_store((Folder(str(REAL / "microscopy")),), tmp_path)
    assert len(store) == 14
    assert store.crops(8, (300, 480), rng).max() > 0.1
