"""Reader of the plain values of a pickle, which runs none of it.

A pickle is a program that can call any installed function. Here its opcodes (those of Python's
`pickletools`) are read as data: dictionaries, lists, tuples, text, bytes and numbers become
themselves; an object that it would import or create becomes an `Inert` note.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedshelf.common.errors import DataError

Stack = list[Any]
_MARK = object()


@dataclass
class Inert:
    """A note of an object that the pickle would import or create.

    Attributes:
        name: `module name`, as in the pickle
        arguments: the arguments of the call
        state: the state that the object would get
    """

    name: str
    arguments: Any = None
    state: Any = None


def read(path: Path) -> Any:
    """Return the value in a file of pickle protocol 2 or less, as Python 2 wrote them.

    Raises:
        DataError: the file cannot be read as plain values.
    """
    stack: Stack = []
    memory: dict[Any, Any] = {}
    try:
        for opcode, argument, _ in pickletools.genops(path.read_bytes()):
            if opcode.name in _KEEP:
                memory[argument] = stack[-1]
            elif opcode.name in _RECALL:
                stack.append(memory[argument])
            elif opcode.name in _VALUES:
                stack.append(argument)
            elif opcode.name not in _NOTHING:
                _STEPS[opcode.name](stack, argument)
        (value,) = stack
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration) as error:
        raise DataError(
            f"{path} cannot be read as a pickle of plain values ({error}); download it again."
        ) from error
    return value


def _pop_to_mark(stack: Stack) -> Stack:
    """Take the values above the last mark off the stack."""
    mark_position = (
        len(stack) - 1 - next(back for back, value in enumerate(reversed(stack)) if value is _MARK)
    )
    values = stack[mark_position + 1 :]
    del stack[mark_position:]
    return values


def _tuple_of(count: int) -> Callable[[Stack, Any], None]:
    def step(stack: Stack, _: Any) -> None:
        values = tuple(stack[len(stack) - count :])
        del stack[len(stack) - count :]
        stack.append(values)

    return step


def _append(stack: Stack, _: Any) -> None:
    value = stack.pop()
    stack[-1].append(value)


def _appends(stack: Stack, _: Any) -> None:
    values = _pop_to_mark(stack)
    stack[-1].extend(values)


def _set_item(stack: Stack, _: Any) -> None:
    value = stack.pop()
    key = stack.pop()
    stack[-1][key] = value


def _set_items(stack: Stack, _: Any) -> None:
    values = _pop_to_mark(stack)
    stack[-1].update(zip(values[::2], values[1::2], strict=True))


def _reduce(stack: Stack, _: Any) -> None:
    arguments = stack.pop()
    callable_note = stack.pop()
    stack.append(
        Inert(
            callable_note.name if isinstance(callable_note, Inert) else str(callable_note),
            arguments,
        )
    )


def _build(stack: Stack, _: Any) -> None:
    state = stack.pop()
    stack[-1] = Inert(stack[-1].name, stack[-1].arguments, state)


_NOTHING = frozenset({"PROTO", "STOP", "FRAME"})
_KEEP = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_RECALL = frozenset({"GET", "BINGET", "LONG_BINGET"})
_VALUES = frozenset(
    {
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "FLOAT",
        "BINFLOAT",
        "STRING",
        "BINSTRING",
    }
    | {"SHORT_BINSTRING", "UNICODE", "BINUNICODE"}
)
_STEPS: Mapping[str, Callable[[Stack, Any], None]] = {
    "NONE": lambda stack, _: stack.append(None),
    "NEWTRUE": lambda stack, _: stack.append(True),
    "NEWFALSE": lambda stack, _: stack.append(False),
    "MARK": lambda stack, _: stack.append(_MARK),
    "EMPTY_DICT": lambda stack, _: stack.append({}),
    "EMPTY_LIST": lambda stack, _: stack.append([]),
    "EMPTY_TUPLE": lambda stack, _: stack.append(()),
    "DICT": lambda stack, _: stack.append(dict(zip(*[iter(_pop_to_mark(stack))] * 2, strict=True))),
    "LIST": lambda stack, _: stack.append(_pop_to_mark(stack)),
    "TUPLE": lambda stack, _: stack.append(tuple(_pop_to_mark(stack))),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "APPEND": _append,
    "APPENDS": _appends,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "GLOBAL": lambda stack, name: stack.append(Inert(name)),
    "REDUCE": _reduce,
    "BUILD": _build,
}
