"""Answers of pages that are not pages: going elsewhere."""

from __future__ import annotations

from fastapi import Response

SAFE = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Answer(Exception):
    """Raised where a handler cannot go on: the response to give instead."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


def see_other(to: str) -> Response:
    """303: get ``to``, which is an address of our own making."""
    return Response(status_code=303, headers={**SAFE, "Location": to})
