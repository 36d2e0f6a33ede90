"""Files from templates, all of them or none."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.common.errors import ReproduceError
from data.common.partials import in_the_making

FOLDER = Path(__file__).parent / "templates"


def render(name: str, facts: Mapping[str, Any]) -> str:
    """The text of templates/<name>.jinja."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(FOLDER),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        autoescape=False,  # what is written is Python and YAML
    )
    return templates.get_template(f"{name}.jinja").render(**facts)


def write_together(texts: Mapping[Path, str]) -> list[Path]:
    """Write new files beside their places, then move them there. Raises ReproduceError; then none of them is there.

    A file that exists already is never replaced.
    """
    partials = {path: in_the_making(path) for path in texts}
    made: list[Path] = []
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            partials[path].write_text(text, encoding="utf-8")
        for path, partial in partials.items():
            os.link(partial, path)  # unlike a move, it fails where the name is taken
            made.append(path)
    except OSError as error:
        for path in made:
            path.unlink()
        where = error.filename2 or error.filename
        raise ReproduceError(f"cannot write {where}: {error.strerror}. Nothing was written.") from error
    finally:
        for partial in partials.values():
            with contextlib.suppress(OSError):
                partial.unlink()
    return made
