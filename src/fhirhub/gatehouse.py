"""The authorization server of one worker, and its gate before everything that is FHIR."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fhirhub.auth.authority import Authority
from fhirhub.auth.policy import load as load_policies
from fhirhub.auth.preview import of_role
from fhirhub.bridges import Patients, looks, recorder, trail
from fhirhub.consents import Consents
from fhirhub.http.dispatcher import Dispatcher
from fhirhub.http.shell import Shell
from fhirhub.hub import clock
from fhirhub.packaged import folder
from fhirhub.settings import Settings
from fhirhub.smart.bearer import Bearer
from fhirhub.smart.context import open_smart
from fhirhub.smart.storage.tokens import consents as consents_version
from fhirhub.smart.trusted import trusted
from fhirhub.store.store import Store


@asynccontextmanager
async def guarded(
    settings: Settings, dispatcher: Dispatcher, shell: Shell, store: Store
) -> AsyncIterator[None]:
    """While it lasts, ``dispatcher`` answers only who has a token, and ``shell`` has the pages to get one.

    Nothing of the kind where everything is open. Raises PolicyError for a policy that cannot be applied.
    """
    if settings.no_auth:
        yield
        return
    indexing = store.indexing
    written = settings.policies or folder("capability") / "policies"
    policies = load_policies(written, indexing.definitions.resource_types)
    consents = Consents(store)
    authority = Authority(
        indexing.definitions, indexing.parser.registry, indexing.parser, policies,
        consents.active, consents.affiliations,
    )  # fmt: skip
    authority.check()
    issuer = settings.base_url or ""
    hooks = {
        "audit": recorder(store.audit, dispatcher.floods),
        "patients": Patients(lambda: dispatcher.hub, authority, issuer, partial(consents_version, store)),
        "looked_at": looks(store.fetch),
        "trail": trail(store.fetch),
        "preview": partial(of_role, policies),
        "check_policy": authority.check_client,
    }
    smart = await open_smart(settings, hooks=hooks)
    try:
        dispatcher.gate = Bearer(
            smart.lane, authority, clock, idle=settings.session_idle, issuer=issuer, foreign=trusted(smart)
        )
        shell.smart = smart
        dispatcher.cors.registered = smart.origins.registered
        yield
    finally:
        dispatcher.cors.registered = None
        dispatcher.gate = None
        await smart.close()
