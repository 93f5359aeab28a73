"""Every ``FHIRHUB_*`` variable, typed, with its default. Nobody else reads the environment.

Plain dataclasses on purpose: this module is the first thing every process imports, and start-up time is a promise.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

PREFIX = "FHIRHUB_"
_MEBI = 1024 * 1024


class SettingsError(ValueError):
    """A variable has a value that cannot be used; the text names the variable and what it takes."""


def _switch(text: str) -> bool:
    word = text.strip().lower()
    if word in ("1", "on", "true", "yes"):
        return True
    if word in ("0", "off", "false", "no", ""):
        return False
    raise ValueError("on or off")


def _natural(text: str) -> int:
    if not text.strip().isdecimal():
        raise ValueError("a whole number, 0 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e9:
        raise ValueError("a number of seconds")
    return number


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError("one of " + ", ".join(words))
        return text

    return read


def _size(text: str) -> int:
    """Bytes from ``64MiB``, ``64MB``, ``512kB`` or a plain number; all units are powers of 1024."""
    word = text.strip().lower().removesuffix("ib").removesuffix("b")
    factor = {"k": 1024, "m": _MEBI, "g": 1024 * _MEBI}.get(word[-1:], 1)
    digits = (word[:-1] if factor > 1 else word).strip()
    if not digits.isdecimal():
        raise ValueError("a size such as 512kB, 64MiB or 2GB")
    return int(digits) * factor


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in (part.strip() for part in text.split(",")) if word)


def _networks(text: str) -> tuple[str, ...]:
    try:
        return tuple(str(ip_network(word, strict=False)) for word in _words(text))
    except ValueError:
        raise ValueError("addresses or networks such as 10.0.0.0/8, separated by commas") from None


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ValueError("an absolute http(s) URL without query")
    return text.rstrip("/")


def _issuer(text: str) -> str:
    """An address that is compared as it is: some issuers end in a slash."""
    _url(text)
    return text


def _dsn(text: str) -> str:
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("postgresql://user:password@host:port/database")
    return text


def _var(default: Any, read: Callable[[str], Any], about: str, *, secret: bool = False) -> Any:
    return field(default=default, metadata={"read": read, "about": about, "secret": secret})


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one process. Field ``data_dir`` is the variable ``FHIRHUB_DATA_DIR``, and so on.

    A secret may also be given as ``<NAME>_FILE``, the path of a file that holds it.
    """

    database_url: str | None = _var(
        None, _dsn, "An existing Postgres (15 or newer); without it an embedded one is run.", secret=True
    )
    data_dir: Path = _var(Path(".fhirhub"), Path, "Where the embedded Postgres and generated keys live.")
    postgres_bin: Path | None = _var(
        None, Path, "The bin folder of the PostgreSQL to run as embedded one, instead of the packaged one."
    )
    shared_buffers: int = _var(
        0,
        _size,
        "Memory the embedded Postgres caches pages in; 0 = an eighth of the machine's, 64 MiB to 2 GiB.",
    )

    host: str = _var("127.0.0.1", str, "The address to listen on.")
    port: int = _var(8080, _natural, "The port to listen on; 0 takes a free one.")
    workers: int = _var(0, _natural, "Worker processes; 0 = one per core, at most 4.")
    http_server: str = _var(
        "uvicorn", _one_of("uvicorn", "granian"), "The HTTP server: uvicorn, or granian (the extra 'fast')."
    )
    base_url: str | None = _var(
        None, _url, "The address callers know this server by, without /fhir; else the one they called."
    )
    tls_cert: Path | None = _var(None, Path, "Certificate chain (PEM) to serve https with.")
    tls_key: Path | None = _var(None, Path, "Private key (PEM) of the certificate.")
    master_key: str | None = _var(
        None,
        str,
        "The key all other keys come from, 64 hex digits; else one is made in the data directory.",
        secret=True,
    )
    no_auth: bool = _var(False, _switch, "Open everything to everyone, for tests; loopback only.")
    session_idle: float = _var(900.0, _seconds, "Seconds after which an idle browser is signed out.")
    session_absolute: float = _var(
        43_200.0, _seconds, "Seconds after which a browser is signed out however busy it is."
    )
    audit: str = _var(
        "auto",
        _one_of("auto", "on", "off"),
        "Record every interaction in the audit trail; auto: unless everything is open (FHIRHUB_NO_AUTH).",
    )
    audit_anchors: float = _var(
        900.0,
        _seconds,
        "Seconds between two anchors of the audit trail, kept in the data directory and in the log; 0 = none.",
    )
    policies: Path | None = _var(
        None,
        Path,
        "Folder with the practice's own access policies, instead of those that come with the server.",
    )
    provenance: str = _var(
        "outside",
        _one_of("outside", "off"),
        "Write a Provenance of what clients without a user (labs, other systems) write, unless they give one.",
    )
    access_token_life: float = _var(
        3600.0,
        _seconds,
        "Seconds that an access token of a person's app is good for; at most 3600 is advised.",
    )
    system_token_life: float = _var(
        300.0,
        _seconds,
        "Seconds that an access token of a backend system is good for; SMART takes at most 300.",
    )
    refresh_token_life: float = _var(
        8_640_000.0,
        _seconds,
        "Seconds that offline access lasts without being used; each use begins them anew.",
    )
    trusted_issuer: str | None = _var(
        None, _issuer, "An OpenID provider whose access tokens (JWTs) are accepted beside this server's own."
    )
    trusted_audience: str | None = _var(
        None, str, "What such a token must have in aud; else the FHIR base of FHIRHUB_BASE_URL."
    )
    trusted_claim: str = _var(
        "sub", str, "The claim of such a token that holds the username of the account it is for."
    )
    trusted_proxies: tuple[str, ...] = _var(
        (),
        _networks,
        "Addresses or networks of your own proxies: what they say of a caller's address is believed.",
    )
    cors_origins: tuple[str, ...] = _var(
        ("loopback",),
        _words,
        "Origins that browsers may call from, beside those of registered apps; loopback = this machine, * = all.",
    )
    registration: bool = _var(False, _switch, "Let apps register themselves at /auth/register (RFC 7591).")
    practice_name: str = _var(
        "fhirhub practice", str, "The name by which patients and apps know the practice."
    )
    practice_url: str | None = _var(
        None, _url, "The practice's web site; its brand in app lists is named by it."
    )
    practice_logo: str | None = _var(
        None, _url, "https address of the practice's logo (SVG, or PNG of 1024x1024) for app lists."
    )

    referential_integrity: bool = _var(True, _switch, "Refuse references to what is not on this server.")
    max_body: int = _var(64 * _MEBI, _size, "Bytes of a request body, after decompression.")
    max_entries: int = _var(10_000, _natural, "Entries of a batch or transaction.")
    max_in_flight: int = _var(
        512, _natural, "Requests one worker handles at a time; more are answered 503 with Retry-After."
    )
    request_timeout: float = _var(60.0, _seconds, "Seconds a request may take.")
    search_timeout: float = _var(
        30.0, _seconds, "Seconds that one statement of a search may take in the database; 0 = no limit."
    )
    search_cost: int = _var(
        5_000_000,
        _natural,
        "Index entries that one search may be expected to look at, before it is refused; 0 = no limit.",
    )
    budget: int = _var(
        0,
        _natural,
        "What one caller may spend in a minute: a read costs 1, a search 1 for each 1,000 index entries more;"
        " 0 = no limit.",
    )
    drain_timeout: float = _var(20.0, _seconds, "Seconds that requests in hand get when the server stops.")
    pool_size: int = _var(8, _natural, "Database connections of one worker.")
    default_count: int = _var(20, _natural, "Entries of a page when _count is not given.")
    max_count: int = _var(1000, _natural, "The largest _count that is honoured.")

    log_format: str = _var(
        "auto", _one_of("auto", "json", "human"), "json, human, or human on a terminal only."
    )
    log_level: str = _var(
        "info", _one_of("debug", "info", "warning", "error"), "The least important level that is logged."
    )
    access_log: bool = _var(False, _switch, "One log line for each request; failures are logged in any case.")
    metrics_token: str | None = _var(
        None, str, "Bearer token for /metrics; without it only loopback callers get metrics.", secret=True
    )

    @property
    def is_audited(self) -> bool:
        """Whether there is an audit trail. Where everything is open there is nobody to tell of."""
        return self.audit == "on" or (self.audit == "auto" and not self.no_auth)

    @property
    def bind_is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def is_local(self) -> bool:
        """Whether callers are of this machine only: with the address of another, something passes requests on."""
        return self.bind_is_loopback and (
            self.base_url is None or is_loopback(urlsplit(self.base_url).hostname or "")
        )


