"""The twenty primitive types: what their JSON values look like
(https://hl7.org/fhir/R4/datatypes.html#primitive).

A :class:`Primitive` has a quick test that accepts nearly everything good, and a full one that has the last
word.
"""

from __future__ import annotations

import binascii
import re
from calendar import monthrange
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jiter import LosslessFloat

from fhirhub.validation import narrative

STRING_LIMIT = 1024 * 1024
"""Characters a string may have; base64Binary has no limit of its own."""

DECIMAL_DIGITS = 1000
"""Digits a decimal may have when it is written out without an exponent."""

INTEGER_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Primitive:
    """``json_type`` is str, bool, int or float (a JSON number with or without fraction).

    ``quick(value)`` is only asked about a value of that JSON type; true means good, false means: ask
    ``problem``. ``problem(value)`` is the whole rule: what is wrong with it and what to write instead, or
    None when nothing is.
    """

    name: str
    json_type: type
    quick: Callable[[Any], Any]
    problem: Callable[[Any], str | None]


_YEAR = r"(?!0000)[0-9]{4}"
_MONTH = r"(?:0[1-9]|1[0-2])"
_DAY = r"(?:0[1-9]|[12][0-9]|3[01])"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
_ZONE = r"(?:Z|[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00))"
_DATE = re.compile(rf"{_YEAR}(?:-{_MONTH}(?:-{_DAY})?)?")
_DATE_TIME = re.compile(rf"{_YEAR}(?:-{_MONTH}(?:-{_DAY}(?:T{_TIME}{_ZONE})?)?)?")
_INSTANT = re.compile(rf"{_YEAR}-{_MONTH}-{_DAY}T{_TIME}{_ZONE}")
_CLOCK = re.compile(_TIME)
# Days 01 to 28 exist in every month, so that most dates need no calendar.
_QUICK_DATE = re.compile(rf"{_YEAR}(?:-{_MONTH}(?:-(?:0[1-9]|1[0-9]|2[0-8]))?)?")
_QUICK_DATE_TIME = re.compile(rf"{_YEAR}(?:-{_MONTH}(?:-(?:0[1-9]|1[0-9]|2[0-8])(?:T{_TIME}{_ZONE})?)?)?")
_QUICK_INSTANT = re.compile(rf"{_YEAR}-{_MONTH}-(?:0[1-9]|1[0-9]|2[0-8])T{_TIME}{_ZONE}")
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_OID = re.compile(r"urn:oid:[0-2](?:\.(?:0|[1-9][0-9]*))+")
_UUID = re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# The blanks of FHIR's expressions are those of XML; a no-break space is an ordinary character.
_BLANK = re.compile(r"[ \t\n\r\f\v]")
_CODE = re.compile(r"[^ \t\n\r\f\v]+(?: [^ \t\n\r\f\v]+)*")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_NUMBER = re.compile(rb"-?([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")
_WHITE = str.maketrans("", "", " \t\r\n")


def _quick_string(value: str) -> bool:
    return 0 < len(value) <= STRING_LIMIT and value.isprintable()


def _string(value: str) -> str | None:
    if not value:
        return "must not be empty; leave it out when there is no value"
    if len(value) > STRING_LIMIT:
        return f"is longer than {STRING_LIMIT} characters"
    found = _CONTROL.search(value)
    if found:
        return f"contains the control character U+{ord(found.group()):04X}; only tab, CR and LF are allowed"
    return None


def _quick_word(value: str) -> bool:
    return 0 < len(value) <= STRING_LIMIT and " " not in value and value.isprintable()


def _code(value: str) -> str | None:
    if problem := _string(value):
        return problem
    if not _CODE.fullmatch(value):
        return "is no code: no blanks at its ends, and single spaces within"
    return None


def _quick_uri(value: str) -> bool:
    return _quick_word(value) and value[:4] != "urn:"


def _address(value: str) -> str | None:
    if problem := _string(value):
        return problem
    if _BLANK.search(value):
        return "contains a blank; a uri has none (write a space as %20)"
    return None


def _uri(value: str) -> str | None:
    if problem := _address(value):
        return problem
    if value.startswith("urn:oid:") and not _OID.fullmatch(value):
        return "is no valid OID; write it as urn:oid:1.2.3"
    if value.startswith("urn:uuid:") and not _UUID.fullmatch(value.lower()):
        return "is no valid UUID; write it as urn:uuid:c757873d-ec9a-4326-a141-556f43239520"
    return None


def _by_pattern(pattern: re.Pattern[str], remedy: str) -> Callable[[str], str | None]:
    def problem(value: str) -> str | None:
        return None if pattern.fullmatch(value) else remedy

    return problem


def _dated(pattern: re.Pattern[str], remedy: str) -> Callable[[str], str | None]:
    def problem(value: str) -> str | None:
        if not pattern.fullmatch(value):
            return remedy
        year, month, day = int(value[:4]), int(value[5:7] or 1), int(value[8:10] or 1)
        if day > monthrange(year, month)[1]:
            return f"is no day of the calendar: {value[:7]} has {monthrange(year, month)[1]} days"
        return None

    return problem


