"""Which format goes in and out: https://hl7.org/fhir/R4/http.html#mime-type, `Prefer`, `Accept-Encoding`."""

from __future__ import annotations

from functools import lru_cache

from fhirhub.errors import BadRequest, Issue, NotAcceptable, UnsupportedMediaType
from fhirhub.exchange import Preferences

JSON = "json"
XML = "xml"
FORM = "form"
CONTENT = "content"
"""What a Binary holds, as it is."""
JSON_PATCH = "json-patch"

_JSON_TYPES = frozenset({"application/fhir+json", "application/json", "text/json", "application/json+fhir"})
_XML_TYPES = frozenset({"application/fhir+xml", "application/xml", "text/xml", "application/xml+fhir"})
_FORMATS = {name: JSON for name in ("json", *_JSON_TYPES)} | {name: XML for name in ("xml", *_XML_TYPES)}
_ANY = frozenset({"*/*", "application/*", "*"})
_VERSIONS = frozenset({"4.0", "4.0.1"})
_HEADER_LIMIT = 2000
_WRITABLE = "Send the resource as application/fhir+json or application/fhir+xml."
_READABLE = "Ask for application/fhir+json or application/fhir+xml."


def _media_range(text: str) -> tuple[str, dict[str, str]]:
    """``type/subtype; a=b`` taken apart, lower-case but for the values."""
    name, *rest = text.split(";")
    parameters = {}
    for part in rest:
        key, _, value = part.partition("=")
        parameters[key.strip().lower()] = value.strip().strip('"')
    return name.strip().lower(), parameters


def _quality(parameters: dict[str, str]) -> float:
    try:
        return float(parameters.get("q", "1"))
    except ValueError:
        return 0.0


def is_fhir(media: str) -> bool:
    """Whether a media type (lower-case, without parameters) is one that resources are written in."""
    return "/" in media and media in _FORMATS


@lru_cache(maxsize=512)
def accepted(accept: bytes) -> str:
    """The format an ``Accept`` header asks for: ``json`` or ``xml``; 406 when it can be neither."""
    best, best_quality = None, 0.0
    for text in accept[:_HEADER_LIMIT].decode("latin-1").split(","):
        name, parameters = _media_range(text)
        chosen = JSON if name in _ANY or name == "text/*" else _FORMATS.get(name) if "/" in name else None
        if chosen is None or parameters.get("fhirversion", "4.0") not in _VERSIONS:
            continue
        quality = _quality(parameters)
        if quality > best_quality:
            best, best_quality = chosen, quality
    if best is None and accept.strip():
        raise NotAcceptable(
            Issue("not-supported", f"None of the formats in Accept can be produced. {_READABLE}")
        )
    return best or JSON


@lru_cache(maxsize=128)
def format_parameter(value: str) -> str:
    """The format that ``_format`` names (an unescaped ``+`` arrives as a blank); 406 when unknown."""
    name, parameters = _media_range(value)
    chosen = _FORMATS.get(name.replace(" ", "+"))
    if chosen is None or parameters.get("fhirversion", "4.0") not in _VERSIONS:
        raise NotAcceptable(
            Issue("not-supported", f"_format '{value[:80]}' cannot be produced. Use json or xml.", "_format")
        )
    return chosen


@lru_cache(maxsize=512)
def body_format(content_type: bytes) -> str:
    """What a body is, by its ``Content-Type``: ``json``, ``xml``, ``json-patch`` or ``form``; else 415."""
    name, parameters = _media_range(content_type[:_HEADER_LIMIT].decode("latin-1"))
    charset = parameters.get("charset", "utf-8").lower()
    if charset not in ("utf-8", "utf8", "us-ascii"):
        raise UnsupportedMediaType(
            Issue("not-supported", f"charset '{charset[:40]}' is not read; send UTF-8.")
        )
    if parameters.get("fhirversion", "4.0") not in _VERSIONS:
        raise UnsupportedMediaType(
            Issue("not-supported", "This server speaks FHIR 4.0; the Content-Type names another fhirVersion.")
        )
    if name == "application/x-www-form-urlencoded":
        return FORM
    if name == "application/json-patch+json":
        return JSON_PATCH
    chosen = _FORMATS.get(name) if "/" in name else None
    if chosen is None:
        shown = f"Content-Type '{name[:80]}' is not read." if name else "The Content-Type is missing."
        raise UnsupportedMediaType(Issue("not-supported", f"{shown} {_WRITABLE}"))
    return chosen


@lru_cache(maxsize=256)
def gzip_accepted(accept_encoding: bytes) -> bool:
    """May the answer be gzip? By ``Accept-Encoding`` (RFC 9110, 12.5.3)."""
    for text in accept_encoding[:_HEADER_LIMIT].decode("latin-1").split(","):
        name, parameters = _media_range(text)
        if name in ("gzip", "*"):
            return _quality(parameters) > 0
    return False


@lru_cache(maxsize=256)
def preferences(prefer: bytes) -> Preferences:
    """The ``Prefer`` header; an unknown ``handling`` is a 400, other unknown preferences are ignored (RFC 7240)."""
    returns, lenient, respond_async = "representation", False, False
    for part in prefer[:_HEADER_LIMIT].decode("latin-1").replace(";", ",").split(","):
        name, _, value = part.partition("=")
        name, value = name.strip().lower(), value.strip().strip('"')
        if name == "return":
            known = {
                "minimal": "minimal",
                "representation": "representation",
                "operationoutcome": "OperationOutcome",
            }
            returns = known.get(value.lower(), returns)
        elif name == "handling":
            if value not in ("strict", "lenient"):
                raise BadRequest(Issue("value", "Prefer: handling is 'strict' or 'lenient'."))
            lenient = value == "lenient"
        elif name == "respond-async":
            respond_async = True
    return Preferences(returns, lenient, respond_async)
