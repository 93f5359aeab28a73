"""All pages, put together."""

from __future__ import annotations

from fastapi import APIRouter

from fhirhub.pages import (
    account,
    admin,
    admin_client,
    admin_clients,
    admin_trail,
    authorization,
    consent,
    launch,
    picker,
    sample,
    security,
    signin,
    static,
)
from fhirhub.smart.context import Smart


def router(smart: Smart) -> APIRouter:
    """The routes of the pages and their files, for the app that serves what is not FHIR."""
    made = APIRouter()
    made.include_router(static.router())
    for room in (
        signin,
        account,
        security,
        launch,
        admin,
        admin_client,
        admin_clients,
        admin_trail,
        authorization,
        picker,
        consent,
        sample,
    ):
        made.include_router(room.router(smart))
    return made
