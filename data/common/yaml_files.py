"""YAML files that people write. A key that stands twice is a fault: the first of the two would vanish unsaid."""

from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from data.common.errors import ReproduceError
from data.common.foreign import check_regular


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The safe loader, written in C where PyYAML was built with it."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        first: dict[tuple[str, Any], int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode):
                continue
            line, known = key.start_mark.line + 1, first.get((key.tag, key.value))
            if known is not None:
                raise ConstructorError(None, None, f"the key {key.value} stands twice, on lines {known} and {line}")
            first[key.tag, key.value] = line
        return super().construct_mapping(node, deep)


def read_yaml(file: Path, where: str) -> Any:
    """What the file holds. Raises ReproduceError, beginning with `where`, for a file that cannot be read."""
    try:
        check_regular(file)
        return yaml.load(file.read_text(encoding="utf-8"), Loader)
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise ReproduceError(f"{where} cannot be read as YAML: {error}") from error
