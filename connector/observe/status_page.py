"""The status page at `/`: one HTML file that has no data, and asks the JSON pages of the same server for all data.

The file is the same for everybody, so it is served without the token of `observe.token`: a browser cannot send a token
for the address that a person types. The page asks the person for the token, keeps it in the memory of its script, and
sends it with each request for data. Nothing stores it: no cookie, no storage of the browser, no address.

The browser runs only the script and the styles of the file itself, and asks only this server: see `_content_policy`.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from connector.observe.http import AskedPage, Headers, Page, Said, json_page
from connector.runtime.topics import TopicsError, topics

if TYPE_CHECKING:
    from connector.config.model import Config

PATH: Final = "/"


def status_page(config: Config) -> Page:
    """Returns the function that makes the page; the file is read once. The page says whether a token is needed."""
    html = files("connector.observe").joinpath("status.html").read_text("utf-8")
    if config.observe.token is not None:
        html = html.replace('data-token="no"', 'data-token="yes"', 1)
    headers: Headers = (
        ("Content-Security-Policy", _content_policy(html)),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("X-Frame-Options", "DENY"),
    )
    body = html.encode()
    return lambda: (200, "text/html", body, headers)


def _content_policy(html: str) -> str:
    """Returns the Content-Security-Policy: only the script and the styles of the page, and requests to its own server.

    No form is ever sent, no other site may show the page in a frame, and no text becomes markup (Trusted Types).
    """

    def allowed(tag: str) -> str:
        contents = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digests = [base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() for content in contents]
        return " ".join(f"'sha256-{digest}'" for digest in digests)

    rules = {
        "default-src": "'none'",
        "script-src": allowed("script"),
        "style-src": allowed("style"),
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def topics_page(config: Callable[[], Config]) -> AskedPage:
    """Returns the function that makes `/topics.json`: one level of the tree of a `source`, right below `under`.

    `after` is the last level that the visitor has; `text` asks for all topics with this text instead. `config`
    returns the configuration at the time of the call.
    """

    def page(asked: Mapping[str, str]) -> Said:
        try:
            found = topics(
                config(), asked.get("source", ""), asked.get("under", ""), asked.get("after"), asked.get("text", "")
            )
        except TopicsError as error:
            return json_page(400, {"error": str(error)})
        return json_page(200, found)

    return page
