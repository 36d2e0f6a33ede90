"""The base of every algorithm's settings, and the types that their fields are made of.

An algorithm's file imports what its settings need from here, `typing` and `pydantic` alone: then the command reads
them from the file's text without importing torch (lit_modules.common.registry).
"""

from typing import Any, Self

from data.common.validation import Count, Fraction, Model, NonNegative, Positive, Size

__all__ = ["AlgoConfig", "Count", "Fraction", "NonNegative", "Positive", "Size"]


class AlgoConfig(Model):
    """Settings of one algorithm, without defaults: a row states every one of them."""

    name: str

    def replace(self, **changes: Any) -> Self:
        """A copy with other values, checked as a row's are. Raises pydantic.ValidationError for a bad one."""
        return type(self).model_validate(self.model_dump() | changes)
