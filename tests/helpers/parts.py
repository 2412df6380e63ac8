"""Parts from outside, for the length of a test: the registries, the plug-ins and the added folders are put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from acdc_cli import plugins
from acdc_cli.config import command_line
from acdc_cli.config.schema import PART_REGISTRIES


@contextmanager
def own_parts() -> Iterator[None]:
    """Forget at the end what was registered inside."""
    before = {registry.kind: set(registry.names()) for registry in PART_REGISTRIES.values()}
    imported, added = dict(plugins._imported), list(command_line._added_dirs)
    try:
        yield
    finally:
        for registry in PART_REGISTRIES.values():
            for name in set(registry.names()) - before[registry.kind]:
                del registry._parts[name]
        plugins._imported.clear()
        plugins._imported.update(imported)
        command_line._added_dirs[:] = added
