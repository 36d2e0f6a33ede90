"""The parts of a record below the top level."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from data.common.validation import Count, Fraction, Model, NonNegative, Positive, Size

Json = dict[str, Any]


class Part(Model):
    """A mapping below the top level, with further keys of any kind."""

    model_config = ConfigDict(extra="allow")


class Algo(Part):
    """Settings of the algorithm that ran."""

    name: str
    n_updates: Size | None = None


class Config(Part):
    """All settings of the run."""

    algo: Algo
    task: Json = Field(default_factory=dict)
    protocol: Json = Field(default_factory=dict)
    data: Json = Field(default_factory=dict)
    run: Json = Field(default_factory=dict)


class Difference(Part):
    """A setting of the row that the run changed."""

    key: str
    row: Any
    used: Any


class Crash(Part):
    """A seed that diverged, and where."""

    seed: Count
    n_updates: Count | None = None
    quantity: str | None = None


class Check(Part):
    """A check of a claim, as decided."""

    text: str
    passed: bool


class Provenance(Part):
    """What made the numbers."""

    commit: str = "unknown"
    packages: dict[str, str] = Field(default_factory=dict)
    machine: dict[str, str | int | float | None] = Field(default_factory=dict)


class Data(Part):
    """The dataset; `return` holds statistics of its episode returns."""

    id: str
    kind: Literal["regenerated", "official"]
    sha256: str
    n_transitions: Count | None = None
    n_episodes: Count | None = None
    returns: dict[str, float] = Field(default_factory=dict, alias="return")


class Environment(Part):
    """The world that was played, its fingerprint, and the one that the row expects."""

    world: str
    fingerprint: str
    expected: str


class ScoresPart(Part):
    """Per seed in `metric`, of the way of acting `mode`; null for a seed that diverged where no minimum is known."""

    metric: str
    mode: Literal["greedy", "sampled"]
    per_seed: list[float | None]


class VerdictPart(Model):
    """Verdict.to_json()."""

    state: Literal["REPRODUCED", "OPTIMUM MET", "BELOW", "ABOVE", "INCONCLUSIVE", "NOT COMPARABLE"]
    reasons: list[str]
    n: Count
    mean: float | None
    std: NonNegative | None
    theirs: float | None
    difference: float | None
    low: float | None
    high: float | None
    delta: Positive | None
    seeds_needed: Size | Literal["impossible"] | None
    within_reported_std: bool | None
    vacuous: bool | None
    data_kind: Literal["official", "regenerated"]
    n_p_assumed: bool
    optimum: float | None = None
    readings: Size = 1
    power: Fraction | None = None
    told: NonNegative | None = None
    exit_code: Count
    headline: str
