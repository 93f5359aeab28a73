"""What R4 says a search finds, read from the documents themselves, for the parameters that matter most.

Nothing of fhirhub.search is used here, so that a mistake which its two sides share does not hide itself.
https://hl7.org/fhir/R4/search.html
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

Document = dict[str, Any]
Test = Callable[[Any, str], bool]
INFINITE = Decimal("Infinity")
PREFIXES = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb")
BASE = "http://here.test/fhir/"


def pick(value: Any, path: str) -> list[Any]:
    """The values at a dotted path, lists flattened."""
    values = [value]
    for name in path.split("."):
        inner = [each.get(name) for each in values if isinstance(each, dict)]
        values = [item for each in inner for item in (each if isinstance(each, list) else [each])]
        values = [each for each in values if each is not None]
    return values


def cut(text: str, sign: str) -> list[str]:
    """``text`` at every ``sign`` without a backslash before it."""
    return re.split(rf"(?<!\\){re.escape(sign)}", text)


def plain(text: str) -> str:
    """``text`` without its backslashes."""
    return re.sub(r"\\([\\,$|])", r"\1", text)


# -- strings ---------------------------------------------------------------------------------------------


def folded(text: str) -> str:
    """Neither case nor accents nor punctuation count."""
    letters = (c for c in unicodedata.normalize("NFKD", text) if not unicodedata.category(c).startswith("M"))
    return " ".join(re.sub(r"[\W_]+", " ", "".join(letters).lower()).split()) or text.strip()


def texts(value: Any) -> list[str]:
    """The strings of a HumanName, an Address or a plain string."""
    if isinstance(value, str):
        return [value]
    if "coding" in value or set(value) <= {"text"}:
        return [value["text"]] if "text" in value else []
    names = (
        "text",
        "family",
        "given",
        "prefix",
        "suffix",
        "line",
        "city",
        "district",
        "state",
        "postalCode",
        "country",
    )
    return [text for name in names for text in pick(value, name)]


def starts(value: Any, wanted: str) -> bool:
    return any(folded(text).startswith(folded(plain(wanted))) for text in texts(value))


def contains(value: Any, wanted: str) -> bool:
    return any(folded(plain(wanted)) in folded(text) for text in texts(value))


def exact(value: Any, wanted: str) -> bool:
    return plain(wanted) in texts(value)


# -- tokens ----------------------------------------------------------------------------------------------


def token(value: Any, wanted: str) -> bool:
    """``code``, ``system|code``, ``|code`` or ``system|``."""
    pieces = [plain(piece) for piece in cut(wanted, "|")]
    if isinstance(value, dict) and ("coding" in value or set(value) <= {"text"}):
        return any(token(coding, wanted) for coding in value.get("coding", ()))
    if not isinstance(value, dict):
        text = {True: "true", False: "false"}.get(value, value) if isinstance(value, bool) else value
        return pieces[-1] == text and (len(pieces) == 1 or pieces[0] in ("", IMPLIED.get(text)))
    code = value.get("code") if "code" in value or "value" not in value else value["value"]
    if len(pieces) == 1:
        return code is not None and code == pieces[0]
    system, wanted_code = pieces
    if not wanted_code:
        return bool(system) and value.get("system") == system
    return code == wanted_code and value.get("system", "") == system


GENDERS = "http://hl7.org/fhir/administrative-gender"
IMPLIED = dict.fromkeys(("male", "female", "unknown", "other"), GENDERS)


# -- dates -----------------------------------------------------------------------------------------------

Moment = tuple[datetime, datetime]
FIRST = datetime(1, 1, 1, tzinfo=UTC)
LAST = datetime(9999, 12, 31, tzinfo=UTC)


def moment(text: str) -> Moment:
    """From the first instant of a date to the first one after it."""
    found = re.fullmatch(
        r"(\d{4})(-\d\d)?(-\d\d)?(?:T(\d\d):(\d\d)(:\d\d)?(\.\d+)?(Z|[+-]\d\d:\d\d)?)?", text
    )
    assert found, text
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    month_number, day_number = int((month or "-01")[1:]), int((day or "-01")[1:])
    start = datetime(int(year), month_number, day_number, tzinfo=UTC)
    if hour is None:
        if day:
            return start, start + timedelta(days=1)
        following = (int(year) + 1, 1) if not month or month_number == 12 else (int(year), month_number + 1)
        return start, start.replace(year=following[0], month=following[1])
    start += timedelta(hours=int(hour), minutes=int(minute), seconds=int((second or ":0")[1:]))
    if zone and zone != "Z":
        shift = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:]))
        start += -shift if zone[0] == "+" else shift
    if fraction:
        start += timedelta(seconds=float(fraction))
        return start, start + timedelta(seconds=10.0 ** -(len(fraction) - 1))
    return start, start + (timedelta(seconds=1) if second else timedelta(minutes=1))


def span(value: Any) -> Moment | None:
    """What a date, a Period or the events of a Timing last; the end is exclusive."""
    if isinstance(value, str):
        return moment(value)
    if "event" in value:
        events = [moment(event) for event in value["event"]]
        return min(event[0] for event in events), max(event[1] for event in events)
    ends = [moment(value[end]) if end in value else None for end in ("start", "end")]
    if ends[0] and ends[1] and ends[0][0] >= ends[1][1]:
        ends.reverse()
    if not any(ends):
        return None
    return (ends[0][0] if ends[0] else FIRST), (ends[1][1] if ends[1] else LAST)


def compared(prefix: str, lo: Any, hi: Any, least: Any, most: Any) -> bool:
    """Does what lasts from ``lo`` to ``hi`` stand like that to a search value from ``least`` to ``most``?

    Both ends exclusive; https://hl7.org/fhir/R4/search.html#prefix word by word.
    """
    contained = least <= lo and hi <= most
    above, below = hi > most, lo < least
    return {
        "eq": contained, "ne": not contained, "gt": above, "lt": below, "ge": above or contained,
        "le": below or contained, "sa": lo >= most, "eb": hi <= least,
    }[prefix]  # fmt: skip


def date(value: Any, wanted: str) -> bool:
    prefix = wanted[:2] if wanted[:2] in PREFIXES else "eq"
    target = span(value)
    return target is not None and compared(prefix, *target, *moment(wanted.removeprefix(prefix)))


# -- numbers ---------------------------------------------------------------------------------------------


UCUM = "http://unitsofmeasure.org"
MASSES = {"mg": Decimal(1), "kg": Decimal(1_000_000)}
"""What the units in these worlds weigh; a unit is found in the place of another that measures the same."""


def decimal(value: Any) -> Decimal:
    """A number as the server holds it, or as any JSON parser does."""
    return Decimal(str(value)) if isinstance(value, int | float) else Decimal(bytes(value).decode())


def quantity(value: Any, wanted: str) -> bool:
    """``number``, ``number|system|code`` or ``number||unit``; the value a Quantity or a Range."""
    pieces = [plain(piece) for piece in cut(wanted, "|")]
    ends = [value[end] for end in ("low", "high") if end in value] or [value]
    scale = Decimal(1)
    if len(pieces) == 3 and not any(pieces[2] in (end.get("code"), end.get("unit")) for end in ends):
        own = next((end[name] for end in ends for name in ("code", "unit") if name in end), "")
        if pieces[2] not in MASSES or own not in MASSES or pieces[1] not in ("", UCUM):
            return False
        scale = MASSES[own] / MASSES[pieces[2]]
    if "low" in value or "high" in value:
        lo = decimal(value["low"]["value"]) * scale if "low" in value else -INFINITE
        hi = decimal(value["high"]["value"]) * scale if "high" in value else INFINITE
        return number_between(lo, hi, pieces[0])
    if "value" not in value:
        return False
    lo = hi = decimal(value["value"]) * scale
    lo = -INFINITE if value.get("comparator", "").startswith("<") else lo
    hi = INFINITE if value.get("comparator", "").startswith(">") else hi
    open_end = {"<": "hi", ">": "lo"}.get(value.get("comparator", ""))
    return number_between(lo, hi, pieces[0], open_end)


def number_between(lo: Decimal, hi: Decimal, wanted: str, open_end: str | None = None) -> bool:
    """Does a number from ``lo`` to ``hi`` (the end ``open_end`` excluded) fulfil ``wanted``?"""
    prefix = wanted[:2] if wanted[:2] in PREFIXES else "eq"
    text = wanted.removeprefix(prefix)
    number = Decimal(text)
    if prefix not in ("eq", "ne"):
        under = hi < number or (open_end == "hi" and hi <= number)
        over = lo > number or (open_end == "lo" and lo >= number)
        gt, lt = hi > number and not under, lo < number and not over
        equal = lo == hi == number and open_end is None
        return {"gt": gt, "lt": lt, "ge": gt or equal, "le": lt or equal, "sa": over, "eb": under}[prefix]
    mantissa, _, exponent = text.lower().partition("e")
    fraction = len(mantissa.partition(".")[2]) or (1 if exponent else 0)
    half = Decimal(5).scaleb(int(exponent or 0) - fraction - 1)
    least, most = number - half, number + half
    within = least <= lo and (hi < most or (open_end == "hi" and hi <= most))
    return within == (prefix == "eq")


# -- references ------------------------------------------------------------------------------------------


def reference(value: Any, wanted: str) -> bool:
    text, wanted = value.get("reference", ""), plain(wanted)
    own, sought = text.removeprefix(BASE), wanted.removeprefix(BASE)
    if "://" in own or "://" in sought:
        return own == sought
    return own == sought or ("/" not in sought and own.partition("/")[2] == sought)


# -- parameters ------------------------------------------------------------------------------------------

KINDS: dict[str, dict[str, Test]] = {
    "string": {"": starts, "contains": contains, "exact": exact},
    "token": {"": token},
    "date": {"": date},
    "quantity": {"": quantity},
    "reference": {"": reference},
}
PATHS: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    "Patient": {
        "family": ("string", ("name.family",)), "given": ("string", ("name.given",)), "name": ("string", ("name",)),
        "address": ("string", ("address",)), "address-city": ("string", ("address.city",)),
        "birthdate": ("date", ("birthDate",)), "death-date": ("date", ("deceasedDateTime",)),
        "gender": ("token", ("gender",)), "active": ("token", ("active",)), "identifier": ("token", ("identifier",)),
        "organization": ("reference", ("managingOrganization",)),
        "general-practitioner": ("reference", ("generalPractitioner",)),
    },
    "Observation": {
        "code": ("token", ("code",)), "category": ("token", ("category",)), "status": ("token", ("status",)),
        "value-quantity": ("quantity", ("valueQuantity",)), "value-concept": ("token", ("valueCodeableConcept",)),
        "value-string": ("string", ("valueString", "valueCodeableConcept")), "component-code": ("token", ("component.code",)),
        "combo-code": ("token", ("code", "component.code")), "identifier": ("token", ("identifier",)),
        "combo-value-quantity": ("quantity", ("valueQuantity", "component.valueQuantity")),
        "date": ("date", ("effectiveDateTime", "effectivePeriod", "effectiveTiming")),
        "subject": ("reference", ("subject",)), "patient": ("reference", ("subject",)),
        "encounter": ("reference", ("encounter",)), "performer": ("reference", ("performer",)),
        "has-member": ("reference", ("hasMember",)),
    },
    "Encounter": {
        "class": ("token", ("class",)), "type": ("token", ("type",)), "date": ("date", ("period",)),
        "subject": ("reference", ("subject",)), "patient": ("reference", ("subject",)), "length": ("quantity", ("length",)),
        "location": ("reference", ("location.location",)), "location-period": ("date", ("location.period",)),
        "service-provider": ("reference", ("serviceProvider",)), "identifier": ("token", ("identifier",)),
    },
    "Condition": {
        "code": ("token", ("code",)), "subject": ("reference", ("subject",)), "patient": ("reference", ("subject",)),
        "encounter": ("reference", ("encounter",)), "onset-date": ("date", ("onsetDateTime", "onsetPeriod")),
        "onset-age": ("quantity", ("onsetAge",)), "onset-info": ("string", ("onsetString",)),
        "recorded-date": ("date", ("recordedDate",)), "identifier": ("token", ("identifier",)),
    },
}  # fmt: skip
PAIRS = {
    "code-value-quantity": ("", "code", "valueQuantity"),
    "component-code-value-quantity": ("component", "code", "valueQuantity"),
}


def knows(type: str, code: str, modifier: str, value: str) -> bool:
    """Whether :func:`finds` can tell."""
    kind, _ = PATHS.get(type, {}).get(code, ("", ()))
    if type == "Observation" and code in PAIRS:
        return not modifier and "ap" not in [half[:2] for half in cut(value, "$")]
    if code == "patient" and "elsewhere" in value:
        return False  # what another server's resource is, only its url could tell
    if modifier == "missing" or (modifier == "not" and kind == "token"):
        return bool(kind)
    approximate = any(each[:2] == "ap" for each in cut(value, ",")) and kind in ("date", "quantity")
    return modifier in KINDS.get(kind, ()) and not approximate


def finds(document: Document, code: str, modifier: str, value: str) -> bool:
    """Whether ``code:modifier=value`` finds ``document``."""
    type = document["resourceType"]
    if code in PAIRS and type == "Observation":
        return any(_pair(document, PAIRS[code], each) for each in cut(value, ","))
    kind, paths = PATHS[type][code]
    values = [each for path in paths for each in pick(document, path)]
    if code == "patient":
        values = [each for each in values if each.get("reference", "").split("/")[-2:-1] == ["Patient"]]
    if modifier == "missing":
        return (not _present(kind, values)) == (value == "true")
    test = KINDS[kind]["" if modifier == "not" else modifier]
    found = any(test(each, wanted) for each in values for wanted in cut(value, ","))
    return found != (modifier == "not")


def _present(kind: str, values: list[Any]) -> bool:
    if kind == "string":
        return any(texts(each) for each in values)
    return any(kind != "quantity" or "value" in each or "low" in each for each in values)


def _pair(document: Document, pair: tuple[str, str, str], value: str) -> bool:
    place, first, second = pair
    code, amount = cut(value, "$")
    return any(
        token(one, code) and quantity(other, amount)
        for element in (pick(document, place) if place else [document])
        for one in pick(element, first)
        for other in pick(element, second)
    )
