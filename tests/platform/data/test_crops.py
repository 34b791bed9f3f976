"""Random crops of a store of images: every place, image and orientation alike, on a CPU and on a GPU."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from deepblur.platform.data.sources import DeadLeaves, Folder, Photos
from deepblur.platform.data.store import ImageStore, open_store


def on_device(store: ImageStore) -> ImageStore:
    """The store as a GPU would hold it."""
    return replace(store, buffer=torch.from_numpy(np.array(store.pixels)))


@pytest.mark.parametrize("size", [(16, 16), (21, 18), (18, 40)])
@pytest.mark.parametrize("augment", [False, True])
def test_slicing_and_gathering_cut_the_same_crops(store, size, augment):
    sliced, gathered = (
        s.crops(200, size, torch.Generator().manual_seed(4), augment) for s in (store, on_device(store))
    )
    assert sliced.shape == (200, 1, *size)
    assert sliced.dtype == torch.float32
    assert torch.equal(sliced, gathered)
    assert torch.equal(on_device(store).image(2), store.image(2))


def test_crops_are_a_function_of_the_generator(store):
    one, two = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    first = store.crops(8, (16, 16), one)
    assert torch.equal(first, store.crops(8, (16, 16), two))
    assert not torch.equal(first, store.crops(8, (16, 16), one))


def test_every_place_image_and_orientation_occurs_equally(tmp_path, rng):
    """Two images of 9x10 with distinct pixels: a crop of 9x9 tells the image, the place and the orientation."""
    (tmp_path / "images").mkdir()
    for k in range(2):
        pixels = np.arange(90, dtype=np.uint8).reshape(9, 10) + 90 * k
        Image.fromarray(pixels).save(tmp_path / "images" / f"{k}.png")
    store = open_store((Folder(str(tmp_path / "images")),), tmp_path / "cache")
    crops = store.crops(6400, (9, 9), rng).mul(255).round().int()
    kinds, counts = torch.unique(crops.flatten(1), dim=0, return_counts=True)
    assert len(kinds) == 2 * 2 * 8
    assert counts.min() > 140  # 200 expected, standard deviation 14
    plain = store.crops(100, (9, 9), rng, augment=False).mul(255).round().int()
    assert len(torch.unique(plain.flatten(1), dim=0)) == 4
    assert (plain.diff(dim=-1) == 1).all()


def test_the_sources_of_a_mixture_weigh_alike(tmp_path, rng):
    many, few = DeadLeaves(12, 32, seed=0), Photos("validation")
    store = open_store((many, few), tmp_path, progress=False)
    images = store._draw_windows(4000, (16, 16), rng, augment=True).image
    assert abs((images >= 12).double().mean() - 0.5) < 0.03
    assert_close(torch.bincount(images[images < 12]) / 4000, torch.full((12,), 0.5 / 12), atol=0.015, rtol=0)


def test_images_smaller_than_the_crop_are_never_picked(store, rng):
    # heights 20 … 32, widths 50 … 34: only the last image holds 32 rows
    crops = store.crops(50, (32, 30), rng, augment=False)
    last = store.image(4)[0]
    assert all(any(torch.equal(c[0], last[:, k : k + 30]) for k in range(5)) for c in crops)
    with pytest.raises(ValueError, match=r"no image holds a crop of 33x30; the largest is \d+x\d+; ask for smaller"):
        store.crops(1, (33, 30), rng)


def test_the_store_stays_mapped_on_a_cpu(store):
    assert store.to("cpu").buffer is None
    assert store.device.type == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_holds_the_pixels_and_cuts_the_same_crops(store):
    there = store.to("cuda")
    crops = there.crops(50, (16, 18), torch.Generator().manual_seed(0))
    assert crops.device.type == "cuda"
    assert torch.equal(crops.cpu(), store.crops(50, (16, 18), torch.Generator().manual_seed(0)))
    assert there.crops(2, (16, 18), torch.Generator("cuda").manual_seed(0)).device.type == "cuda"
