"""Tables of algorithms on the same data: configs/matrices/<name>.yaml says which run belongs into which cell."""

from dataclasses import dataclass
from string import Formatter
from typing import Self

from pydantic import Field, model_validator

from data.common.errors import ReproduceError, nearest
from data.common.paths import CONFIGS
from data.common.validation import Model, checked
from data.common.yaml_files import read_yaml
from reproduce.config.settings import Settings
from reproduce.config.today import composed_today
from reproduce.config.words import words_of

LINE = "line"


class MatrixFile(Model):
    """`columns`: a head and its command, a row with overrides in which {line} stands for the name of the line, and
    other {words} for what the line says of them. `data_of`: the column whose dataset the others are held against.
    `metric`: the metric of every score in it."""

    title: str
    text: str
    metric: str
    data_of: str
    columns: dict[str, str] = Field(min_length=1)
    lines: dict[str, dict[str, str]] = Field(min_length=1)

    @model_validator(mode="after")
    def _words_are_known(self) -> Self:
        if self.data_of not in self.columns:
            raise ValueError(f"data_of={self.data_of!r} is no column.{nearest(self.data_of, list(self.columns))}")
        for head, command in self.columns.items():
            try:
                asked = [word for _, word, _, _ in Formatter().parse(command) if word is not None]
            except ValueError as error:
                raise ValueError(f"columns.{head}: {command!r}: {error}") from error
            for name, words in self.lines.items():
                if missing := [word for word in asked if word not in (LINE, *words)]:
                    raise ValueError(f"columns.{head} asks for {{{missing[0]}}}, which lines.{name} does not say")
        return self

    def command(self, head: str, line: str) -> str:
        """The command of a cell, without `reproduce`."""
        return self.columns[head].format(**self.lines[line] | {LINE: line})


@dataclass(frozen=True)
class Matrix:
    """A file with what its cells run: by (head, line) the settings, or why there are none."""

    name: str
    file: MatrixFile
    cells: dict[tuple[str, str], Settings | str]


def matrix_names() -> list[str]:
    """The files of configs/matrices."""
    return sorted(path.stem for path in (CONFIGS / "matrices").glob("*.yaml"))


def matrix(name: str) -> Matrix:
    """The matrix of a file. Raises ReproduceError for an unknown name, and for a file that names what is not there."""
    known = matrix_names()
    if name not in known:
        raise ReproduceError(f"no matrix named {name!r} in configs/matrices.{nearest(name, known)}")
    where = f"configs/matrices/{name}.yaml"
    file = checked(MatrixFile, read_yaml(CONFIGS / "matrices" / f"{name}.yaml", where), where, noun="key")
    keys = [(head, line) for head in file.columns for line in file.lines]
    texts = [file.command(*key) for key in keys]
    commands = [words_of(text, f"{where}: {text!r}", "write a row and its overrides") for text in texts]
    settings = composed_today([(row, overrides) for row, *overrides in commands])
    cells = dict(zip(keys, settings, strict=True))
    for line in file.lines:
        stated = {head: cell.data.id for head in file.columns if isinstance(cell := cells[head, line], Settings)}
        if len(set(stated.values())) > 1:
            says = ", ".join(f"{head} {data}" for head, data in stated.items())
            raise ReproduceError(f"{where}: line {line} has several datasets ({says}); its columns must read one.")
    return Matrix(name, file, cells)
