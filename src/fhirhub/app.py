"""The composition root: the only file that knows every room."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from fhirhub import __version__
from fhirhub.auth.access import OPEN
from fhirhub.capability import ANY, Capability
from fhirhub.capability import load as load_capability
from fhirhub.definitions.tables import Definitions
from fhirhub.definitions.tables import load as load_definitions
from fhirhub.gatehouse import guarded
from fhirhub.http.budget import Budget
from fhirhub.http.dispatcher import Dispatcher
from fhirhub.http.shell import Shell
from fhirhub.hub import Handler, Hub, Limits, clock, new_id, refreshed
from fhirhub.interactions.async_ import cancel, deferrable, status
from fhirhub.interactions.audit_event import in_compartments, instead, read_event, search_events
from fhirhub.interactions.bundle import bundle
from fhirhub.interactions.capabilities import capabilities
from fhirhub.interactions.create import create
from fhirhub.interactions.delete import conditional_delete, delete
from fhirhub.interactions.history import history
from fhirhub.interactions.operation import operation
from fhirhub.interactions.patch import conditional_patch, patch
from fhirhub.interactions.read import read, vread
from fhirhub.interactions.search import search_compartment, search_system, search_type
from fhirhub.interactions.update import conditional_update, update
from fhirhub.jobs.runner import Runner
from fhirhub.keys import load as load_keys
from fhirhub.operations.everything import everything
from fhirhub.operations.explain import explain
from fhirhub.operations.lastn import lastn
from fhirhub.operations.reindex import reindex
from fhirhub.packaged import folder
from fhirhub.search.custom import Indexing
from fhirhub.settings import Settings, SettingsError, as_environment
from fhirhub.store.audit.anchors import FILE as ANCHORS
from fhirhub.store.audit.anchors import anchored
from fhirhub.store.audit.floods import Floods
from fhirhub.store.background import Background
from fhirhub.store.cost import Guard
from fhirhub.store.jobs import Jobs
from fhirhub.store.store import Store
from fhirhub.validation.validator import Validator
from fhirhub.view.view import View

DISPATCH: dict[str, Handler] = {
    "read": instead(read, read_event),
    "vread": vread,
    "update": update,
    "patch": patch,
    "delete": delete,
    "history-instance": history,
    "history-type": history,
    "history-system": history,
    "create": create,
    "search-type": deferrable(instead(search_type, search_events)),
    "search-system": deferrable(search_system),
    "search-compartment": deferrable(in_compartments(search_compartment)),
    "conditional-update": conditional_update,
    "conditional-patch": conditional_patch,
    "conditional-delete": conditional_delete,
    "bundle": bundle,
    "capabilities": capabilities,
    "operation": operation,
}
OPERATIONS: dict[tuple[str, str | None, str], Handler] = {
    ("instance", "Patient", "everything"): deferrable(everything),
    ("instance", "Encounter", "everything"): deferrable(everything),
    ("type", "Observation", "lastn"): deferrable(lastn),
    ("type", ANY, "explain"): explain,
    ("system", None, "explain"): explain,
    ("system", None, "reindex"): reindex,
    ("system", None, "async-status"): status,
    ("system", None, "async-cancel"): cancel,
}


def create_app(settings: Settings) -> Dispatcher:
    """The ASGI application of one worker; it opens the store when its lifespan starts."""
    definitions = load_definitions()
    capability = load_capability(folder("capability"))
    if settings.no_auth:
        capability = capability.unguarded()

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        audit_key = load_keys(settings).derive("audit") if settings.is_audited else None
        store = await _open(settings, definitions, audit_key)
        try:
            dispatcher.store = store
            background = Background(Jobs(store.fetch))
            dispatcher.hub = replace(make_hub(settings, capability, store), background=background)

            async def changed(indexing: Indexing) -> None:
                assert dispatcher.hub is not None
                await dispatcher.exchange(refreshed(dispatcher.hub, indexing, capability))

            runner = Runner(store, changed, as_environment(settings))
            runner.start()
            background.start()
            try:
                async with (
                    _audited(settings, dispatcher, store, audit_key),
                    guarded(settings, dispatcher, shell, store),
                ):
                    yield
            finally:
                await background.stop()
                await runner.stop()
        finally:
            dispatcher.hub = dispatcher.store = None
            await store.close()

    shell = Shell(capability, definitions, __version__)
    dispatcher = Dispatcher(
        shell,
        life,
        offered=capability.offered(definitions),
        origins=settings.cors_origins,
        max_in_flight=settings.max_in_flight,
        timeout=settings.request_timeout,
        base=settings.base_url,
    )
    if settings.budget:
        dispatcher.budget = Budget(settings.budget)
    return dispatcher


async def _open(settings: Settings, definitions: Definitions, audit_key: bytes | None) -> Store:
    """The store that ``settings`` name. Raises SettingsError when they name none."""
    if settings.database_url is None:
        raise SettingsError(
            "The app needs a database: FHIRHUB_DATABASE_URL, or 'fhirhub serve', which runs one."
        )
    return await Store.open(
        settings.database_url,
        definitions,
        integrity=settings.referential_integrity,
        connections=settings.pool_size,
        guard=Guard(settings.search_cost, settings.search_timeout),
        audit_key=audit_key,
    )


@asynccontextmanager
async def _audited(
    settings: Settings, dispatcher: Dispatcher, store: Store, key: bytes | None
) -> AsyncIterator[None]:
    """While it lasts, the trail is anchored, and no flood of failures fills it."""
    if store.audit is None:
        yield
        return
    floods = dispatcher.floods = Floods(store.audit)
    async with anchored(store.fetch, key, settings.data_dir / ANCHORS, settings.audit_anchors):
        try:
            yield
        finally:
            dispatcher.floods = None
            await floods.stop()


def make_hub(settings: Settings, capability: Capability, store: Store) -> Hub:
    """Everything that a handler needs, around an open ``store``."""
    indexing = store.indexing
    return Hub(
        definitions=indexing.definitions,
        capability=capability.extended(indexing.served),
        store=View(store, OPEN, indexing.extractor, audit=store.audit),
        validator=Validator(indexing.definitions),
        extractor=indexing.extractor,
        parser=indexing.parser,
        limits=Limits(
            body=settings.max_body,
            entries=settings.max_entries,
            deletes=capability.limits["deletes"],
            everything=capability.limits["everything"],
        ),
        clock=clock,
        new_id=new_id,
        dispatch=DISPATCH,
        witness=settings.provenance == "outside",
        operations=OPERATIONS,
        own=indexing.own,
    )
