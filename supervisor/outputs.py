"""What a supervised process printed, read from its folder: `output.log`, and `output.log.1` that it was rotated to.

A reader keeps its file open, so that rotation takes nothing from it, and can be made anew at the position it had.
"""

from __future__ import annotations

import codecs
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

LOG = "output.log"
_OPENINGS = 5  # tries to open both files between two rotations


@dataclass(frozen=True)
class Position:
    """A place in a file: its inode, and the bytes before. As text: the two with a colon."""

    inode: int
    offset: int

    def __str__(self) -> str:
        """Return it as text."""
        return f"{self.inode}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Return the position that a text says. Raises `ValueError`."""
        inode, _, offset = text.partition(":")
        return cls(int(inode), int(offset))


@dataclass(frozen=True)
class Piece:
    """Some output, and the position behind it. `gap`: what was printed before it is lost, by more than one rotation."""

    text: str
    end: Position
    gap: bool = False


class Output:
    """A reader of one process' output. Every method may raise `OSError` for a file that cannot be read."""

    def __init__(self, folder: Path) -> None:
        """Open nothing yet."""
        self._newer = folder / LOG
        self._older = folder / f"{LOG}.1"
        self._file: IO[bytes] | None = None
        self._inode = 0
        self._gap = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def open_last(self, lines: int) -> bool:
        """Begin with the last `lines`; tell whether there is any output yet."""
        files = self._open_both()
        missing = lines
        for number, file in enumerate(files):
            start, missing = last_lines(file.read(), missing)
            if not missing or number == len(files) - 1:
                file.seek(start)
                self._take(file)
                break
        for file in files:
            if file is not self._file:
                file.close()
        return self._file is not None

    def open_at(self, position: Position) -> bool:
        """Go on at a position; where its file is gone, at what is left, after a gap. Tell whether there is any."""
        files = self._open_both()
        same = [file for file in files if _inode(file) == position.inode and _size(file) >= position.offset]
        wanted = next(iter(same or files[-1:]), None)
        for file in files:
            if file is not wanted:
                file.close()
        if wanted is None:
            return False
        self._gap = not same
        wanted.seek(position.offset if same else 0)
        self._take(wanted)
        return True

    def read(self, most: int) -> Piece | None:
        """Return what comes next, `most` bytes of it at most; None for nothing yet."""
        if self._file is None:
            return None
        data = self._file.read(most)
        following = None if data else self._following()
        if following is not None:
            data = self._file.read(most)  # printed between our last look and the rotation
            if data:
                following.close()
            else:
                rest = self._decoder.decode(b"", final=True)
                self._take(following)
                return Piece(rest, self._position(), self._told_gap()) if rest else self.read(most)
        if not data:
            return None
        text = self._decoder.decode(data)
        return Piece(text, self._position(), self._told_gap())

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _position(self) -> Position:
        """Return the position behind all whole characters that were read."""
        read = 0 if self._file is None else self._file.tell()
        return Position(self._inode, read - len(self._decoder.getstate()[0]))

    def _told_gap(self) -> bool:
        gap, self._gap = self._gap, False
        return gap

    def _take(self, file: IO[bytes]) -> None:
        self.close()
        self._file, self._inode = file, _inode(file)
        self._decoder.reset()

    def _open_both(self) -> list[IO[bytes]]:
        """Open what there is, the newer first; again when a rotation has come between."""
        for _ in range(_OPENINGS):
            files = [file for file in (_open(self._newer), _open(self._older)) if file is not None]
            if len({_inode(file) for file in files}) == len(files):
                return files
            for file in files:
                file.close()
        raise OSError(f"{self._newer} is rotated faster than it can be read")

    def _following(self) -> IO[bytes] | None:
        """Return the file that goes on after ours, or None while ours is the one that is written to."""
        files = self._open_both()
        inodes = [_inode(file) for file in files]
        if not files or inodes[0] == self._inode:
            kept = None
        elif self._inode in inodes or len(files) == 1:
            kept = files[0]
        else:
            kept, self._gap = files[1], True
        for file in files:
            if file is not kept:
                file.close()
        return kept


def last_lines(data: bytes, lines: int) -> tuple[int, int]:
    """Return where the last `lines` of a text begin, and how many are missing because it has fewer."""
    if lines == 0 or not data:
        return len(data), lines
    at = len(data) - data.endswith(b"\n")
    for found in range(1, lines + 1):
        at = data.rfind(b"\n", 0, at)
        if at < 0:
            return 0, lines - found
    return at + 1, 0


def _open(path: Path) -> IO[bytes] | None:
    try:
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        return None


def _inode(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_ino


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size
