"""The page of the API in a real browser: it draws itself from the server's own files and nothing else."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from support.process import Server

CHROMIUM = shutil.which("chromium")
_QUIET = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip


@pytest.mark.browser
@pytest.mark.process
@pytest.mark.skipif(
    CHROMIUM is None, reason="THERE IS NO CHROMIUM ON THIS MACHINE: the docs page was not looked at"
)
def test_the_docs_page_draws_itself(server: Server, tmp_path: Path) -> None:
    command = [
        str(CHROMIUM), *_QUIET, f"--user-data-dir={tmp_path}", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
        "--virtual-time-budget=20000", "--dump-dom", f"{server.base.removesuffix('/fhir')}/docs",
    ]  # fmt: skip
    page = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "opblock-tag" in page, page[:2000]
    for shown in ("/fhir/metadata", "{type}/_search", "Observation/$lastn"):
        assert shown in page
    assert "Failed to load" not in page
