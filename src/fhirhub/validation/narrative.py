"""The XHTML of a narrative (https://hl7.org/fhir/R4/narrative.html): well-formed, and harmless where it is
shown."""

from __future__ import annotations

from html.entities import name2codepoint
from xml.parsers import expat

NAMESPACE = "http://www.w3.org/1999/xhtml"

ELEMENTS = frozenset(
    """
    a abbr acronym address area b bdo big blockquote br caption cite code col colgroup dd dfn div dl dt em
    h1 h2 h3 h4 h5 h6 hr i img kbd li map ol p pre q samp small span strong sub sup table tbody td tfoot th
    thead tr tt u ul var """.split()
)
"""Chapters 7 to 11 and 15 of HTML 4.0 without 9.4 and without the parts that are forbidden, and 'u', which
HL7's own narratives use."""

_LINKS = frozenset({"href", "src", "cite", "longdesc", "background", "usemap"})
_REMEDY = "use only plain formatting: p, div, span, table, ul, b, i, a, img …"


class _Refused(Exception):
    """Carries the problem out of the parser's callbacks."""


class _Reader:
    """Looks at one narrative while expat parses it."""

    def __init__(self) -> None:
        self.depth = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if not self.depth:
            if name != "div":
                raise _Refused(f"must be one div element, not {name}")
            if attributes.get("xmlns") != NAMESPACE:
                raise _Refused(f'must start with <div xmlns="{NAMESPACE}">')
        self.depth += 1
        if name not in ELEMENTS:
            raise _Refused(f"contains the element {name[:40]}, which a narrative must not have; {_REMEDY}")
        for attribute, value in attributes.items():
            _check_attribute(name, attribute.lower(), value)

    def end(self, name: str) -> None:
        self.depth -= 1

    def entity(self, name: str, is_parameter: bool) -> None:
        if name not in name2codepoint:
            raise _Refused(f"contains the unknown entity &{name[:40]};")

    def forbidden(self, *parts: object) -> None:
        raise _Refused("must have no document type, entity declaration or processing instruction")


def _check_attribute(element: str, attribute: str, value: str) -> None:
    if attribute.startswith("on"):
        raise _Refused(f"has the event attribute {attribute[:40]} on {element}; remove it")
    # Browsers pass over blanks and control characters in a scheme.
    if attribute in _LINKS or attribute.endswith(":href"):
        target = "".join(value.split()).lower()
        image = element == "img" and target.startswith("data:image/")
        if target.startswith(("javascript:", "vbscript:", "data:")) and not image:
            raise _Refused(f"has a script in the attribute {attribute} of {element}; remove it")
    if attribute == "style" and ("javascript:" in value.lower() or "expression(" in value.lower()):
        raise _Refused(f"has a script in the style of {element}; remove it")


def problem(value: str) -> str | None:
    """What is wrong with the XHTML text ``value``, or None."""
    reader = _Reader()
    parser = expat.ParserCreate()
    # Entities of HTML (&nbsp;) then come to the handler instead of ending the parse; none can be declared.
    parser.UseForeignDTD(True)
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.SkippedEntityHandler = reader.entity
    parser.ProcessingInstructionHandler = reader.forbidden
    if "<!DOCTYPE" in value or "<?" in value:
        return "must have no document type, entity declaration or processing instruction"
    try:
        parser.Parse(value, True)
    except _Refused as refused:
        return str(refused)
    except expat.ExpatError as error:
        return f"is not well-formed XHTML: {expat.ErrorString(error.code)} (line {error.lineno})"
    return None
