"""What an axis is: the one place from which defaults, checks, labels, groupings and the reference of axes derive.

An axis is declared by one line of `Cell`: its name, its type with its bounds, its default, and `axis(…)` with the rest.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_origin, get_type_hints

import msgspec

Role: TypeAlias = Literal["implementation", "task", "size", "technique", "training", "evaluation", "machine"]
"""What an axis is for: who computes, on which tasks, how much, with which technique, trained how, judged how, on which
machine."""
LARGEST = 1e100
"""The largest figure that is a result: the square of a larger one would overflow."""
LARGEST_WHOLE = 2**53
"""Largest whole number of an axis: some readers of JSON round larger ones."""
LONGEST_NAME = 200
_LONGEST_SHOWN = 80


@dataclass(frozen=True)
class Axis:
    """One axis of a sweep."""

    role: Role
    help: str
    """One sentence on what it is, for the reference and the JSON schema."""
    name: str = ""
    kind: type = str
    """`str`, `int`, `float` or `bool`."""
    default: Any = None
    """What a sweep file that leaves it open means, and what a row that lacks it had; None: it must be given."""
    word: str = ""
    """Name in tables; the axis's name with spaces if left out."""
    phrase: str | Callable[[Any], str] = ""
    """How a value of it reads in a title: `threads {}`."""
    takes: str = ""
    """What it takes, in words; derived from its type if left out."""
    choices: tuple[str, ...] = ()
    least: float = 0
    """The least number that a sweep file may give."""
    most: float = LARGEST
    """The largest one."""
    positive: bool = False
    """Whether a sweep file must give a number above 0, where a cell without a use for it may have 0."""
    tacit: bool = False
    """Whether its default goes without saying in a title."""
    cost: bool = False
    """Whether an axis of training changes what a meta-iteration costs."""
    later: bool = False
    """Whether it came after runs had been committed: a cell's id and JSON leave its default out, so that ids stay."""
    settable: bool = True
    """Whether a sweep file may set it."""

    def say(self, value: Any) -> str:
        """The value as a title says it."""
        return self.phrase(value) if callable(self.phrase) else self.phrase.format(value)

    def fault(self, value: Any) -> str:
        """What the axis takes, where it does not take this value of a sweep file; empty where it does."""
        if self.kind is bool:
            good = isinstance(value, bool)
        elif self.kind is str:
            good = isinstance(value, str) and len(value) <= LONGEST_NAME
            good = good and (not self.choices or value in self.choices)
        else:
            numbers = (int,) if self.kind is int else (int, float)
            # A share may be given as true or false.
            number = isinstance(value, numbers) and (not isinstance(value, bool) or self.most == 1)
            good = number and self.least <= value <= self.most and (value > 0 or not self.positive)
        return "" if good else self.takes


def axis(role: Role, help: str, **rest: Any) -> msgspec.Meta:
    """The declaration of an axis of words or truth values, to stand in an annotation."""
    return msgspec.Meta(description=help, extra={"axis": Axis(role, help, **rest)})


def named(role: Role, help: str, **rest: Any) -> msgspec.Meta:
    """The declaration of an axis of names."""
    declared = Axis(role, help, **rest)
    return msgspec.Meta(min_length=1, max_length=LONGEST_NAME, description=help, extra={"axis": declared})


def number(role: Role, help: str, ge: float = 0, le: float = LARGEST, **rest: Any) -> msgspec.Meta:
    """The declaration of an axis of numbers, from `ge` to `le`."""
    declared = Axis(role, help, least=rest.pop("least", ge), most=le, **rest)
    return msgspec.Meta(ge=ge, le=le, description=help, extra={"axis": declared})


def whole(role: Role, help: str, ge: int, le: int = LARGEST_WHOLE, **rest: Any) -> msgspec.Meta:
    """The declaration of an axis of whole numbers from `ge` to `le`; `least` where a sweep file must have more."""
    return number(role, help, ge, le, **rest)


def axes_of_struct(struct: type[msgspec.Struct]) -> Mapping[str, Axis]:
    """The axes that a struct declares, by name, in its order."""
    hints = get_type_hints(struct, include_extras=True)
    defaults = {field.name: field.default for field in msgspec.structs.fields(struct)}
    found = {}
    for name, hint in hints.items():
        metas = [meta for meta in getattr(hint, "__metadata__", ()) if isinstance(meta, msgspec.Meta) and meta.extra]
        for meta in metas:
            assert meta.extra is not None
            found[name] = _completed(meta.extra["axis"], name, _bare(hint), defaults[name])
    return found


def _completed(declared: Axis, name: str, hint: Any, default: Any) -> Axis:
    choices = get_args(hint) if get_origin(hint) is Literal else declared.choices
    word = declared.word or name.replace("_", " ")
    one = replace(
        declared,
        name=name,
        kind=str if choices else hint,
        default=None if default is msgspec.NODEFAULT else default,
        word=word,
        phrase=declared.phrase or f"{word} {{}}",
        choices=choices,
    )
    return replace(one, takes=one.takes or _takes(one))


def _bare(hint: Any) -> Any:
    """The type under any annotations."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return hint


def _takes(one: Axis) -> str:
    if one.kind is bool:
        return "true or false"
    if one.kind is int:
        bounds = f"from {one.least} to {one.most}" if one.most < LARGEST_WHOLE else f"of {one.least} or more"
        return f"whole numbers {bounds}"
    if one.kind is float:
        if one.most < LARGEST:
            return f"numbers from {one.least:g} to {one.most:g}"
        return "positive numbers" if one.positive else f"numbers of {one.least:g} or more"
    return f"one of {', '.join(one.choices)}" if one.choices else "names"


def quoted(value: Any) -> str:
    """A value of a sweep file as Python writes it, in short."""
    try:
        text = repr(value)
    except ValueError:  # a number of more digits than Python writes
        text = "a huge number"
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
