"""A claim's file: configs/claims/<paper>/<name>.yaml."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from data.common.paths import CONFIGS
from data.common.validation import Fraction, Model, NonNegative, checked
from data.common.yaml_files import read_yaml

RULES = ("at_least", "within", "every_above", "share_above")


class Arm(Model):
    """A row with overrides, run for the claim."""

    row: str
    overrides: list[str] = Field(default_factory=list)


class Check(Model):
    """One comparison of mean scores; exactly one of `at_least`, `within`, `every_above` and `share_above` decides.

    `left` and `right` name arms; `right` may be a number. `between` is the accepted share of seeds above.
    """

    text: str
    mode: Literal["greedy", "sampled"]
    left: str
    right: float | str | None = None
    at_least: float | None = None
    within: NonNegative | None = None
    every_above: float | None = None
    share_above: float | None = None
    between: list[Fraction] | None = Field(None, min_length=2, max_length=2)

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        rules = [name for name in RULES if getattr(self, name) is not None]
        if len(rules) != 1:
            raise ValueError(f"the check {self.text!r} has {len(rules)} rules; give one of {', '.join(RULES)}")
        if rules[0] in ("at_least", "within") and self.right is None:
            raise ValueError(f"the check {self.text!r} compares with nothing; give right")
        if (self.share_above is None) != (self.between is None):
            raise ValueError(f"the check {self.text!r}: share_above and between belong together")
        return self


class Exact(Model):
    """A program of reproduce.claims.programs, `file:function`, and limits of what it measures."""

    program: str
    params: dict[str, Any]
    limits: dict[str, float] = Field(min_length=1)


class Claim(Model):
    """`text` and either arms with checks or an exact program. `needs`: so many checks have to hold; without it all."""

    text: str
    arms: dict[str, Arm] = Field(default_factory=dict)
    checks: list[Check] = Field(default_factory=list)
    needs: int | None = Field(None, ge=1)
    exact: Exact | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.exact is None) == (not self.arms) or bool(self.arms) != bool(self.checks):
            raise ValueError("a claim has either arms and checks, or exact")
        if self.needs is not None and self.needs > len(self.checks):
            raise ValueError(f"needs is {self.needs}, of {len(self.checks)} checks")
        for check in self.checks:
            for arm in (check.left, check.right):
                if isinstance(arm, str) and arm not in self.arms:
                    raise ValueError(f"the check {check.text!r} names {arm!r}; the arms are {', '.join(self.arms)}")
        return self


def load_claim(name: str) -> tuple[Claim, dict[str, Any]]:
    """(the checked claim, the file as it stands). Raises ReproduceError naming file and key."""
    path = CONFIGS / f"{name}.yaml"
    where = f"configs/{name}.yaml"
    stated = read_yaml(path, where)
    return checked(Claim, stated, where, noun="key"), stated
