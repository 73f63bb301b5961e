"""The nearest right name, for messages to the person who mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """``"; did you mean 'llama-2-7b'?"``, or the empty string where no known name is near.

    Letter case does not count, and a name that begins with ``word`` is nearer than one that resembles it.
    """
    names = {name.lower(): name for name in known}
    typed = str(word).lower()
    longer = [name for name in names if len(typed) > 2 and name.startswith(typed)]
    near = longer or difflib.get_close_matches(typed, names, n=1)
    return f"; did you mean {names[near[0]]!r}?" if near else ""
