"""The base class and the common field types of all sections of the configuration."""

from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Base of all sections: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _native(cls, value: Any, info: ValidationInfo) -> Any:
        """Return a value in the native type of its field, where pydantic reads less, or more, than
        is meant.

        One of several numbers may be given as text (a command line has nothing else), and a name as
        a whole number (TOML and Flower, unlike a command line, tell 7 from "7"). True and false are
        no numbers.
        """
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and kind is not bool:
            raise PydanticCustomError("no_bool", "neither true nor false")
        if get_origin(kind) is Literal and isinstance(value, str):
            return {str(choice): choice for choice in get_args(kind)}.get(value.strip(), value)
        if kind is str:
            return _named(value)
        if kind == tuple[str, ...] and isinstance(value, list | tuple):
            return tuple(_named(part) for part in value)
        return value


class StrategySettings(Section):
    """Base of the settings that one algorithm has for itself; its file declares them.

    Each becomes a field of `StrategyConfig` (a key strategy.NAME), by `make settings`. If two
    algorithms have a setting of one name, they inherit it from one class: it means the same.
    """


class CodecSettings(Section):
    """Base of the settings that one codec has for itself; its file declares them.

    Each becomes a field of `MessagesConfig` (a key messages.NAME), by `make settings`.
    """


def _named(value: Any) -> Any:
    """Return a whole number as text, as it is a name; all other values unchanged."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
