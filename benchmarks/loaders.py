"""Compare the training images per second of four loaders.

    python benchmarks/loaders.py [--resolution 224] [--workers 2] [--images 1000] [--rounds 5]

The loaders are our FFCV loader, stock FFCV, our torch loader, and torchvision's ImageFolder with DataLoader. All read
the same photographs: crops of those in scikit-learn and scikit-image, of ImageNet's size (500 x 375, in both
orientations). These are stored as JPEG files of quality 92, and in one .beton file. The .beton file is written either
as ffcv-imagenet does it (500 pixels, quality 90, half of the images as raw pixels) or with all images as JPEG.

All loaders do the same work: decode, random resized crop, random flip, batches of uint8 in random order. In each round
every loader runs one epoch, so that a machine that slows down affects all of them. A ratio is the median over the
rounds of the ratio within a round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from machine import keep
from PIL import Image
from rich.console import Console
from rich.table import Table

from acdc_cli.data.dataset import Dataset
from acdc_cli.data.loading.batches import in_batches
from acdc_cli.data.loading.crops import Crops
from acdc_cli.data.loading.input_step import Augmentation
from acdc_cli.data.loading.loaders import open_loaders
from acdc_cli.data.order import sample_order
from acdc_cli.data.preparing.patches import PHOTOGRAPHS
from acdc_cli.data.preparing.prepare import prepare
from acdc_cli.data.view import View
from acdc_cli.data.write_options import WriteOptions

BATCH = 64
SCALE_MIN = 0.08
SEED = 0
LONG_SIDE, SHORT_SIDE, JPEG_QUALITY = 500, 375, 92
WRITTEN = {"half raw, quality 90": WriteOptions(500, 90, 0.5), "JPEG, quality 90": WriteOptions(500, 90, 0.0)}

Epoch = Callable[[int], Iterator[int]]  # number of the epoch -> sizes of its batches


def write_photographs(folder: Path, images: int) -> Path:
    """Write the photographs as FOLDER/{train,val}/CLASS/NNNN.jpg. Returns the folder."""
    rng = np.random.default_rng(SEED)
    for name, (read, key) in sorted(PHOTOGRAPHS.items()):
        photograph = Image.fromarray(read(key))
        for number in range(-(-images // len(PHOTOGRAPHS))):
            width, height = (LONG_SIDE, SHORT_SIDE) if rng.random() < 0.75 else (SHORT_SIDE, LONG_SIDE)
            largest = min(photograph.width / width, photograph.height / height)
            across, down = (round(side * largest * rng.uniform(0.7, 1)) for side in (width, height))
            left, top = (int(rng.integers(free + 1)) for free in (photograph.width - across, photograph.height - down))
            crop = photograph.crop((left, top, left + across, top + down)).resize((width, height))
            for split in ("train", "val") if number == 0 else ("train",):
                target = folder / split / name
                target.mkdir(parents=True, exist_ok=True)
                crop.save(target / f"{number:04d}.jpg", quality=JPEG_QUALITY)
    return folder


def ours(kind: str, dataset: Dataset, resolution: int, workers: int) -> Epoch:
    crops = Crops(SEED, SCALE_MIN, 0.875)
    loader = open_loaders(kind, dataset, workers, torch.device("cpu"), crops)["train"]
    flip = Augmentation(0, True, SEED)

    def epoch(number: int) -> Iterator[int]:
        order = sample_order(SEED, number, loader.count)
        for images, _, samples in loader.batches(in_batches(order, BATCH), View(resolution, number)):
            yield len(flip(images, samples, number))

    return epoch


def stock_ffcv(dataset: Dataset, resolution: int, workers: int) -> Epoch:
    from ffcv.fields.basics import IntDecoder
    from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import RandomHorizontalFlip, ToTensor

    decoder = RandomResizedCropRGBImageDecoder((resolution, resolution), scale=(SCALE_MIN, 1.0))
    loader = Loader(
        str(dataset.beton("train")),
        batch_size=BATCH,
        num_workers=workers,
        order=OrderOption.RANDOM,
        os_cache=True,
        drop_last=False,
        pipelines={"image": [decoder, RandomHorizontalFlip(), ToTensor()], "label": [IntDecoder(), ToTensor()]},
    )
    return lambda number: (len(images) for images, _ in loader)


def image_folder(source: Path, resolution: int, workers: int) -> Epoch:
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    steps = [v2.RandomResizedCrop(resolution, scale=(SCALE_MIN, 1.0)), v2.RandomHorizontalFlip(), v2.PILToTensor()]
    images = ImageFolder(str(source / "train"), v2.Compose(steps))
    loader = torch.utils.data.DataLoader(images, BATCH, shuffle=True, num_workers=workers, persistent_workers=True)
    return lambda number: (len(batch) for batch, _ in loader)


def rate(epoch: Epoch, number: int) -> float:
    start = time.perf_counter()
    images = sum(epoch(number))
    return images / (time.perf_counter() - start)


def measure(source: Path, written: str, resolution: int, workers: int, rounds: int) -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory() as folder:
        dataset = prepare("imagenet", source, Path(folder) / "set", WRITTEN[written])
        ways = {
            "acdc_cli, loader=ffcv": ours("ffcv", dataset, resolution, workers),
            "stock FFCV": stock_ffcv(dataset, resolution, workers),
            "acdc_cli, loader=torch": ours("torch", dataset, resolution, workers),
            "torchvision ImageFolder + DataLoader": image_folder(source, resolution, workers),
        }
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(rounds + 1):
            for way, epoch in ways.items():
                torch.set_num_threads(1)  # stock FFCV changes the number of threads
                images = rate(epoch, number)
                if number:  # the first epoch is left out, because FFCV compiles in it
                    rates[way].append(images)
    first = rates[next(iter(ways))]
    return [
        {
            "beton": written,
            "resolution": resolution,
            "way": way,
            "images_per_second": round(statistics.median(found)),
            "slowest": round(min(found)),
            "fastest": round(max(found)),
            "loader=ffcv_over_it": round(statistics.median(a / b for a, b in zip(first, found, strict=True)), 2),
        }
        for way, found in rates.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, nargs="+", default=[160, 224])
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        source = write_photographs(Path(folder), options.images)
        rows = [
            row
            for written in WRITTEN
            for resolution in options.resolution
            for row in measure(source, written, resolution, options.workers, options.rounds)
        ]
    table = Table(title=f"{options.images} photographs, {options.workers} workers", title_justify="left")
    for column in rows[0]:
        table.add_column(column.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()))
    Console(width=150).print(table)
    print(keep("loaders", torch.device("cpu"), rows))


if __name__ == "__main__":
    main()
