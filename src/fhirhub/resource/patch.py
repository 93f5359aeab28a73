"""JSON Patch (RFC 6902) over resource documents (https://hl7.org/fhir/R4/http.html#patch).

FHIRPath Patch is in :mod:`fhirhub.resource.path_patch`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from fhirhub.errors import BadRequest, FhirError, Issue, Unprocessable
from fhirhub.resource import json
from fhirhub.resource.json import MAX_DEPTH, kind

MAX_OPERATIONS = 1000
MAX_ADDED = 100_000
"""Objects, arrays and plain values that all operations of a patch may put in together. A patch that copies
the document into itself over and over doubles it each time."""

_NEEDS = {
    "add": ("value",),
    "remove": (),
    "replace": ("value",),
    "move": ("from",),
    "copy": ("from",),
    "test": ("value",),
}


def json_patch(document: dict[str, Any], operations: Any) -> dict[str, Any]:
    """``document`` with ``operations`` (the parsed patch, an array) applied; the document itself is not
    changed.

    An array or object that a removal leaves empty goes, too, as FHIR has none. Raises BadRequest when the
    patch is malformed, Unprocessable when it does not fit the document, a ``test`` fails, or ``id`` or
    ``resourceType`` would change. Each issue names the operation by its number, from 0.
    """
    if type(operations) is not list:
        text = f"A JSON Patch is an array of operations, not {kind(operations)}."
        raise BadRequest(Issue("structure", text))
    if len(operations) > MAX_OPERATIONS:
        raise BadRequest(Issue("too-costly", f"A patch may have at most {MAX_OPERATIONS} operations."))
    patch = _Patch(json.copy(document))
    for number, operation in enumerate(operations):
        patch.apply(number, operation)
    return keep_identity(document, patch.finished())


def keep_identity(before: dict[str, Any], after: Any) -> dict[str, Any]:
    """``after``, a patched ``before``; raises Unprocessable when it is another resource now."""
    if type(after) is not dict:
        raise Unprocessable(Issue("structure", f"The patch leaves {kind(after)} in place of the resource."))
    for name in ("resourceType", "id"):
        if not json.equal(before.get(name), after.get(name)):
            text = f"A patch must not change {name} (it was {before.get(name)!r})."
            raise Unprocessable(Issue("business-rule", text, f"{before.get('resourceType')}.{name}"))
    return after


def weight(value: Any, depth: int) -> int:
    """How many objects, arrays and plain values ``value`` is made of; it is to stand ``depth`` levels deep.

    Raises Unprocessable when it would be nested deeper than a document may be.
    """
    if depth > MAX_DEPTH:
        raise Unprocessable(Issue("too-costly", f"The patch nests deeper than {MAX_DEPTH} levels."))
    if type(value) is dict:
        return 1 + sum(weight(item, depth + 1) for item in value.values())
    if type(value) is list:
        return 1 + sum(weight(item, depth + 1) for item in value)
    return 1


class _Patch:
    def __init__(self, document: Any) -> None:
        self._root = document
        self._emptied: list[Any] = []
        self._added = 0
        self._where = ""

    def apply(self, number: int, operation: Any) -> None:
        self._where = f"Operation {number}"
        if type(operation) is not dict:
            raise self._malformed(f"must be an object, not {kind(operation)}")
        op = operation.get("op")
        if type(op) is not str or op not in _NEEDS:
            raise self._malformed(f"op must be one of {', '.join(_NEEDS)}")
        for name in ("path", *_NEEDS[op]):
            if name not in operation:
                raise self._malformed(f"({op}) has no {name}")
        self._where = f"Operation {number} ({op} {operation['path']})"
        tokens = self._pointer(operation["path"])
        source = self._pointer(operation["from"]) if "from" in _NEEDS[op] else []
        self._operations[op](self, tokens, source, operation.get("value"))

    def finished(self) -> Any:
        if self._emptied and type(self._root) in (dict, list):
            emptied = {id(value) for value in self._emptied}
            _prune(self._root, emptied)
        return self._root

    def _malformed(self, reason: str) -> BadRequest:
        return BadRequest(Issue("invalid", f"{self._where}: {reason}."))

    def _unfit(self, reason: str, code: str = "not-found") -> FhirError:
        return Unprocessable(Issue(code, f"{self._where}: {reason}."))

    def _pointer(self, text: Any) -> list[str]:
        """The reference tokens of a JSON Pointer (RFC 6901)."""
        if type(text) is not str:
            raise self._malformed(f"a JSON Pointer is a string, not {kind(text)}")
        if not text:
            return []
        if text[0] != "/":
            raise self._malformed(f"the JSON Pointer {text!r} must be empty or begin with '/'")
        tokens = text[1:].split("/")
        for token in tokens:
            if "~" in token.replace("~0", "").replace("~1", ""):
                raise self._malformed(f"in the JSON Pointer {text!r}, '~' must be written ~0 and '/' ~1")
        return [token.replace("~1", "/").replace("~0", "~") for token in tokens]

    def _index(self, token: str, length: int, inserting: bool) -> int:
        if inserting and token == "-":
            return length
        if not (token.isascii() and token.isdigit()) or (token[0] == "0" and token != "0") or len(token) > 9:
            raise self._unfit(f"{token!r} is not an array index", "value")
        index = int(token)
        if index >= length + inserting:
            raise self._unfit(f"there is no index {index} in an array of {length}")
        return index

    def _step(self, holder: Any, token: str) -> Any:
        if type(holder) is dict:
            if token not in holder:
                raise self._unfit(f"there is no {token!r}")
            return holder[token]
        if type(holder) is list:
            return holder[self._index(token, len(holder), False)]
        raise self._unfit(f"{token!r} is looked for in {kind(holder)}")

    def _get(self, tokens: list[str]) -> Any:
        value = self._root
        for token in tokens:
            value = self._step(value, token)
        return value

    def _put(self, tokens: list[str], value: Any) -> None:
        """Add at ``tokens``; ``value`` must not be shared with anything else."""
        self._added += weight(value, len(tokens))
        if self._added > MAX_ADDED:
            raise Unprocessable(Issue("too-costly", f"{self._where}: the patch adds too much."))
        if not tokens:
            self._root = value
            return
        holder, token = self._get(tokens[:-1]), tokens[-1]
        if type(holder) is dict:
            holder[token] = value
        elif type(holder) is list:
            holder.insert(self._index(token, len(holder), True), value)
        else:
            raise self._unfit(f"nothing can be added to {kind(holder)}")

    def _take(self, tokens: list[str]) -> Any:
        if not tokens:
            raise self._unfit("the whole resource cannot be removed", "business-rule")
        holder, token = self._get(tokens[:-1]), tokens[-1]
        value = self._step(holder, token)
        if type(holder) is dict:
            del holder[token]
        else:
            del holder[int(token)]
        if not holder:
            self._emptied.append(holder)
        return value

    def _add(self, tokens: list[str], _: list[str], value: Any) -> None:
        self._put(tokens, json.copy(value))

    def _remove(self, tokens: list[str], _: list[str], __: Any) -> None:
        self._take(tokens)

    def _replace(self, tokens: list[str], _: list[str], value: Any) -> None:
        if tokens:
            holder, token = self._get(tokens[:-1]), tokens[-1]
            self._step(holder, token)
            if type(holder) is list:
                del holder[int(token)]
        self._put(tokens, json.copy(value))

    def _move(self, tokens: list[str], source: list[str], _: Any) -> None:
        if tokens == source:
            self._get(source)
            return
        if tokens[: len(source)] == source:
            raise self._unfit("a value cannot be moved into itself", "value")
        self._put(tokens, self._take(source))

    def _copy(self, tokens: list[str], source: list[str], _: Any) -> None:
        self._put(tokens, json.copy(self._get(source)))

    def _test(self, tokens: list[str], _: list[str], value: Any) -> None:
        if not json.equal(self._get(tokens), value, digits=False):
            raise self._unfit(f"the value is {_shown(self._get(tokens))}, not {_shown(value)}", "conflict")

    _operations: ClassVar[dict[str, Callable[[_Patch, list[str], list[str], Any], None]]] = {
        "add": _add,
        "remove": _remove,
        "replace": _replace,
        "move": _move,
        "copy": _copy,
        "test": _test,
    }


def _shown(value: Any) -> str:
    text = json.dumps(value).decode()
    return text if len(text) <= 100 else text[:97] + "…"


def _prune(value: Any, emptied: set[int]) -> None:
    """Remove below ``value`` what a removal emptied, and what that leaves empty in turn."""
    for key, item in reversed(list(value.items() if type(value) is dict else enumerate(value))):
        if type(item) not in (dict, list):
            continue
        _prune(item, emptied)
        if not item and (id(item) in emptied):
            del value[key]
            if not value:
                emptied.add(id(value))
