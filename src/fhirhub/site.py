"""Everything that is not FHIR as one FastAPI app: the page of the API, the authorization server, the pages.

Loaded when it is first asked for (:mod:`fhirhub.http.shell`): no FHIR request needs it.
"""

from __future__ import annotations

from fastapi import FastAPI

from fhirhub.capability import Capability
from fhirhub.definitions.tables import Definitions
from fhirhub.http.docs import install
from fhirhub.pages import routes as pages
from fhirhub.smart import routes as server
from fhirhub.smart.context import Smart


def make_app(capability: Capability, definitions: Definitions, version: str, smart: Smart | None) -> FastAPI:
    """The app; without ``smart`` (everything is open) there is nobody to sign in."""
    app = FastAPI(title="fhirhub", version=version, openapi_url=None, docs_url=None, redoc_url=None)
    install(app, capability, definitions, version)
    if smart is not None:
        app.include_router(server.router(smart))
        app.include_router(pages.router(smart))
    return app
