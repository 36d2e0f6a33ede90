"""Models for files that people write: an unknown key, a wrong type or a value out of range is one clear line."""

from collections.abc import Callable, Mapping
from reprlib import Repr
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from data.common.errors import ReproduceError, nearest

M = TypeVar("M", bound=BaseModel)

Count = Annotated[int, Field(ge=0)]
Size = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Model(BaseModel):
    """Frozen; no key beyond its fields, no conversion of types beyond int to float, no NaN, no infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def checked(model: type[M], values: Any, where: str, prefix: str = "", noun: str = "setting") -> M:
    """`values` as the model. Raises ReproduceError that names `where` (a file, a row), key, value and what is allowed.

    `prefix` is put before keys in messages: "algo." for the settings of an algorithm.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise explain(error, model, where, prefix, noun) from None


def explain(
    error: ValidationError, model: type[BaseModel], where: str, prefix: str = "", noun: str = "setting"
) -> ReproduceError:
    """The first fault of a validation as one sentence. Unknown keys come first: they explain the missing ones."""
    faults = sorted(error.errors(include_url=False), key=lambda fault: fault["type"] != "extra_forbidden")
    fault = faults[0]
    key = prefix + ".".join(str(part) for part in fault["loc"] if not str(part).startswith("function-"))
    kind, value, field = fault["type"], SHORT.repr(fault["input"]), _field(model, fault["loc"])
    if kind == "extra_forbidden":
        known = _keys(model, fault["loc"][:-1])
        return ReproduceError(f"{where}: unknown {noun} {key}.{nearest(str(fault['loc'][-1]), known)}")
    if kind == "missing":
        return ReproduceError(f"{where}: {key} is missing; every {noun} must be given.")
    if kind == "value_error":  # raised by a model's own validator, whose text is complete
        return ReproduceError(
            f"{where}: {prefix if not fault['loc'] else f'{key}: '}{fault.get('ctx', {}).get('error')}"
        )
    if kind in CONTAINERS:
        found = f"{key}={value}" if key.removesuffix(".") else value
        return ReproduceError(f"{where}: {found} is not allowed: must be {CONTAINERS[kind]}.")
    if choices := _choices(field):
        allowed = (
            f"choose one of {', '.join(map(str, choices))}.{nearest(str(fault['input']), [str(c) for c in choices])}"
        )
        return ReproduceError(f"{where}: {key}={value} is not allowed: {allowed}")
    if limits := _limits(field):
        return ReproduceError(f"{where}: {key}={value} is not allowed: {limits}.")
    return ReproduceError(f"{where}: {key}={value}: {fault['msg'][:1].lower()}{fault['msg'][1:]}.")


CONTAINERS = {
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "list_type": "a list",
}
SHORT = Repr()  # values in messages, cut where they are long or deep
SHORT.maxstring = SHORT.maxother = 120


def _nested(annotation: Any) -> list[type[BaseModel]]:
    """The models inside an annotation such as `dict[str, Entry] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _nested(inner)]


def _walk(model: type[BaseModel], loc: tuple) -> tuple[list[type[BaseModel]], FieldInfo | None]:
    """The models that hold the last key of `loc`, and its field where there is one."""
    holders, field = [model], None
    for part in loc:
        found = next((_by_name(m).get(part) for m in holders if part in _by_name(m)), None)
        if found is None:
            continue  # an index, a key of a mapping, or the tag of a union
        field = found
        holders = _nested(found.annotation) or holders
    return holders, field


def _by_name(model: type[BaseModel]) -> dict[Any, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _field(model: type[BaseModel], loc: tuple) -> FieldInfo | None:
    return _walk(model, loc)[1]


def _keys(model: type[BaseModel], loc: tuple) -> list[str]:
    return sorted({key for holder in _walk(model, loc)[0] for key in _by_name(holder)})


def _choices(field: FieldInfo | None) -> list[Any]:
    """The values of a Literal, inside an optional too."""

    def inside(annotation: Any) -> list[Any]:
        if get_origin(annotation) is Literal:
            return list(get_args(annotation))
        if get_origin(annotation) in (Union, UnionType):
            return [c for a in get_args(annotation) for c in (["null"] if a is type(None) else inside(a))]
        return []

    found = inside(field.annotation) if field else []
    return found if found != ["null"] else []


def _of_values(annotation: Any) -> Any:
    """The annotation of a mapping's values; every other one is itself."""
    return get_args(annotation)[1] if get_origin(annotation) is dict else annotation


WORDS: Mapping[str, Callable[[Any], str]] = {
    "gt": lambda v: f"above {v:g}",
    "ge": lambda v: f"at least {v:g}",
    "lt": lambda v: f"below {v:g}",
    "le": lambda v: f"at most {v:g}",
    "min_length": lambda v: f"at least {v} long",
}


def _limits(field: FieldInfo | None) -> str:
    """The type and range of a number in words; empty where the field is no number."""
    if field is None:
        return ""
    metadata, annotation = [*field.metadata], _of_values(field.annotation)
    for inner in get_args(annotation):
        if get_origin(inner) is Annotated or hasattr(inner, "__metadata__"):
            metadata += [m for extra in inner.__metadata__ for m in getattr(extra, "metadata", [extra])]
    stated = [WORDS[name](getattr(m, name)) for m in metadata for name in WORDS if getattr(m, name, None) is not None]
    kinds = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    args = [get_args(a)[0] if get_origin(a) is Annotated else a for a in (get_args(annotation) or (annotation,))]
    known = [kinds[a] for a in args if a in kinds]
    what = " or ".join([*known, *(["null"] if type(None) in args else [])])
    if get_origin(annotation) in (list, tuple):
        what = f"a list, each {what}"
    if not known:
        return ""
    return f"must be {what}" + (f", {' and '.join(stated)}" if stated else "")
