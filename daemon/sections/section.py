"""What a section of config.toml is: knobs, each with its unit, default, limits and one line of meaning."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator


def knob(default: Any, doc: str, unit: str | None = None, **limits: Any) -> Any:
    """A field of a section: default, one line of meaning, unit, limits for pydantic."""
    return Field(default, description=doc, json_schema_extra={"unit": unit} if unit else None, **limits)


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _printable(cls, value: Any) -> Any:
        if isinstance(value, str) and "\0" in value:
            raise ValueError("expected text without NUL characters")
        return value
