"""What a form of ours sends: urlencoded, small, each field as often as expected, with its token."""

from __future__ import annotations

from urllib.parse import parse_qsl

from fastapi import Request

from fhirhub.pages.session import Refused, forged
from fhirhub.smart.context import Smart

LARGEST = 64 * 1024
FIELDS = 300


class Form:
    """The fields of a form."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def one(self, name: str, longest: int = 512) -> str:
        """The value of a field, '' when it is absent; refused when it comes twice or is too long."""
        found = self.every(name, longest)
        if len(found) > 1:
            raise Refused(400, "That form is not right", f"The field {name} came {len(found)} times.")
        return found[0] if found else ""

    def every(self, name: str, longest: int = 512) -> list[str]:
        """The values of a field that may come more than once."""
        found = [value for key, value in self._pairs if key == name]
        for value in found:
            if len(value) > longest or "\x00" in value:
                raise Refused(
                    400, "That form is not right", f"The field {name} may have {longest} characters."
                )
        return found


async def read(smart: Smart, request: Request) -> Form:
    """The form a request carries; refused when it is none, too large, or not sent by a page of ours."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Refused(415, "That is not a form", "Send application/x-www-form-urlencoded.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST:
            raise Refused(413, "That form is too large", f"A form may have {LARGEST} bytes.")
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=FIELDS,
            errors="strict",
        )  # fmt: skip
    except ValueError:
        raise Refused(
            400, "That form is not right", "Its fields cannot be told apart; send it again."
        ) from None
    form = Form(pairs)
    if forged(smart, request, form.one("csrf", 128)):
        raise Refused(
            403,
            "This form has expired",
            "You signed in or out since the page was loaded, or it came from elsewhere. Go back, reload, try again.",
        )
    return form
