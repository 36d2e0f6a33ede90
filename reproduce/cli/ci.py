"""Results for a CI: JUnit XML, and a markdown summary of a job."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from xml.etree import ElementTree

import typer

from data.common.errors import ReproduceError
from data.common.files import write_text
from data.common.text import printable
from reproduce.cli.format import mean_std, word

Junit = Annotated[
    Path | None, typer.Option("--junit", metavar="FILE", help="Write the results as JUnit XML.", show_default=False)
]
Summary = Annotated[
    Path | None,
    typer.Option(
        "--summary", metavar="FILE", help="Add a markdown table, e.g. to $GITHUB_STEP_SUMMARY.", show_default=False
    ),
]
KINDS = {1: "failure", 2: "skipped", 3: "skipped"}  # of an exit code; 0 passes, every other one is an error


def check(junit: Path | None, summary: Path | None) -> None:
    """Raises ReproduceError, before anything runs, where a file could not be written afterwards."""
    for option, path in (("--junit", junit), ("--summary", summary)):
        if path is None:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "it is a folder")
            if not os.access(path if path.exists() else path.parent, os.W_OK):
                raise PermissionError(errno.EACCES, "permission denied")
        except OSError as error:
            said = f"{option} {printable(str(path))} cannot be written: {error.strerror or error}."
            raise ReproduceError(f"{said} Name a file in a folder that is writable.") from error
    if junit is not None and summary is not None and junit.resolve() == summary.resolve() and not _is_device(junit):
        raise ReproduceError("--junit and --summary name the same file, which cannot hold both.")


def _is_device(path: Path) -> bool:
    """A pipe, a terminal, /dev/null: nothing is put in its place."""
    return path.exists() and not path.is_file()


def write(documents: Sequence[dict[str, Any]], junit: Path | None, summary: Path | None, title: str) -> None:
    """Both files where they are asked for, from the documents that --json prints of rows, claims or the gate."""
    if junit is not None:
        text = _encodable(junit_xml(documents, title))
        junit.write_text(text, encoding="utf-8") if _is_device(junit) else write_text(junit.resolve(), text)
    if summary is not None:
        with open(summary, "a", encoding="utf-8") as file:  # as the CI's own commands add to it, also through a link
            file.write(_encodable(markdown(documents, title)))


def _encodable(text: str) -> str:
    """The text with bytes of file names that are no UTF-8 escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def junit_xml(documents: Sequence[dict[str, Any]], title: str) -> str:
    """A suite with a case for each document: BELOW, ABOVE, FAILS and WORSE fail; what decides nothing is skipped. A
    sweep's points, and several algorithms that the gate ran on a row, are cases of their own names."""
    kinds = [KINDS.get(d["exit_code"], "" if d["exit_code"] == 0 else "error") for d in documents]
    counts = {"failures": kinds.count("failure"), "skipped": kinds.count("skipped"), "errors": kinds.count("error")}
    sizes = {"tests": str(len(documents)), **{name: str(n) for name, n in counts.items()}}
    suites = ElementTree.Element("testsuites", {"name": "reproduce", **sizes})
    suite = ElementTree.SubElement(suites, "testsuite", {"name": title, **sizes})
    for document, kind in zip(documents, kinds, strict=True):
        place, _, name = document["row"].rpartition("/")
        seconds = (document.get("time") or {}).get("wall_s") or 0
        name = " ".join([name, *document.get("point", [])])
        facts = {"classname": place.replace("/", "."), "name": name, "time": f"{seconds:.2f}"}
        case = ElementTree.SubElement(suite, "testcase", facts)
        if kind:
            found, more = _found(document)
            ElementTree.SubElement(case, kind, {"message": _clean(found)}).text = _clean(more)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def markdown(documents: Sequence[dict[str, Any]], title: str) -> str:
    """A heading and a table of rows and what was found."""
    lines = [f"### {title}", "", "| row | found | facts |", "| --- | --- | --- |"]
    for document in documents:
        found, more = _found(document)
        cells = [f"`{' '.join([document['row'], *document.get('point', [])])}`", found, more]
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", "; ") for cell in cells) + " |")
    return "\n".join([*lines, "", ""])


def _found(document: dict[str, Any]) -> tuple[str, str]:
    """(the verdict in words, the facts behind it, a line each)."""
    if "error" in document:
        return "ERROR", document["error"]
    if "batches" in document:
        return "fine" if document["passed"] else "WORSE", "\n".join(document["batches"])
    if "verdict" not in document:
        from reproduce.records import check_line

        return document["state"], "\n".join(map(check_line, document["checks"]))
    v = document["verdict"]
    scores = [] if v["mean"] is None else [f"ours {mean_std(v['mean'], v['std'], v['n'])}"]
    scores += [] if v["theirs"] is None else [f"theirs {v['theirs']:.6g}"]
    return word(v), "\n".join([*scores, *v["reasons"]])


def _clean(text: str) -> str:
    """The text without the control characters that XML cannot hold."""
    return "".join(c for c in text if c in "\t\n" or ord(c) >= 32)
