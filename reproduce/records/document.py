"""The documents of `--json`: a record's part that a reader of its verdict needs, with the exit code."""

from typing import Any

ROW_KEYS = (
    "row",
    "verdict",
    "scores",
    "behavior_cloning",
    "data",
    "seeds",
    "overrides",
    "time",
    "weights_sha256",
    "file",
    "notes",
)
CLAIM_KEYS = ("row", "checks", "passed", "time", "file")
HOLDS, FAILS, UNDECIDED = "HOLDS", "FAILS", "INCONCLUSIVE"
CLAIM_CODES = {HOLDS: 0, FAILS: 1, UNDECIDED: 2}


def row_document(record: dict[str, Any]) -> dict[str, Any]:
    """The verdict of a row; keys that an older record lacks are None."""
    return {key: record.get(key) for key in ROW_KEYS} | {"exit_code": record["verdict"]["exit_code"]}


def data_score(record: dict[str, Any]) -> float | None:
    """The mean of the data that the run was trained on, in the metric of its row; None where it is unknown."""
    value = record["scores"].get("data")
    if value is None and record["scores"].get("metric") == "episode_return":
        value = record["data"].get("return", {}).get("mean")
    return value


def claim_document(record: dict[str, Any]) -> dict[str, Any]:
    """The checks of a claim and its `state`; exit code 0, 1 and 2 for HOLDS, FAILS and INCONCLUSIVE."""
    state = claim_state(record)
    return {key: record.get(key) for key in CLAIM_KEYS} | {"state": state, "exit_code": CLAIM_CODES[state]}


def claim_state(record: dict[str, Any]) -> str:
    """HOLDS, FAILS where its checks contradict it, else INCONCLUSIVE: what was not shown is not shown to be false."""
    if record["passed"]:
        return HOLDS
    possible = sum(check_state(check) != FAILS for check in record["checks"])
    needed = record.get("claim", {}).get("needs") or len(record["checks"])
    return FAILS if possible < needed else UNDECIDED


def check_state(check: dict[str, Any]) -> str:
    """HOLDS, FAILS, or INCONCLUSIVE where the interval of a difference reaches across the limit."""
    if check["passed"]:
        return HOLDS
    low, high = check.get("difference_low"), check.get("difference_high")
    if low is None or high is None:  # a count of seeds, or a number worked out
        return FAILS
    if check.get("at_least") is not None:
        return FAILS if high < check["at_least"] else UNDECIDED
    within = check.get("within")
    return FAILS if within is None or low > within or high < -within else UNDECIDED


def check_line(check: dict[str, Any]) -> str:
    """`holds: text`; where it does not hold, with the interval that was found."""
    words = {HOLDS: "holds", FAILS: FAILS, UNDECIDED: "not shown"}
    low, high = check.get("difference_low"), check.get("difference_high")
    found = "" if check["passed"] or low is None or high is None else f" (difference in [{low:.4g}, {high:.4g}])"
    return f"{words[check_state(check)]}: {check['text']}{found}"
