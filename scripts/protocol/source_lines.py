"""The lines of a script, as Python and the JavaScript engine count them."""

from __future__ import annotations

import re

# str.splitlines also ends lines at form feeds, U+0085, U+2028 and others, which texts may hold.
_END = re.compile(r"\r\n|\r|\n")


def lines_of(code: str) -> list[str]:
    return _END.split(code)
