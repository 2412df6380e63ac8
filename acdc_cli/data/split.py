"""How images in class folders are split where nobody has split them: by a hash of their paths.

Within each class the images are ordered by the SHA-256 of ``SEED/CLASS/PATH``, where CLASS/PATH is the path relative
to the source, with ``/`` between its parts. The first ``round(val_share * n)`` of the n images of the class are for
validation, but at least one and at most n - 1. No library's generator is drawn from, and an image that is added or
removed moves at most one other image of its class to the other split.
"""

from __future__ import annotations

import hashlib

from acdc_cli.data.source import SplitRule

RULE = "val: of each class the first round(val_share * n) images by the SHA-256 of split_seed/path, 1 to n - 1 of them"


def validation_paths(paths: list[str], rule: SplitRule) -> set[str]:
    """Return which images of a class are for validation.

    Args:
        paths: of the n >= 2 images of one class, relative to the source.
    """

    def key(path: str) -> bytes:
        return hashlib.sha256(f"{rule.split_seed}/{path}".encode(errors="surrogateescape")).digest()

    count = min(max(round(rule.val_share * len(paths)), 1), len(paths) - 1)
    return set(sorted(paths, key=key)[:count])
