"""Settings of rows: composed by Hydra, checked, compared with what the row's file says."""

from reproduce.config.compose import (
    CHOICES,
    FREE,
    FREE_YET_HASHED,
    NOT_GROUPS,
    DataConfig,
    ProtocolConfig,
    RunConfig,
    Settings,
    TaskConfig,
    claim_ids,
    compose,
    expand,
    fingerprint,
    flat,
    row_ids,
    sources,
)

__all__ = [
    "CHOICES",
    "FREE",
    "FREE_YET_HASHED",
    "NOT_GROUPS",
    "DataConfig",
    "ProtocolConfig",
    "RunConfig",
    "Settings",
    "TaskConfig",
    "claim_ids",
    "compose",
    "expand",
    "fingerprint",
    "flat",
    "row_ids",
    "sources",
]
