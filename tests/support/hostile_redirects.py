"""Redirect URIs that look like registered ones and are none: prefixes, encodings, user information, look-alikes.

Registered are :data:`WEB` by the web app and :data:`NATIVE` by the native one.
"""

from __future__ import annotations

WEB = ["https://app.example/callback", "https://app.example/cb?tenant=1"]
NATIVE = [
    "http://127.0.0.1/native",
    "http://[::1]/native",
    "http://127.0.0.1:7777/fixed",
    "com.example.app:/cb",
]

FOR_WEB = [
    # another place of the same host
    "https://app.example", "https://app.example/", "https://app.example/callback/", "https://app.example/callback/x",
    "https://app.example/callbac", "https://app.example/callbackx", "https://app.example//callback",
    "https://app.example/./callback", "https://app.example/x/../callback", "https://app.example/callback/..",
    "https://app.example/callback/.", "https://app.example/callback;", "https://app.example/callback;a=1",
    "https://app.example/Callback", "https://app.example/CALLBACK", "https://app.example/callback%2F",
    "https://app.example/%63allback", "https://app.example/callback%00", "https://app.example/callback%20",
    "https://app.example/callback%0d%0aSet-Cookie:a=b", "https://app.example/callback\r\nLocation: https://evil.example",
    "https://app.example/callback\n", "\thttps://app.example/callback", " https://app.example/callback",
    "https://app.example/callback ", "https://app.example/callback\x00", "https://app.example/call\tback",
    # query and fragment
    "https://app.example/callback?", "https://app.example/callback?x=1", "https://app.example/callback#",
    "https://app.example/callback#x", "https://app.example/callback?next=https://evil.example",
    "https://app.example/cb", "https://app.example/cb?tenant=2", "https://app.example/cb?tenant=1&x=1",
    "https://app.example/cb?tenant=1#", "https://app.example/cb?tenant=1&", "https://app.example/cb?Tenant=1",
    "https://app.example/cb?tenant=1?", "https://app.example/cb?tenant=%31", "https://app.example/cb?x=1&tenant=1",
    # scheme
    "http://app.example/callback", "HTTPS://app.example/callback", "Https://app.example/callback",
    "https:/app.example/callback", "https:app.example/callback", "//app.example/callback", "app.example/callback",
    "/callback", "callback", "ftp://app.example/callback", "javascript:alert(1)", "javascript://app.example/callback",
    "javascript:https://app.example/callback", "data:text/html,https://app.example/callback",
    "file:///app.example/callback", "blob:https://app.example/callback", "about:blank",
    "view-source:https://app.example/callback", "intent://app.example/callback#Intent;end",
    "https://https://app.example/callback", "wss://app.example/callback", "vbscript:msgbox(1)",
    # host
    "https://evil.example/callback", "https://app.example.evil.example/callback", "https://app.example.",
    "https://app.example./callback", "https://evilapp.example/callback", "https://sub.app.example/callback",
    "https://www.app.example/callback", "https://App.example/callback", "https://APP.EXAMPLE/callback",
    "https://app.example:443/callback", "https://app.example:8443/callback", "https://app.example:/callback",
    "https://app.example:0443/callback", "https://app%2eexample/callback", "https://app.examp1e/callback",
    "https://\u0430pp.example/callback", "https://app\u3002example/callback", "https://app.example\u2024evil/callback",
    "https://xn--pp-7kc.example/callback", "https://app\u200b.example/callback", "https://app.example%00.evil.example/callback",
    "https://[app.example]/callback", "https://app_example/callback", "https://127.0.0.1/callback",
    "https://localhost/callback", "https://app.example%2fcallback", "https://app.example%23/callback",
    # user information and confusing separators
    "https://app.example@evil.example/callback", "https://user@app.example/callback",
    "https://user:pass@app.example/callback", "https://evil.example#@app.example/callback",
    "https://evil.example?@app.example/callback", "https://evil.example/@app.example/callback",
    "https://evil.example\\@app.example/callback", "https://app.example\\@evil.example/callback",
    "https:\\\\app.example\\callback", "https:\\/app.example/callback", "https://app.example\\callback",
    "https://evil.example\\.app.example/callback", "https:///app.example/callback", "https:////app.example/callback",
    "https://@app.example/callback", "https://:@app.example/callback", "https://app.example&@evil.example/callback",
    "https://app.example;@evil.example/callback", "https://app.example,evil.example/callback",
    # lists, wildcards, others' addresses
    "https://app.example/callback,https://evil.example", "https://app.example/callback https://evil.example",
    "https://evil.example https://app.example/callback", "https://*.example/callback", "https://app.example/*",
    "*", "", "null", "undefined", "%", "https://app.example/callback" + "a" * 4096,
    "http://127.0.0.1/native", "http://127.0.0.1:7777/fixed", "com.example.app:/cb", "urn:ietf:wg:oauth:2.0:oob",
    "https%3A%2F%2Fapp.example%2Fcallback", "\"https://app.example/callback\"", "<https://app.example/callback>",
    "https://app.example/callback'", "https://app.example/callback\"><script>", "https://app.example/callback%22",
]  # fmt: skip
"""None of these is ever redirected to for the web app."""

