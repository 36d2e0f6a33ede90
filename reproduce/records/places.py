"""A record names no place of the machine that wrote it: a home folder has a person's name."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from data.common.paths import ROOT, outputs_dir, records_dir
from data.common.text import printable

KEPT = ("provenance", "deviations")  # text of this repository's, and of the machine by design
# An absolute path within a text: after a space, a quote, a bracket, or `=` of an override.
_PATH = re.compile(r"""(?:(?<=[\s'"(\[{=,:])|^)/(?![/\s])[^\s'"()\[\]{},;:]+""")


_ODD = re.compile(r"""[\s'"()\[\]{},;:]""")  # letters at which `_PATH` ends: a value that is a path may hold them


def without_places(record: dict[str, Any]) -> dict[str, Any]:
    """The record with absolute paths cut and control characters escaped.

    A path below the outputs, the records, the checkout or the home folder begins with <outputs>, <records>,
    <checkout> or ~; of any other, the last name stays.
    """
    known = {outputs_dir(): "<outputs>", records_dir(): "<records>", ROOT: "<checkout>"}
    with suppress(RuntimeError):  # a user without a home, as containers have them
        known[Path.home()] = "~"
    places = {str(form): word for path, word in known.items() for form in (path.absolute(), path.resolve())}
    places = {place: word for place, word in places.items() if len(place) > 1}  # a home may be the root
    order = sorted(places, key=len, reverse=True)

    def cut(value: Any) -> Any:
        if isinstance(value, str):
            return printable(_cut(value, {place: places[place] for place in order}))
        if isinstance(value, dict):
            return {cut(key) if isinstance(key, str) else key: cut(inner) for key, inner in value.items()}
        return [cut(inner) for inner in value] if isinstance(value, list | tuple) else value

    return {key: value if key in KEPT else cut(value) for key, value in record.items()}


def _cut(text: str, places: dict[str, str]) -> str:
    for place, word in places.items():
        text = re.sub(rf"{re.escape(place)}(?![\w.-])", word, text)
    key, sep, value = text.partition("=")
    if text.startswith("/") and _ODD.search(text):
        return f"<elsewhere>/{text.rstrip('/').rpartition('/')[2]}"
    if sep and value.startswith("/") and _ODD.search(value):  # an override
        return f"{key}=<elsewhere>/{value.rstrip('/').rpartition('/')[2]}"
    return _PATH.sub(lambda found: f"<elsewhere>/{found[0].rstrip('/').rpartition('/')[2]}", text)