def _base64(value: str) -> str | None:
    try:
        binascii.a2b_base64(value.translate(_WHITE), strict_mode=True)
    except ValueError:
        return "is not base64 (A-Z a-z 0-9 + / and = at the end, in groups of four)"
    return None if value.strip() else "must not be empty; leave it out when there is no value"


def _integer(least: int) -> Callable[[int], str | None]:
    def problem(value: int) -> str | None:
        if least <= value <= INTEGER_MAX:
            return None
        return f"is out of range; it must be a whole number from {least} to {INTEGER_MAX}"

    return problem


def _quick_integer(least: int) -> Callable[[int], bool]:
    return lambda value: least <= value <= INTEGER_MAX


def _quick_decimal(value: int | LosslessFloat) -> bool:
    if type(value) is int:
        return -(2**63) < value < 2**63
    digits = bytes(value)
    return len(digits) < 30 and b"e" not in digits and b"E" not in digits


def _decimal(value: int | LosslessFloat) -> str | None:
    if type(value) is int:
        written = 0 if -(10**DECIMAL_DIGITS) < value < 10**DECIMAL_DIGITS else DECIMAL_DIGITS + 1
    else:
        parts = _NUMBER.fullmatch(bytes(value))
        if parts is None:
            return "is not a decimal number"
        whole, fraction, exponent = parts.group(1), parts.group(2) or b"", parts.group(3) or b"0"
        # The exponent itself may have any number of digits: never made an int before it is known to be short.
        far = DECIMAL_DIGITS + 1 if len(exponent) > 6 else abs(int(exponent))
        written = len(whole) + len(fraction) + far
    if written > DECIMAL_DIGITS:
        return f"has more than {DECIMAL_DIGITS} digits when written out"
    return None


def _always(value: Any) -> bool:
    return True


def _never(value: Any) -> bool:
    return False


def _nothing(value: Any) -> str | None:
    return None


_AS_DATE = "is no date; write it as YYYY-MM-DD, YYYY-MM or YYYY"
_AS_DATE_TIME = "is no dateTime; write it as YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss+zz:zz"
_AS_INSTANT = "is no instant; write it as YYYY-MM-DDThh:mm:ss.sss+zz:zz, with seconds and zone"
_AS_ID = "is no id; use 1 to 64 letters, digits, '-' and '.'"

PRIMITIVES: dict[str, Primitive] = {
    one.name: one
    for one in (
        Primitive("boolean", bool, _always, _nothing),
        Primitive("integer", int, _quick_integer(-INTEGER_MAX - 1), _integer(-INTEGER_MAX - 1)),
        Primitive("unsignedInt", int, _quick_integer(0), _integer(0)),
        Primitive("positiveInt", int, _quick_integer(1), _integer(1)),
        Primitive("decimal", float, _quick_decimal, _decimal),
        Primitive("string", str, _quick_string, _string),
        Primitive("markdown", str, _quick_string, _string),
        Primitive("code", str, _quick_word, _code),
        Primitive("uri", str, _quick_uri, _uri),
        Primitive("url", str, _quick_uri, _uri),
        # A published example has urn:oid:X.Y.Z as a canonical, to be filled in by whoever uses it.
        Primitive("canonical", str, _quick_word, _address),
        Primitive("oid", str, _OID.fullmatch, _by_pattern(_OID, "is no OID; write it as urn:oid:1.2.3")),
        Primitive(
            "uuid",
            str,
            _UUID.fullmatch,
            _by_pattern(_UUID, "is no UUID; write it as urn:uuid:c757873d-ec9a-4326-a141-556f43239520"),
        ),
        Primitive("id", str, _ID.fullmatch, _by_pattern(_ID, _AS_ID)),
        Primitive("date", str, _QUICK_DATE.fullmatch, _dated(_DATE, _AS_DATE)),
        Primitive("dateTime", str, _QUICK_DATE_TIME.fullmatch, _dated(_DATE_TIME, _AS_DATE_TIME)),
        Primitive("instant", str, _QUICK_INSTANT.fullmatch, _dated(_INSTANT, _AS_INSTANT)),
        Primitive(
            "time",
            str,
            _CLOCK.fullmatch,
            _by_pattern(_CLOCK, "is no time; write it as hh:mm:ss, without zone"),
        ),
        Primitive("base64Binary", str, _never, _base64),
        Primitive("xhtml", str, _never, narrative.problem),
    )
}

JSON_KIND: dict[type, str] = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
}
"""What a value of :attr:`Primitive.json_type` is called."""


def has_type(json_type: type, value: Any) -> bool:
    """Whether ``value`` is the JSON type that a primitive is written in."""
    found = type(value)
    return found is json_type or (json_type is float and (found is LosslessFloat or found is int))