def is_loopback(host: str) -> bool:
    """Whether ``host``, a name or literal address, means this machine only.

    Names that merely begin like such an address (127.0.example.org) are anybody's.
    """
    parts = host.split(".")
    return host in ("localhost", "::1", "[::1]") or (
        len(parts) == 4 and parts[0] == "127" and all(part.isascii() and part.isdecimal() for part in parts)
    )


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings with what was noticed on the way: variables nobody knows, and where each value came from."""

    settings: Settings
    warnings: tuple[str, ...]
    origins: Mapping[str, str]
    """Field name -> 'default', 'environment' or the path of the file."""


def variable(name: str) -> str:
    """The environment variable of the field ``name``."""
    return PREFIX + name.upper()


def load(environ: Mapping[str, str] | None = None) -> Loaded:
    """Read the settings from ``environ`` (default: that of the process).

    Raises SettingsError for a value that cannot be used. A ``FHIRHUB_`` variable that means nothing is a warning,
    since a misspelt one would otherwise be a silently missing protection.
    """
    env = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    known: set[str] = set()
    for item in fields(Settings):
        name = variable(item.name)
        known.add(name)
        text, origin = env.get(name), "environment"
        if item.metadata["secret"]:
            known.add(name + "_FILE")
            if (path := env.get(name + "_FILE")) is not None:
                if text is not None:
                    raise SettingsError(f"{name} and {name}_FILE are both set; keep one of them.")
                text, origin = _read_secret(name, path), path
        origins[item.name] = "default" if text is None else origin
        if text is not None:
            values[item.name] = _value(name, text, item.metadata["read"], bool(item.metadata["secret"]))
    unknown = sorted(name for name in env if name.startswith(PREFIX) and name not in known)
    return Loaded(Settings(**values), tuple(_unknown(name, known) for name in unknown), origins)


def _value(name: str, text: str, read: Callable[[str], Any], secret: bool) -> Any:
    try:
        return read(text)
    except ValueError as error:
        shown = "its value" if secret else repr(text)
        raise SettingsError(f"{name}: {shown} cannot be used; it takes {error}.") from None


def _read_secret(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{name}_FILE: {path} cannot be read ({error}).") from None


def _unknown(name: str, known: set[str]) -> str:
    close = get_close_matches(name, known, 1, 0.7)
    return f"{name} is set but means nothing" + (f"; did you mean {close[0]}?" if close else ".")


def override(settings: Settings, **given: Any) -> Settings:
    """``settings`` with those of ``given`` that are not None, as command line options override variables."""
    return replace(settings, **{name: value for name, value in given.items() if value is not None})


def as_environment(settings: Settings) -> dict[str, str]:
    """The variables that make :func:`load` return ``settings`` again; how a supervisor hands them to its workers."""
    made: dict[str, str] = {}
    for item in fields(Settings):
        value = getattr(settings, item.name)
        if value != item.default:
            made[variable(item.name)] = _text(value)
    return made


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)


def describe(loaded: Loaded) -> list[dict[str, Any]]:
    """One entry per setting, secrets masked: name, value, origin, default, about."""
    rows = []
    for item in fields(Settings):
        value = getattr(loaded.settings, item.name)
        if item.metadata["secret"] and value is not None:
            value = _masked(str(value))
        rows.append(
            {
                "name": variable(item.name),
                "value": None if value is None else _text(value),
                "origin": loaded.origins.get(item.name, "default"),
                "default": None if item.default is None else _text(item.default),
                "about": item.metadata["about"],
            }
        )
    return rows


def _masked(secret: str) -> str:
    parts = urlsplit(secret)
    if not parts.scheme or not parts.hostname:
        return "***"
    netloc = parts.netloc
    if parts.password is not None:
        user, _, place = netloc.rpartition("@")
        netloc = f"{user.split(':', 1)[0]}:***@{place}"
    return urlunsplit((parts.scheme, netloc, parts.path, "***" if parts.query else "", ""))
