"""Run by mkdocs-gen-files: writes the generated pages into the site."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import mkdocs_gen_files  # noqa: E402
from gen import data_page, facts, pages, row_pages  # noqa: E402

from reproduce import published  # noqa: E402


def main() -> None:
    tables = published.tables()
    written = {"results/index.md": pages.index(tables), "rows/index.md": row_pages.index(tables)}
    written |= {pages.table_page(name): pages.results(table) for name, table in tables.items()}
    written |= {pages.row_page(row_id): row_pages.page(row_id) for row_id in sorted(facts.can_run())}
    written["data.md"] = data_page.page()
    for path, text in written.items():
        with mkdocs_gen_files.open(path, "w") as file:
            file.write(text)


main()