FOR_NATIVE = [
    # the port may be any, and nothing else
    "http://127.0.0.1:0/native", "http://127.0.0.1:65536/native", "http://127.0.0.1:99999/native",
    "http://127.0.0.1:080/native", "http://127.0.0.1:/native", "http://127.0.0.1:-1/native", "http://127.0.0.1:+80/native",
    "http://127.0.0.1: 80/native", "http://127.0.0.1:8x/native", "http://127.0.0.1:80:80/native",
    "http://127.0.0.1:\u0661\u0662/native", "http://127.0.0.1:%38%30/native", "http://127.0.0.1:80#/native",
    "http://127.0.0.1:80/native#", "http://127.0.0.1:80/native?", "http://127.0.0.1:80/native?x=1",
    "http://127.0.0.1:80/native/", "http://127.0.0.1:80/", "http://127.0.0.1:80", "http://127.0.0.1:80/nativex",
    "http://127.0.0.1:80//native", "http://127.0.0.1:80/./native", "http://127.0.0.1:80/x/../native",
    "http://127.0.0.1:80\\native", "http://127.0.0.1:80@evil.example/native", "http://127.0.0.1:80.evil.example/native",
    "http://127.0.0.1:8080/fixed", "http://127.0.0.1/fixed", "http://127.0.0.1:77777/fixed",
    # other names of this machine, and of others
    "http://localhost/native", "http://localhost:80/native", "http://127.0.0.2:80/native", "http://127.1:80/native",
    "http://2130706433:80/native", "http://0x7f000001:80/native", "http://0177.0.0.1:80/native", "http://0.0.0.0:80/native",
    "http://[::ffff:127.0.0.1]:80/native", "http://[::2]:80/native", "http://[0:0:0:0:0:0:0:1]:80/native",
    "http://[::1%25lo]:80/native", "http://::1:80/native", "http://[::1:80]/native", "http://[::1]80/native",
    "https://127.0.0.1:80/native", "HTTP://127.0.0.1:80/native", "http://127.0.0.1.evil.example:80/native",
    "http://evil.example:80/native", "http://user@127.0.0.1:80/native", "http://127.0.0.1%00:80/native",
    # an app's own scheme
    "com.example.app:/cb/", "com.example.app://cb", "com.example.app:cb", "com.example.app:/CB", "COM.example.app:/cb",
    "com.example.app:/cb?x=1", "com.example.app:/cb#x", "com.example.app2:/cb", "com.example:/cb", "example.app:/cb",
]  # fmt: skip
"""None of these is ever redirected to for the native app."""
