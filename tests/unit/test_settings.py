"""Settings: types, defaults, secrets in files, misspelt names."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from fhirhub.settings import Settings, SettingsError, as_environment, describe, load, variable


def test_defaults_need_no_environment() -> None:
    loaded = load({})
    assert loaded.settings == Settings()
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("PORT", "9000", 9000),
        ("REFERENTIAL_INTEGRITY", "off", False),
        ("MAX_BODY", "3MiB", 3 << 20),
        ("SHARED_BUFFERS", "512kB", 512 << 10),
        ("MAX_BODY", "17", 17),
        ("DATA_DIR", "/srv/x", Path("/srv/x")),
        ("CORS_ORIGINS", "https://a, https://b", ("https://a", "https://b")),
        ("BASE_URL", "https://hub.example/", "https://hub.example"),
        ("DRAIN_TIMEOUT", "2.5", 2.5),
    ],
)
def test_values_are_typed(name: str, text: str, expected: object) -> None:
    settings = load({f"FHIRHUB_{name}": text}).settings
    assert getattr(settings, name.lower()) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "-1"),
        ("PORT", "http"),
        ("REFERENTIAL_INTEGRITY", "perhaps"),
        ("HTTP_SERVER", "apache"),
        ("MAX_BODY", "big"),
        ("BASE_URL", "hub.example"),
        ("DATABASE_URL", "mysql://x"),
        ("DRAIN_TIMEOUT", "soon"),
    ],
)
def test_a_wrong_value_names_its_variable(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"FHIRHUB_{name}"):
        load({f"FHIRHUB_{name}": text})


def test_an_unknown_variable_is_a_warning_with_a_suggestion() -> None:
    (warning,) = load({"FHIRHUB_DATABSE_URL": "x"}).warnings
    assert "FHIRHUB_DATABASE_URL" in warning


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text("postgresql://u:p@h/d\n")
    loaded = load({"FHIRHUB_DATABASE_URL_FILE": str(path)})
    assert loaded.settings.database_url == "postgresql://u:p@h/d"
    assert loaded.origins["database_url"] == str(path)
    with pytest.raises(SettingsError, match="both set"):
        load({"FHIRHUB_DATABASE_URL_FILE": str(path), "FHIRHUB_DATABASE_URL": "postgresql://x"})
    with pytest.raises(SettingsError, match="cannot be read"):
        load({"FHIRHUB_METRICS_TOKEN_FILE": str(tmp_path / "none")})


def test_secrets_are_masked() -> None:
    loaded = load(
        {"FHIRHUB_DATABASE_URL": "postgresql://me:hush@h:5/d?x=hush", "FHIRHUB_METRICS_TOKEN": "hush"}
    )
    rows = describe(loaded)
    assert "hush" not in repr(rows)
    assert {row["name"]: row["value"] for row in rows}[
        "FHIRHUB_DATABASE_URL"
    ] == "postgresql://me:***@h:5/d?***"
    with pytest.raises(SettingsError) as error:
        load({"FHIRHUB_DATABASE_URL": "mysql://me:hush@h"})
    assert "hush" not in str(error.value)


def test_a_worker_gets_the_same_settings() -> None:
    loaded = load(
        {
            "FHIRHUB_PORT": "1",
            "FHIRHUB_NO_AUTH": "on",
            "FHIRHUB_CORS_ORIGINS": "a,b",
            "FHIRHUB_REFERENTIAL_INTEGRITY": "off",
            "FHIRHUB_MAX_BODY": "1GB",
        }
    )
    assert load(as_environment(loaded.settings)).settings == loaded.settings


def test_every_setting_is_described() -> None:
    assert {row["name"] for row in describe(load({})) if row["about"]} == {
        variable(item.name) for item in fields(Settings)
    }


@pytest.mark.parametrize(
    ("host", "base", "local"),
    [
        ("127.0.0.1", None, True),
        ("::1", "http://localhost:8080", True),
        ("127.0.0.1", "https://127.0.0.9", True),
        ("127.0.0.1", "https://hub.example", False),
        ("127.0.0.1", "https://127.0.hub.example", False),
        ("0.0.0.0", None, False),
        ("0.0.0.0", "http://localhost", False),
        ("127.0.hub.example", None, False),
    ],
)
def test_a_server_is_local_when_nothing_passes_requests_of_others_on(
    host: str, base: str | None, local: bool
) -> None:
    assert Settings(host=host, base_url=base).is_local is local
