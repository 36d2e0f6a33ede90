"""JSON Schemas of the files that people write, for editors and docs: `python -m reproduce.schemas` writes them.

configs/schemas/<kind>.json; .vscode/settings.json tells which files each is for. A test holds them to the models.
"""

import json
from typing import Any

from data.catalog import schema as catalog
from data.common.files import write_text
from data.common.paths import CONFIGS
from lit_modules import algo_config, algorithms
from reproduce import published, records
from reproduce.claims.schema import Claim
from reproduce.config.matrices import MatrixFile
from reproduce.config.schema import GROUPS, RowFile
from reproduce.jobs.launchers import Launcher

FOLDER = CONFIGS / "schemas"


def schemas() -> dict[str, dict[str, Any]]:
    """{kind: JSON Schema}."""
    algos = {name: algo_config(name).model_json_schema() for name in algorithms()}
    return {
        "row": _row(algos),
        "claim": Claim.model_json_schema(),
        "matrix": MatrixFile.model_json_schema(),
        "launcher": {"type": "object", "properties": {"launcher": _partial(Launcher.model_json_schema())}},
        "table": published.json_schema(),
        "dataset": catalog.json_schema(),
        "record": {"anyOf": list(records.json_schema().values())},
        **{f"algo-{name}": _partial(schema) for name, schema in algos.items()},
    }


def _row(algos: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A row's file states parts of its groups; the rest comes from the files that its defaults name."""
    row = RowFile.model_json_schema()
    for group, model in GROUPS.items():
        row["properties"][group] = _partial(model.model_json_schema())
    keys = {key: value for schema in algos.values() for key, value in schema["properties"].items()}
    row["properties"]["algo"] = {"type": "object", "properties": keys, "additionalProperties": False}
    row["properties"]["defaults"] = {"type": "array"}
    return row | {"required": ["row", "defaults"]}


def _partial(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "required"}


def main() -> None:
    """Write every schema."""
    for kind, schema in schemas().items():
        write_text(FOLDER / f"{kind}.json", json.dumps(schema, indent=1) + "\n")


if __name__ == "__main__":
    main()
