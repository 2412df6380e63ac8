"""checksums.json: the SHA-256 of each file of a run folder that is read back.

Two files cannot be replaced at one moment. So a file's new sum is added to this record before the file is renamed into
its place, and the old sum is taken out afterwards: in between both are valid. A process that is killed there leaves a
file that has one of the two; a file that has neither is damaged.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from acdc_cli.records.files import Damaged, read_object
from acdc_cli.system.files import file_sum, replace_file, replace_json

NAME = "checksums.json"
REMEDY = "the run's command makes it again"


class Checksums:
    """The sums of a run folder, by the files' paths relative to it.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._folder = folder

    def read(self) -> dict[str, list[str]]:
        """Relative path -> the sums that the file may have: one, or two where a process was killed.

        Empty for a folder that an older version of this program has written. Raises Damaged.
        """
        if not self.path.exists():
            return {}
        read = read_object(self.path, {}, REMEDY)
        sums = {name: [entry] if isinstance(entry, str) else entry for name, entry in read.items()}
        for name, entry in sums.items():
            if not isinstance(entry, list) or not all(isinstance(each, str) for each in entry):
                raise Damaged(self.path, f"{name} has no sum", REMEDY)
        return sums

    def knows(self, path: Path) -> bool:
        """Whether a file was written with a sum, wherever it is now. Raises Damaged."""
        return self._name(path) in self.read()

    def check(self, path: Path, remedy: str = REMEDY, found: str | None = None) -> None:
        """Raise Damaged if a file does not have the sum that was recorded; a file without a record passes.

        Args:
            remedy: what the error tells the user to do.
            found: the file's sum, if the caller has computed it from what it has read.
        """
        if (wanted := self.read().get(self._name(path))) is None:
            return
        try:
            found = found or file_sum(path)
        except OSError as error:
            raise Damaged(path, error.strerror or str(error), remedy) from None
        if found not in wanted:
            raise Damaged(path, f"not the bytes that were written: its SHA-256 is not the one in {NAME}", remedy)

    def replace(self, path: Path, write: Callable[[Path], object]) -> None:
        """Replace a file of the folder whole, as ``replace_file`` does, and its sum with it."""
        name, sums = self._name(path), self._read_to_write()
        before = sums.get(name, []) if path.exists() else []

        def announce(temporary: Path) -> None:
            new = file_sum(temporary)
            sums[name] = [*(each for each in before if each != new), new]
            self._write(sums)

        replace_file(path, write, announce)
        if len(sums[name]) > 1:
            sums[name] = sums[name][-1:]
            self._write(sums)

    def forget(self, path: Path) -> None:
        """Drop a file's sum, before the file is changed in place."""
        sums = self._read_to_write()
        if sums.pop(self._name(path), None) is not None:
            self._write(sums)

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()

    def _read_to_write(self) -> dict[str, list[str]]:
        """The sums, or none where the record itself is damaged: what is written from now on has sums again."""
        try:
            return self.read()
        except Damaged:
            return {}

    def _write(self, sums: dict[str, list[str]]) -> None:
        replace_json(self.path, {name: entry[0] if len(entry) == 1 else entry for name, entry in sums.items()})
