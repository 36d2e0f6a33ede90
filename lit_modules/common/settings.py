"""The base of every algorithm's settings, and the types that their fields are made of.

An algorithm's file imports what its settings need from here, `typing` and `pydantic` alone: then the command reads
them from the file's text without importing torch (lit_modules.common.registry).
"""

from typing import Annotated, Any, Self

from pydantic import Field

from data.common.validation import Fraction, Model, NonNegative, Positive

__all__ = ["AlgoConfig", "Batch", "Count", "Fraction", "NonNegative", "Positive", "Size", "Width"]

# Upper ends are where no machine gets through: a misplaced digit is refused before anything is made.
Count = Annotated[int, Field(ge=0, le=10**8)]
Size = Annotated[int, Field(ge=1, le=10**8)]
Batch = Annotated[int, Field(ge=1, le=10**7)]
Width = Annotated[int, Field(ge=1, le=10**5)]


class AlgoConfig(Model):
    """Settings of one algorithm, without defaults: a row states every one of them."""

    name: str

    def replace(self, **changes: Any) -> Self:
        """A copy with other values, checked as a row's are. Raises pydantic.ValidationError for a bad one."""
        return type(self).model_validate(self.model_dump() | changes)
