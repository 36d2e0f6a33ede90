"""The first table of a paper: paper_results/<paper>/<table>.yaml with a row to copy, all numbers unknown."""

from pathlib import Path

from data.common.errors import ReproduceError
from data.common.paths import ROOT
from reproduce.new.names import check_checkout, check_word
from reproduce.new.write import render, write_together

TABLE = "main"
NO_PAPERS = ("bench", "claims", "comparisons", "reference")  # folders of records/


def paper(name: str, root: Path = ROOT) -> list[Path]:
    """Write the template of `name`, PAPER or PAPER/TABLE -> its path. Without a table's name it is `main`.

    Raises ReproduceError for a table that exists, for a paper that exists and no table, and for bad names.
    """
    check_checkout(root)
    title, _, table = name.partition("/")
    check_word(title, "a paper")
    if title in NO_PAPERS:
        raise ReproduceError(f"{title!r} cannot name a paper: records/{title} holds something else.")
    if table or "/" in name:
        check_word(table, "a table")
    elif (root / "paper_results" / title).exists():
        raise ReproduceError(f"the paper {title!r} is there already; write {title}/TABLE for another table of it.")
    path = root / "paper_results" / title / f"{table or TABLE}.yaml"
    if path.exists():
        raise ReproduceError(f"{path.relative_to(root)} exists; nothing was written.")
    facts = {"paper": title, "table": table or TABLE, "headline": title.upper()}
    return write_together({path: render("paper.yaml", facts)})
