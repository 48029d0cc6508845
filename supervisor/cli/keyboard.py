"""Keys of a terminal, read one by one; and the terminal given back as it was."""

from __future__ import annotations

import codecs
import os
import re
import select
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

_NAMED = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1b[5~": "pgup",
    "\x1b[6~": "pgdn",
    "\x1b[H": "home",
    "\x1b[F": "end",
    "\x1bOH": "home",
    "\x1bOF": "end",
    "\x1b[1~": "home",
    "\x1b[4~": "end",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\x08": "backspace",
    "\x1b": "esc",
}
_FORM = re.compile(r"\x1b\[[0-9;]*[A-Za-z~]|\x1bO.|[\s\S]")  # one key: a sequence, or a character


def keys_of(text: str) -> list[str]:
    """Return the keys that a terminal's input stands for: characters, and names as "up"; unknown sequences are none."""
    found = (_NAMED.get(part, part) for part in _FORM.findall(text))
    return [key for key in found if not key.startswith("\x1b")]


class Keyboard:
    """The standard input of this process; without a terminal there it has no keys, and waiting is just that."""

    def __init__(self) -> None:
        """Look whether there is a terminal."""
        self._is_there = sys.stdin is not None and sys.stdin.isatty()
        self._text = codecs.getincrementaldecoder("utf-8")("ignore")

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Have keys come at once and unseen; whatever happens, the terminal is then as it was."""
        if not self._is_there:
            yield
            return
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
        try:
            tty.setcbreak(descriptor)
            yield
        finally:
            termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)

    def keys(self, timeout: float) -> list[str]:
        """Return the keys pressed within `timeout` seconds, as soon as there are any."""
        if not self._is_there:
            select.select([], [], [], timeout)
            return []
        descriptor = sys.stdin.fileno()
        if not select.select([descriptor], [], [], timeout)[0]:
            return []
        found = os.read(descriptor, 1024)
        if not found:  # the terminal is gone
            self._is_there = False
        return keys_of(self._text.decode(found))
