"""All routes of the authorization server that are not pages, put together."""

from __future__ import annotations

from fastapi import APIRouter

from fhirhub.smart import brands, discovery, register
from fhirhub.smart.context import Smart


def router(smart: Smart) -> APIRouter:
    """The routes, for the app that serves what is not FHIR."""
    made = APIRouter()
    for room in (discovery, brands, register):
        made.include_router(room.router(smart))
    return made
