"""What an argument names: `kind/ID` or `kind ID`, whole or by a beginning that only one has. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence

from supervisor.errors import NotFound, UsageError

_MOST = 8  # names that an error lists


def listed(names: Collection[str]) -> str:
    """Return names for a sentence, the first few of many."""
    shown = sorted(names)
    more = f" and {len(shown) - _MOST} more" if len(shown) > _MOST else ""
    return ", ".join(shown[:_MOST]) + more or "none"


def not_found(what: str, text: str, known: Collection[str]) -> NotFound:
    """Return the error for a name that nothing has, with the one that is likely to be meant."""
    close = difflib.get_close_matches(text, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {listed(known)}"
    return NotFound(f"no {what} {text!r}; {hint}")


def pick(what: str, text: str, known: Collection[str], suggested: Collection[str] = ()) -> str:
    """Return the one of `known` that `text` is, or that alone begins with it; an error names `suggested`, or those.

    Raises `NotFound` with a suggestion, and `UsageError` with the candidates when several begin so.
    """
    if text in known:
        return text
    found = [name for name in known if name.startswith(text)] if text else []
    if len(found) > 1:
        raise UsageError(f"{text!r} is the beginning of several: {listed(found)}; give more of it")
    if not found:
        raise not_found(what, text, suggested or known)
    return found[0]


def split(words: Sequence[str], kinds: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return the kind and the names that arguments say: `kind NAME…` or `kind/NAME…`; `kinds` holds the ways to say it.

    Raises `UsageError` for a kind that is none, or for two kinds at once.
    """
    if "/" not in words[0]:
        kind = _kind(words[0], kinds)
        return kind, [_bare(word, kind, kinds) for word in words[1:]]
    kind = _kind(words[0].partition("/")[0], kinds)
    return kind, [_bare(word, kind, kinds) for word in words]


def _bare(word: str, kind: str, kinds: Mapping[str, str]) -> str:
    """Return the name in `kind/NAME` or `NAME`."""
    said, slash, name = word.partition("/")
    if not slash:
        return word
    if _kind(said, kinds) != kind:
        raise UsageError(f"{word!r} is none of the {kind}: ask for one kind at a time")
    return name


def _kind(word: str, kinds: Mapping[str, str]) -> str:
    if word in kinds:
        return kinds[word]
    close = difflib.get_close_matches(word, kinds, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise UsageError(f"{word!r} is no kind: expected one of {', '.join(dict.fromkeys(kinds.values()))}{hint}")
