"""JSON documents in memory (https://hl7.org/fhir/R4/json.html): read strictly, written back digit for digit.

A document is a plain ``dict``. Integers are ``int`` of any size; a number with a fraction or an exponent is a
``jiter.LosslessFloat``, which keeps its digits (``bytes(x) == b"1.00"``) and is a number only when asked
(``float(x)``, ``x.as_decimal()``); everything else is what Python makes of JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

import jiter
import orjson
from jiter import LosslessFloat

from fhirhub.errors import BadRequest, Issue

MAX_DEPTH = 100
"""Nested objects and arrays a document may have."""

_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_SQUARE = bytes.maketrans(b"{}", b"[]")
_RUNS = re.compile(rb"\[+|\]+")
_ROUNDS = 4
_OPENING = ord("[")
_BOM = b"\xef\xbb\xbf"

_REASONS = {
    "Detected duplicate key": "Each property may stand only once in an object.",
    "recursion limit exceeded": f"At most {MAX_DEPTH} levels of nesting are taken.",
    "number out of range": "The number has too many digits.",
    "invalid unicode code point": "The body must be UTF-8.",
    "control character": "Control characters in strings must be escaped.",
    "EOF while parsing": "The body ends too early.",
    "trailing characters": "There is text after the end of the resource.",
    "trailing comma": "Remove the comma before the closing bracket.",
    "lone leading surrogate": "A \\u escape of a surrogate must be one half of a pair.",
    "unexpected end of hex escape": "A \\u escape of a surrogate must be one half of a pair.",
}


def parse(body: bytes, *, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """The JSON object in ``body`` (UTF-8, a byte order mark is passed over).

    Raises BadRequest, with line and column where there is one, for anything that is not one JSON object: bad
    syntax or UTF-8, a duplicate key, NaN, lone surrogates, a NUL character in a string, nesting deeper than
    ``max_depth``.
    """
    document = parse_value(body, max_depth=max_depth)
    if type(document) is not dict:
        raise _refused("structure", f"The body must be a JSON object, not {kind(document)}.")
    return document


def parse_value(body: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """Like :func:`parse`, for any JSON value (a JSON Patch is an array)."""
    if body[:3] == _BOM:
        body = body[3:]
    try:
        value = jiter.from_json(
            body, float_mode="lossless-float", catch_duplicate_keys=True, allow_inf_nan=False
        )
    except ValueError as error:
        raise _syntax_error(body, str(error)) from None
    if body.count(b"{") + body.count(b"[") > max_depth:
        _check_depth(body, value, max_depth)
    if b"\\u0000" in body:
        _check_nul(value)
    return value


def dumps(value: Any, *, pretty: bool = False) -> bytes:
    """``value`` as JSON bytes: the digits of every number as they were read, no blanks unless ``pretty``.

    An ``orjson.Fragment`` anywhere in ``value`` is written as it is (and is not indented).
    """
    option = orjson.OPT_INDENT_2 if pretty else None
    try:
        return orjson.dumps(value, _plain, option)
    except TypeError:
        # Integers beyond 64 bits are the one thing of ours that orjson does not write by itself.
        return orjson.dumps(_with_big_integers(value), _plain, option)


def prettify(body: bytes) -> bytes:
    """JSON ``body``, already known to be well-formed, indented by two blanks."""
    value = jiter.from_json(body, float_mode="lossless-float")
    return dumps(value, pretty=True) + b"\n"


def copy(value: Any) -> Any:
    """A copy of ``value`` that shares no object or array with it; much faster than ``copy.deepcopy``."""
    if type(value) is dict:
        return {name: copy(item) if type(item) in _CONTAINERS else item for name, item in value.items()}
    if type(value) is list:
        return [copy(item) if type(item) in _CONTAINERS else item for item in value]
    return value


def equal(left: Any, right: Any, *, digits: bool = True) -> bool:
    """Whether two JSON values are the same.

    With ``digits``, ``1.0`` and ``1.00`` differ, as they do in FHIR (a decimal's precision is part of its
    value); without, numbers are compared as numbers. Order of properties does not count; ``true`` is never
    ``1``.
    """
    if type(left) is dict:
        return (
            type(right) is dict
            and left.keys() == right.keys()
            and all(equal(item, right[name], digits=digits) for name, item in left.items())
        )
    if type(left) is list:
        return (
            type(right) is list
            and len(left) == len(right)
            and all(equal(one, other, digits=digits) for one, other in zip(left, right, strict=True))
        )
    if is_number(left):
        if not is_number(right):
            return False
        return str(left) == str(right) or not digits and _same_number(left, right)
    return type(left) is type(right) and left == right


def _same_number(left: Any, right: Any) -> bool:
    try:
        return decimal(left) == decimal(right)
    except InvalidOperation:
        return False


def is_number(value: Any) -> bool:
    """Whether ``value`` is a JSON number (``bool`` is not)."""
    return type(value) is LosslessFloat or type(value) is int or type(value) is float


def decimal(value: Any) -> Decimal:
    """The exact value of a JSON number; InvalidOperation when its exponent has more than 18 digits or so."""
    return value.as_decimal() if type(value) is LosslessFloat else Decimal(str(value))


def number(text: str) -> int | LosslessFloat:
    """The JSON number written as ``text``; ValueError when it is not one."""
    value = jiter.from_json(text.encode(), float_mode="lossless-float", allow_inf_nan=False)
    if not is_number(value):
        raise ValueError(f"{text!r} is not a number")
    return value


def kind(value: Any) -> str:
    """What people call ``value``: ``an object``, ``an array``, ``a string`` …"""
    if is_number(value):
        return "a number"
    return _KINDS.get(type(value), "a value")


_KINDS: dict[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    type(None): "null",
}
_CONTAINERS = frozenset({dict, list})


def _plain(value: Any) -> Any:
    if type(value) is LosslessFloat:
        return orjson.Fragment(bytes(value))
    raise TypeError(f"{type(value).__name__} is not JSON")


def _with_big_integers(value: Any) -> Any:
    if type(value) is dict:
        return {name: _with_big_integers(item) for name, item in value.items()}
    if type(value) is list:
        return [_with_big_integers(item) for item in value]
    if type(value) is int and not -(2**63) <= value < 2**64:
        return orjson.Fragment(str(value))
    return value


def _refused(code: str, text: str, expression: str | None = None) -> BadRequest:
    return BadRequest(Issue(code, text, expression))


def _syntax_error(body: bytes, message: str) -> BadRequest:
    if not body.strip():
        return _refused("structure", "The body is empty; a resource as JSON is expected.")
    try:
        body.decode()
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        where = f"line {line}, byte {error.start}"
        return _refused(
            "structure", f"The body is not UTF-8: invalid byte 0x{body[error.start]:02x} at {where}."
        )
    remedy = next((text for start, text in _REASONS.items() if message.startswith(start)), None)
    code = "too-costly" if message.startswith("recursion limit") else "structure"
    return _refused(code, f"The body is not well-formed JSON: {message}." + (f" {remedy}" if remedy else ""))


def _check_depth(body: bytes, value: Any, max_depth: int) -> None:
    """Refuse ``value`` when it is nested deeper than ``max_depth``.

    Looking at the brackets alone clears almost every document. Taking out the innermost pairs a few times
    leaves little of the usual flat bodies; in the rest, runs of equal brackets are counted. Brackets inside
    strings can only disturb the pairing: what looks too deep is walked to be sure, and what hides its depth
    that way still meets the parser's own limit of 200.
    """
    brackets = body.translate(_SQUARE, _NOT_BRACKETS)
    for _ in range(_ROUNDS):
        brackets = brackets.replace(b"[]", b"")
    depth = deepest = 0
    for run in _RUNS.findall(brackets):
        depth += len(run) if run[0] == _OPENING else -len(run)
        deepest = max(deepest, depth)
    if deepest + _ROUNDS <= max_depth:
        return
    level = [value]
    for _ in range(max_depth):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise _refused("too-costly", f"The body is nested deeper than {max_depth} levels.")


def _children(value: Any) -> list[Any]:
    items = value.values() if type(value) is dict else value if type(value) is list else ()
    return [item for item in items if type(item) in _CONTAINERS]


def _check_nul(value: Any) -> None:
    for path, text in _strings(value, ""):
        if "\0" in text:
            where = path.lstrip(".") or None
            raise _refused("value", "A string must not contain the NUL character (\\u0000).", where)


def _strings(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every string in ``value``, property names included, with the path that leads there."""
    if type(value) is str:
        yield path, value
    elif type(value) is dict:
        for name, item in value.items():
            yield path, name
            yield from _strings(item, f"{path}.{name}")
    elif type(value) is list:
        for index, item in enumerate(value):
            yield from _strings(item, f"{path}[{index}]")
