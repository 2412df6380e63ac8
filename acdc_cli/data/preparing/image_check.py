"""Every image file is decoded and hashed before anything is made of it; a journal keeps what has been done."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from pathlib import Path

import numpy as np

from acdc_cli.data.image_files import FileFacts, ImageFiles, as_rgb
from acdc_cli.errors import naming

CHUNK = 32  # files a task


def image_facts(root: Path, path: str) -> FileFacts:
    """Hash and decode one file. Whatever is wrong with it is its ``problem``."""
    from PIL import Image

    size = modified = width = height = 0
    digest = ""
    try:
        status = os.stat(root / path)
        size, modified = status.st_size, status.st_mtime_ns
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a file")  # a pipe would be waited for
        content = (root / path).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if not _fits_a_list(path):
            raise ValueError("its name has a tab, a line break or bytes that are not UTF-8, which the list cannot hold")
        if not content:
            raise ValueError("empty, 0 bytes")
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            # A JPEG is read to its end, at an eighth of the size: what is missing shows as well, in less time.
            image.draft("RGB", (1, 1))
            image.load()
            as_rgb(image)
        if max(width, height) > np.iinfo(np.uint16).max:
            raise ValueError(f"{width}x{height} pixels are more than FFCV's format can say")
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        return FileFacts(path, size, modified, digest, width, height, _problem(error))
    return FileFacts(path, size, modified, digest, width, height, "")


def _fits_a_list(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return "\t" not in path and "\n" not in path


def _problem(error: Exception) -> str:
    """Without the path, which is said beside it, and the same every time."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not an image of a kind that Pillow knows"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def check_images(files: ImageFiles, journal: Path, workers: int, advance: Callable[[int], None]) -> list[FileFacts]:
    """The facts of every file, in their order. What the journal has of an unchanged file is not looked at again.

    Args:
        journal: file that finished work is appended to; a line cut short by a crash is ignored.
        workers: threads (decoding and hashing leave Python's lock).
        advance: takes the number of files that are done since the last call.
    """
    known = _read_journal(journal)
    todo = [path for path in files.paths if not _is_current(known.get(path), files.root)]
    advance(len(files.paths) - len(todo))
    chunks = [todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK)]
    executor = ThreadPoolExecutor(max_workers=max(1, workers))
    try:
        with naming(journal), warnings.catch_warnings(), journal.open("a", encoding="utf-8") as file:
            warnings.simplefilter("ignore")  # Pillow's on odd EXIF blocks: not about the pixels
            for facts in executor.map(lambda chunk: [image_facts(files.root, path) for path in chunk], chunks):
                file.writelines(json.dumps(astuple(one)) + "\n" for one in facts)
                known |= {one.path: one for one in facts}
                advance(len(facts))
    finally:
        executor.shutdown(cancel_futures=True)
    return [known[path] for path in files.paths]


def _is_current(facts: FileFacts | None, root: Path) -> bool:
    if facts is None:
        return False
    try:
        status = os.stat(root / facts.path)
    except OSError:
        return False
    return (facts.bytes, facts.modified_ns) == (status.st_size, status.st_mtime_ns)


def _read_journal(journal: Path) -> dict[str, FileFacts]:
    if not journal.is_file():
        return {}
    try:
        content = journal.read_text(encoding="utf-8")
        facts = [FileFacts(*json.loads(line)) for line in content.split("\n")[:-1]]
    except (ValueError, TypeError, RecursionError):  # damaged: every file is looked at again
        journal.unlink()
        return {}
    if not content.endswith("\n"):  # cut short: what is appended must not continue that line
        journal.write_text(content[: content.rfind("\n") + 1], encoding="utf-8")
    return {one.path: one for one in facts}


def readable(files: ImageFiles, facts: list[FileFacts]) -> tuple[ImageFiles, list[FileFacts]]:
    """The files that can be used, with their facts."""
    keep = np.array([not one.problem for one in facts], bool)
    kept = [one for one in facts if not one.problem]
    return ImageFiles(files.root, [one.path for one in kept], files.labels[keep], files.class_names), kept


def content_hash(files: ImageFiles, facts: list[FileFacts]) -> str:
    """SHA-256 over every sample's path, label and file: what the split holds, whichever loader reads it."""
    digest = hashlib.sha256()
    for one, label in zip(facts, files.labels.tolist(), strict=True):
        digest.update(f"{one.path}\t{label}\t{one.sha256}\n".encode())
    return digest.hexdigest()
