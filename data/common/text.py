"""Text of unknown origin, before a terminal or a page shows it."""

import re

# C0 but for tab and newline, delete, C1, and what turns the direction of writing.
_CODES = "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]"
CONTROL = re.compile(_CODES)
_ESCAPED = re.compile(r"(?<!\\)(?:\\\\)*(\\(?:[bfr]|u00(?:0[0-8bcef]|1.|7f|8.|9.)|u20(?:0[ef]|2[a-e]|6[6-9])))")


def printable(text: str) -> str:
    """The text with every control character as its escape, e.g. `\\x1b`; newlines and tabs stay."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def control_character(text: str) -> str:
    """The first control character in any string of a JSON document's text, escaped; empty where there is none."""
    found = _ESCAPED.search(text) if "\\" in text else None
    return found[1] if found else ""
