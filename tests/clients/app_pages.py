"""A small app of two pages around the SMART JavaScript library, on an address of its own."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

LIBRARY = Path(__file__).parents[1] / "vendored" / "fhirclient" / "fhir-client.pure.min.js.gz"
# Starts as SMART says: from a link of its own with ?iss=, or by whoever launches it with ?iss= and &launch=.
_LAUNCH = """<!doctype html><title>An app starts</title>
<p role="alert"></p>
<script src="/fhir-client.js"></script>
<script>
const name = new URLSearchParams(location.search).get('app');
fetch('/apps.json').then(found => found.json())
    .then(apps => FHIR.oauth2.authorize({...apps[name], redirectUri: 'index.html'}))
    .catch(error => { document.querySelector('p').textContent = String(error) });
</script>
"""
_INDEX = """<!doctype html><title>An app</title>
<h1></h1><p role="alert"></p>
<script src="/fhir-client.js"></script>
<script>
FHIR.oauth2.ready().then(async client => {
    window.client = client;
    window.ask = async (url, options) => {
        const answer = await fetch(url, options);
        return [answer.status, await answer.json()];
    };
    window.plainly = url => ask(client.state.serverUrl + '/' + url,
        {headers: {Authorization: client.getAuthorizationHeader()}});
    window.token = fields => ask(client.state.tokenUri, {method: 'POST', body: new URLSearchParams(fields)});
    const patient = client.patient.id ? await client.patient.read() : null;
    document.querySelector('h1').textContent = patient ? patient.name[0].family : 'no patient';
}).catch(error => { document.querySelector('p').textContent = String(error) });
</script>
"""


class App:
    """Where it is, and the apps it can be: name -> ``clientId`` and ``scope``."""

    def __init__(self, port: int) -> None:
        self.origin = f"http://127.0.0.1:{port}"
        self.elsewhere = f"http://localhost:{port}"
        """The same pages at an origin that is registered nowhere."""
        self.redirect_uri = f"{self.origin}/index.html"
        self.registered: dict[str, dict[str, str]] = {}

    def launch_url(self, name: str) -> str:
        """What ``name`` is launched by."""
        return f"{self.origin}/launch.html?app={name}"

    def page(self, path: str) -> tuple[str, bytes] | None:
        """Content type and content of a page."""
        texts = {
            "/launch.html": _LAUNCH,
            "/index.html": _INDEX,
            "/nothing.html": "<!doctype html><title>-</title>",
        }
        if path in texts:
            return "text/html; charset=utf-8", texts[path].encode()
        if path == "/fhir-client.js":
            return "text/javascript", gzip.decompress(LIBRARY.read_bytes())
        if path == "/apps.json":
            return "application/json", json.dumps(self.registered).encode()
        return None


@contextmanager
def serving() -> Iterator[App]:
    """The app on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 - the name that http.server looks for
            found = app.page(urlsplit(self.path).path)
            kind, content = found or ("text/plain", b"nothing is here")
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    app = App(server.server_address[1])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield app
    finally:
        server.shutdown()
        server.server_close()
