"""All routes of the authorization server that are not pages, put together."""

from __future__ import annotations

from fastapi import APIRouter

from fhirhub.smart import brands, discovery, introspect, published, register, revoke, token
from fhirhub.smart.context import Smart


def router(smart: Smart) -> APIRouter:
    """The routes, for the app that serves what is not FHIR."""
    made = APIRouter()
    for room in (discovery, published, brands, register, token, introspect, revoke):
        made.include_router(room.router(smart))
    return made
