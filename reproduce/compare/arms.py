"""The arms of a comparison, as the command line states them, checked before anything runs."""

from collections.abc import Sequence
from dataclasses import dataclass

from data.common.errors import ReproduceError
from reproduce.config import Settings, compose, differences, expand, row_ids
from reproduce.config.words import words_of

OWN = "the row's settings"
MINIMUM_SEEDS = 2  # an interval needs a spread
SHARED = ("task.", "data.")  # what a score is made in


@dataclass(frozen=True)
class Arm:
    """`overrides` are its own, beside those that all arms have in common."""

    label: str
    overrides: tuple[str, ...] = ()


def read_arms(words: Sequence[str], quoted: Sequence[str] = ()) -> tuple[list[str], list[Arm]]:
    """(overrides of all arms, the arms).

    `algo=NAME` or `own` begins an arm, and the overrides up to the next one belong to it; those before the first are
    common to all. Each of `quoted` is the overrides of one more arm. Of one arm alone, the row's own settings are the
    first. Raises ReproduceError where there is no arm, or one stands twice.
    """
    common: list[str] = []
    found: list[list[str]] = []
    for word in words:
        if _begins(word):
            found.append([] if _is_own(word) else [word])
        else:
            (found[-1] if found else common).append(word)
    found += [_split(text) for text in quoted]
    if not any(found):
        raise ReproduceError(
            "a comparison needs an arm beside the row's own settings: algo=NAME, or --arm 'KEY=VALUE ..' for other "
            "settings of the row's algorithm."
        )
    arms = [Arm(_label(overrides), tuple(overrides)) for overrides in found]
    if len(arms) == 1:
        arms.insert(0, Arm(OWN))
    labels = [arm.label for arm in arms]
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise ReproduceError(f"the arm {twice!r} stands twice; one of them has to go.")
    return common, arms


def composed(row: str, common: Sequence[str], arms: Sequence[Arm]) -> list[Settings]:
    """The settings of each arm.

    Raises ReproduceError naming the arm for bad settings, for two arms that are the same experiment, for less than two
    seeds, and where arms differ in seeds, data or task.
    """
    if expand(row, row_ids()) != [row]:
        raise ReproduceError(f"a comparison is of one row; {row!r} is several. `reproduce list {row}` shows them.")
    found: list[Settings] = []
    for arm in arms:
        try:
            found.append(compose(row, [*common, *arm.overrides]))
        except ReproduceError as error:
            raise ReproduceError(f"arm {arm.label!r}: {error}") from error
    first = found[0]
    for k, (arm, settings) in enumerate(zip(arms, found, strict=True)):
        if apart := _apart(settings, first):
            raise ReproduceError(
                f"arm {arm.label!r}: {apart} differs from that of {arms[0].label!r}. All arms run on the same data and "
                "seeds in the same world: set it before the first arm, where it is common to all."
            )
        for other, earlier in zip(arms[:k], found[:k], strict=True):
            if settings.fingerprint == earlier.fingerprint:
                raise ReproduceError(f"the arms {other.label!r} and {arm.label!r} are the same experiment.")
    if (n := first.protocol.n_seeds) < MINIMUM_SEEDS:
        raise ReproduceError(f"protocol.n_seeds={n}: a difference with an interval needs {MINIMUM_SEEDS} seeds an arm.")
    return found


def _begins(word: str) -> bool:
    return word.startswith("algo=") or _is_own(word)


def _is_own(word: str) -> bool:
    return word in ("own", OWN)


def _split(text: str) -> list[str]:
    words = words_of(text, f"--arm {text!r}", "write --arm 'KEY=VALUE ..', or `own`")
    return [] if len(words) == 1 and _is_own(words[0]) else words


def _label(overrides: Sequence[str]) -> str:
    """`omiga algo.alpha=5`; an algorithm's name stands alone."""
    return " ".join(o.removeprefix("algo=") for o in overrides) or OWN


def _apart(settings: Settings, first: Settings) -> str | None:
    """The first setting in which two arms may not differ, but do."""
    if settings.protocol.seeds != first.protocol.seeds:
        return "protocol.n_seeds or protocol.first_seed"
    if settings.data != first.data:
        return next(f"data.{key}" for key, value in settings.data if value != getattr(first.data, key))
    keys = [d["key"] for d in differences(settings.values, first.values)]
    return next((key for key in keys if key.startswith(SHARED)), None)
