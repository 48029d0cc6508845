"""The table of docs/security.md, made from the rules that `fsmctl acl` writes: `python -m tests.security`.

With --check it only says whether the page is as it would be made.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from supervisor.acl import NODE_PREFIX, User, of_sentinel, users

PAGE = Path(__file__).parent.parent / "docs" / "security.md"
BEGIN, END = "<!-- table -->\n", "<!-- /table -->"
_HELLO = ("client", "ping", "hello", "auth", "quit", "select", "time")  # of everybody: said once below the table


def table() -> str:
    """Return what each user may do, one line for each set of commands with the keys that they are for."""
    lines = ["| user | may | on |", "|---|---|---|"]
    member = next(user for user in users("ns", ["NODE"], ["NODE"]) if user.name.startswith(NODE_PREFIX))
    for user in (*users("ns", ["NODE"], []), *of_sentinel()):
        for number, (commands, keys) in enumerate(_grants(user)):
            who = f"`{user.name}`: {user.purpose}" if number == 0 else ""
            lines.append(f"| {who} | {commands} | {keys} |")
        if user.name == member.name:
            lines.append(f"| `{user.name}` in the pool | {_more(user, member)} | |")
    everybody = ", ".join(f"`{name}`" for name in _HELLO)
    lines += [
        "",
        "`R`: to read only. `NODE` stands for each node, or the user's own. `-x` takes out what `@group` has",
        f"brought. Everybody may {everybody}, but of",
        "`client` only what harms nobody.",
    ]
    return "\n".join(lines) + "\n"


def _grants(user: User) -> Iterator[tuple[str, str]]:
    root = [rule for rule in user.rules if not rule.startswith("(")]
    for rule in (" ".join(root), *(rule.strip("()") for rule in user.rules if rule.startswith("("))):
        words = list(dict.fromkeys(rule.split()))
        commands = [word.removeprefix("+").lower() for word in words if word[0] in "+-"]
        shown = [name for name in commands if name not in _HELLO and name != "-client|tracking"]
        keys = [_key(word) for word in words if word[0] in "~%&"]
        yield " ".join(f"`{name}`".replace("|", r"\|") for name in shown), " ".join(keys)


def _key(word: str) -> str:
    access, _, key = word.partition("~") if word[0] != "&" else ("channel ", "", word[1:])
    short = re.sub(r"^ns:\*:", "…:", key).replace("ns:celery:", "celery:").replace("ns:", "")
    return f"{access.replace('%R', 'R ')}`{short}`"


def _more(alone: User, member: User) -> str:
    """Return which keys a member of the pool has besides; see that its commands are the same."""
    mine, theirs = ([{*re.findall(r"[^\s()]+", rule)} for rule in user.rules] for user in (alone, member))
    words = sorted({word for rule in theirs for word in rule} - {word for rule in mine for word in rule})
    assert all(word[0] in "&~%" for word in words), words
    return "the same on " + " ".join(_key(word) for word in words)


def page() -> str:
    """Return the page with the table as it is now."""
    text = PAGE.read_text()
    head, rest = text.split(BEGIN)
    return head + BEGIN + table() + END + rest.split(END, 1)[1]


if __name__ == "__main__":
    made = page()
    if "--check" in sys.argv and made != PAGE.read_text():
        sys.exit("docs/security.md is not as its rules make it: run `make diagrams`")
    PAGE.write_text(made)
