"""Tables of algorithms on the same data (configs/matrices) as markdown."""

from gen import facts
from gen.tables import table

from reproduce.config.matrices import matrix
from reproduce.report.matrices import filled


def algorithms_on(name: str) -> str:
    """The table of configs/matrices/<name>.yaml, its marks, and what the runs of each column had."""
    found = filled(matrix(name), facts.all_records())
    cells = [[*line[:2], *(text.replace(" ", "\u00a0") for text in line[2:])] for line in found.cells[1:]]
    parts = [found.caption, f"{found.filled} of {found.wanted} cells are recorded.", table(found.cells[0], cells, 1)]
    parts += found.notes
    parts += ["What the runs of each column had:", table(found.budgets[0], found.budgets[1:])]
    return "\n\n".join(parts)
