"""What the models of a suite file are made of: names, lists for which one value may stand, errors with a place."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from harness.vocabulary import Precision

T = TypeVar("T")


class _Many:
    """A list for which a single value may stand."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_as_tuple, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        listed = handler(schema)
        return {"anyOf": [listed, listed["items"]]}


def _as_tuple(value: object) -> object:
    if isinstance(value, list):
        return tuple(value)
    return value if isinstance(value, (tuple, dict)) else (value,)


def _as_list(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Listed = BeforeValidator(_as_list)
Many = Annotated[tuple[T, ...], Field(min_length=1), _Many()]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_+-]{0,63}$")]
Word = Annotated[str, Field(min_length=1, max_length=200)]
PathText = Annotated[
    str,
    Field(min_length=1, max_length=4096),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
"""A path; in the file also a list of candidates, of which loading keeps the first that exists."""
PlainPath = Annotated[str, Field(min_length=1, max_length=4096)]
PrecisionName = Annotated[Precision, Field(strict=False)]
Range = Annotated[str, Field(pattern=r"^([A-Za-z_]\w*:)?(-?[0-9]{1,9})?:(-?[0-9]{1,9})?(:(-?[0-9]{1,9})?)?$")]
Percentile = Annotated[float, Field(gt=0, lt=100)]


class SuiteModel(BaseModel):
    """A mapping of a suite: unknown keys are refused, types are not guessed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def problem(place: tuple[str | int, ...], message: str, hint: str = "") -> PydanticCustomError:
    """Return an error at a place below the value that is being validated."""
    return PydanticCustomError("suite", "{message}", {"message": message, "below": place, "hint": hint})
