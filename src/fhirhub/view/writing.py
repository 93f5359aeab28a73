"""What a caller's writes must keep to: the image before, the image after, and what the new one refers to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fhirhub.auth.access import Access
from fhirhub.auth.labels import underlabelled
from fhirhub.errors import Forbidden, Issue, Unprocessable
from fhirhub.resource import json
from fhirhub.resource.meta import detach
from fhirhub.search.match import Subject
from fhirhub.search.predicate import Predicate
from fhirhub.search.sight import ALL, NAME
from fhirhub.store.records import Change, Dangling, Stored, missing, missing_reference
from fhirhub.view.images import TELLING, completed, fits, references_in, spellings
from fhirhub.view.pointing import Find, Verdicts, decide, decided

ACTIONS = {"POST": "c", "PUT": "u", "PATCH": "u", "DELETE": "d"}
"""What each verb that makes a version is in the words of scopes."""


class WriteRules:
    """The rules of one caller; ``find`` looks things up where the write will happen."""

    def __init__(self, access: Access, find: Find) -> None:
        self._access = access
        self._sight = access.sight
        self._find = find
        self._verdicts: Verdicts = {}

    def fits(self, within: Predicate, change: Change, stored: Stored) -> bool:
        """Whether ``stored``, which ``change`` left after it passed :meth:`check`, fulfils ``within``."""
        if change.rows is None:
            return False
        settled = decided(within, change.rows, self._verdicts)
        return fits(settled, Subject(stored.type, stored.id, stored.updated, change.rows))

    def completed(self, document: dict[str, Any], base: Stored | None) -> dict[str, Any]:
        """``document``, which is to replace ``base``, with the elements of it that the caller cannot see.

        Raises Forbidden when it brings such elements itself, or its own of what is hidden only because it may tell
        of them: narrative and contained resources of a resource that has some already.
        """
        type = document["resourceType"]
        hidden = self._sight.hidden.get(type)
        if not hidden:
            return document
        alive = base is not None and not base.deleted
        there = json.parse(base.content.encode()) if base is not None and alive and base.content else {}
        for name in (*spellings(hidden), *(name for name in TELLING if name in there)):
            if name in document:
                text = f"{type}.{name} is hidden from you, so you cannot write it; leave it out."
                raise Forbidden(Issue("forbidden", text, f"{type}.{name}"))
        return completed(document, base, hidden) if base is not None and alive else document

    async def check(self, changes: Sequence[Change]) -> None:
        """Raise what is wrong with the first of ``changes`` that is out of reach."""
        new = {
            (each.type, each.id): Subject(each.type, each.id, 0, each.rows)
            for each in changes
            if each.rows is not None
        }
        for change in changes:
            await self._check_after(change, new)
        await self._check_before(changes)
        await self._check_references(changes)

    async def _check_after(self, change: Change, new: Mapping[tuple[str, str], Subject]) -> None:
        """The new image, and the right to the action at all."""
        action, type = ACTIONS[change.method], change.type
        self._access.require(action, type)
        within = self._sight.of(action, type)
        absent = _is_absent(change)
        if absent and action != "c" and within != ALL and self._sight.of(NAME, type) != ALL:
            # Whoever sees only a part may not choose ids: what is hidden and what is absent would be told apart.
            raise missing(type, change.id)
        if change.document is None:
            return
        self._check_labels(change)
        if change.method == "PATCH" and type in self._sight.hidden:
            text = f"Elements of {type} are hidden from you, so it cannot be patched; use an update."
            raise Forbidden(Issue("forbidden", text, change.label or type))
        if within != ALL:
            assert change.rows is not None
            settled = await decide(within, change.rows, self._find, new, self._verdicts)
            if not fits(settled, Subject(type, change.id, 0, change.rows)):
                text = (
                    f"This {type} would be outside of what you may write: it has to belong to the patient, and to"
                    " fulfil the conditions, that your access is for."
                )
                raise Forbidden(Issue("forbidden", text, change.label or type))
        if not absent and type in self._sight.writable:
            self._check_elements(change, self._sight.writable[type])

    def _check_labels(self, change: Change) -> None:
        """What holds resources is no less protected than they are."""
        assert change.document is not None
        found = underlabelled(self._access.labels, change.document)
        if found is not None:
            label, path = found
            text = (
                f"{path} carries a security label ({label.name}), and the {change.type} around it would be open to"
                f" more people: label it, too, in meta.security, with {' or '.join(label.codes)}."
            )
            raise Unprocessable(Issue("business-rule", text, f"{change.type}.meta.security"))

    def _check_elements(self, change: Change, writable: frozenset[str]) -> None:
        """Only elements that the caller may write differ from the base."""
        assert change.base is not None and change.document is not None
        base = change.base
        before = json.parse((base.content or "{}").encode())
        meta, after = detach(change.document)
        # Labels decide who sees it, so they are no less its content than anything else.
        before["meta"], after["meta"] = json.parse((base.meta or "{}").encode()), meta or {}
        allowed = spellings(writable)
        for name in sorted({*before, *after} - allowed):
            if not json.equal(before.get(name), after.get(name)):
                text = f"You may change only {', '.join(sorted(writable))} of a {change.type}, not {name}."
                raise Forbidden(Issue("forbidden", text, f"{change.type}.{name.removeprefix('_')}"))

    async def _check_before(self, changes: Sequence[Change]) -> None:
        """The present image: visible for this very action, not only for the one it was found by."""
        wanted: dict[tuple[str, str], list[Change]] = {}
        for change in changes:
            action = ACTIONS[change.method]
            # What was absent when this was prepared was not seen; should it be there, the store finds it stale.
            if action != "c" and not _is_absent(change) and self._sight.of(action, change.type) != ALL:
                wanted.setdefault((action, change.type), []).append(change)
        for (action, type), some in wanted.items():
            found = await self._find(self._sight.of(action, type), type, [each.id for each in some])
            for change in some:
                if change.id not in found:
                    scope = self._access.scope_for(action, type)
                    text = f"You may not change {type}/{change.id}; that needs {scope} for it."
                    raise Forbidden(Issue("forbidden", text, change.label or None))

    async def _check_references(self, changes: Sequence[Change]) -> None:
        """References to what is hidden are answered as references to what is absent."""
        own = {(change.type, change.id) for change in changes}
        wanted: dict[str, dict[str, str]] = {}
        for change in changes:
            if change.rows is None:
                continue
            asked = [
                (type, id)
                for _, type, id in change.rows.references
                if (type, id) not in own and self._sight.knows(type) != ALL
            ]
            before = references_in(change.base.content) if asked and change.base is not None else frozenset()
            for type, id in asked:
                if f"{type}/{id}" not in before:
                    wanted.setdefault(type, {})[id] = change.label
        problems = []
        for type, labels in wanted.items():
            found = await self._find(self._sight.knows(type), type, list(labels))
            problems += [missing_reference(type, id, at) for id, at in labels.items() if id not in found]
        if problems:
            raise Dangling(problems)


def _is_absent(change: Change) -> bool:
    """Whether there was nothing for ``change`` to replace, as far as its maker saw."""
    return change.base is None or change.base.deleted or not change.base.version
