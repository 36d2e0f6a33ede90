"""Models of what a row states. configs/*.yaml explain each key; tests hold every value to a source comment."""

from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, model_validator

from data.common.validation import Count, Model, NonNegative, Positive, Size
from lit_modules import algo_config, algorithms
from lit_modules.common.settings import AlgoConfig


class TaskSettings(Model):
    """The world of a row, and the fingerprint that it must have."""

    world: str
    params: dict[str, Any]
    fingerprint: str


class ProtocolSettings(Model):
    """How a row is run and scored."""

    n_seeds: Annotated[Size, Field(le=10_000)]
    first_seed: Annotated[Count, Field(le=2**31 - 1)]
    eval_every: Annotated[Size, Field(le=10**9)]
    eval_episodes: Annotated[Size, Field(le=10**6)]
    checkpoint: Literal["last"]
    mode: Literal["greedy", "sampled"]
    time_limits: Literal["bootstrap", "terminal"]

    @property
    def seeds(self) -> list[int]:
        return list(range(self.first_seed, self.first_seed + self.n_seeds))


class DataSettings(Model):
    """The dataset of a row: its id, and which copy of it is read."""

    id: str
    kind: Literal["regenerated", "official"]
    root: str | None
    seed: Count | None
    storage: Literal["tensor", "memmap"]

    @model_validator(mode="after")
    def _a_folder_is_for_official_data(self) -> "DataSettings":
        if self.root is not None and self.kind != "official":
            raise ValueError(f"root={self.root} is read with data.kind=official only; give both, or neither")
        return self


class RunSettings(Model):
    """How a run is carried out. Nothing here changes what is computed in law."""

    device: Literal["cpu", "cuda"]
    threads: Annotated[Count, Field(le=1024)]  # more end in a segmentation fault
    chunk_size: Annotated[Size, Field(le=10**6)]
    logger: Literal["csv", "wandb"]
    checkpoint_every_s: NonNegative
    accelerate: Literal["none", "compile", "graph", "compile+graph"]
    matmul_precision: Literal["highest", "high", "medium"]
    stage1: str | None


class RowSettings(Model):
    """Everything that decides a run. `algo` is the settings class of the algorithm that it names."""

    row: str
    algo: SerializeAsAny[AlgoConfig]
    task: TaskSettings
    protocol: ProtocolSettings
    data: DataSettings
    run: RunSettings

    def values(self) -> dict[str, Any]:
        """Nested and plain, as records hold it."""
        return self.model_dump()


class RowFile(Model):
    """The top level of a composed row: the groups, and what belongs to the row's file alone.

    `also_judged` lists overrides whose runs are judged like the row's own. `bootstrap` holds what variant=bootstrap
    takes from the row, `fight` what the tasks of StarCraft do: StarCraft II and SMAX.
    """

    row: str
    algo: dict[str, Any]
    task: dict[str, Any]
    protocol: dict[str, Any]
    data: dict[str, Any]
    run: dict[str, Any]
    also_judged: list[str] = Field(default_factory=list)
    bootstrap: dict[Literal["beta"], Positive] = Field(default_factory=dict)
    fight: dict[Literal["map_name", "view", "quality"], str] = Field(default_factory=dict)
    budget: dict[str, Any] = Field(default_factory=dict)  # a group that may add nothing of its own
    variant: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _overrides_are_overrides(self) -> "RowFile":
        if bad := [text for text in self.also_judged if not text.partition("=")[2]]:
            raise ValueError(f"also_judged holds {bad[0]!r}: write overrides such as budget=omsd_full")
        return self


def known_settings() -> list[str]:
    """Dotted keys that a row may have, of every algorithm. Those below task.params are the world's own."""
    models = [("algo", algo_config(name)) for name in algorithms()] + list(GROUPS.items())
    return sorted({f"{group}.{key}" for group, model in models for key in model.model_fields})


GROUPS: dict[str, type[Model]] = {
    "task": TaskSettings,
    "protocol": ProtocolSettings,
    "data": DataSettings,
    "run": RunSettings,
}
