"""Pieces of Python code in which the integers may still become parameters, and how they are printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

LINE = 100
"""Longest line that is printed where it can be broken."""


@dataclass(frozen=True)
class Slot:
    """An integer in a piece of code, and what it is called where it stands: ``in_channels``, ``kernel_size``.

    As an item of brackets it is left out where it comes out as ``default``. As an ``operand`` of an operator it needs
    brackets where it comes out as an expression.
    """

    value: int
    hint: str
    default: int | None = None
    operand: bool = False


@dataclass(frozen=True)
class Line:
    """Text with slots, printed as it is."""

    parts: tuple[str | Slot, ...]


@dataclass(frozen=True)
class Group:
    """Brackets around items, each with a prefix such as ``bias=``; printed on one line or with an item a line."""

    opening: str
    items: tuple[tuple[str, Code], ...]
    closing: str = ")"


Code: TypeAlias = str | Slot | Line | Group


def slots(code: Code) -> Iterator[Slot]:
    """The slots of a piece of code, in the order in which they are printed."""
    if isinstance(code, Slot):
        yield code
    elif isinstance(code, Line):
        yield from (part for part in code.parts if isinstance(part, Slot))
    elif isinstance(code, Group):
        for _, item in code.items:
            yield from slots(item)


def one_line(code: Code, name: Callable[[Slot], str] = lambda slot: str(slot.value)) -> str:
    """A piece of code on one line, its slots printed by ``name``."""
    if isinstance(code, str):
        return code
    if isinstance(code, Slot):
        return name(code)
    if isinstance(code, Line):
        return "".join(part if isinstance(part, str) else name(part) for part in code.parts)
    items = [(prefix, item, one_line(item, name)) for prefix, item in code.items]
    return code.opening + ", ".join(prefix + text for prefix, item, text in items if _kept(item, text)) + code.closing


def skeleton(code: Code) -> str:
    """The piece of code without its integers: equal for pieces that differ in nothing else."""
    return one_line(code, lambda _: "\0")


def printed(code: Code, names: Iterator[str], indent: int, before: int = 0, after: int = 0) -> str:
    """A piece of code over as many lines as it needs.

    Args:
        code: the piece.
        names: what is printed for its slots, in their order.
        indent: spaces that the line begins with.
        before: characters on the first line before the piece, beside the indent.
        after: characters on the last line behind it.
    """
    known = [next(names) for _ in slots(code)]
    flat = iter(known)
    line = one_line(code, lambda _: next(flat))
    if not isinstance(code, Group) or not code.items or indent + before + len(line) + after <= LINE:
        return line
    inner, rest = indent + 4, iter(known)
    items = [(prefix, item, printed(item, rest, inner, len(prefix), 1)) for prefix, item in code.items]
    lines = [f"{' ' * inner}{prefix}{text},\n" for prefix, item, text in items if _kept(item, text)]
    return f"{code.opening}\n{''.join(lines)}{' ' * indent}{code.closing}"


def _kept(item: Code, text: str) -> bool:
    return not isinstance(item, Slot) or item.default is None or text != str(item.default)
