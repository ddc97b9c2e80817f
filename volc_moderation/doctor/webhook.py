"""The address of callbacks: whether it can be reached from here, and answers as ``Webhooks`` does.

No event is delivered: the requests have no body, and ``Webhooks`` refuses an empty one with any secret, and without.
"""

import asyncio
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

from volc_moderation.doctor.finding import Fact, Finding, Subject
from volc_moderation.doctor.network import ConnectFailed, Endpoint, ask, check_way, environment_proxy

#: Volcengine waits so long for the answer to a callback: https://www.volcengine.com/docs/6348/69820
ANSWER_TIMEOUT = 5.0  # seconds
_UNREADABLE, _FORGED, _NO_ROUTE, _NO_METHOD = 400, 401, 404, 405


async def check_webhook(subject: Subject, url: str, make_context: Callable[[], ssl.SSLContext]) -> list[Finding]:
    """Check the address of callbacks."""
    try:
        endpoint = Endpoint.parse(url)
    except ValueError:
        step = "give an address such as https://host/callbacks/volcengine"
        return [subject.failed("response", "not an address of http or https", step)]
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not target.isascii() or not target.isprintable() or " " in target:
        step = "escape what is not ASCII, and blanks, as %XX"
        return [subject.failed("response", "the path has characters that no URL has", step)]
    found: list[Finding] = []
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            found, got = await check_way(subject, endpoint, make_context, target=target)
            if got is None:
                return found
            posted = await ask(endpoint, environment_proxy(endpoint), make_context, method="POST", target=target)
    except TimeoutError:
        step = "look at the log and the load of the app: Volcengine gives up after 5 s"
        return [*found, subject.failed("response", f"no answer within {ANSWER_TIMEOUT:g} s", step)]
    except ConnectFailed as failure:
        return [*found, subject.failed("response", f"no answer: {failure.reason}", "look at the log of the app")]
    return [*found, judge_response(subject, got.status, posted.status, is_loopback=endpoint.is_loopback)]


def judge_response(subject: Subject, got: int, posted: int, *, is_loopback: bool) -> Finding:
    """Judge the statuses of the answers to a GET, and to a POST without a body."""
    facts: dict[str, Fact] = {"get_status": got, "post_status": posted}
    where = "; the vendors cannot reach an address of this machine" if is_loopback else ""
    detail = f"HTTP {posted} to a callback without content"
    if posted in {_UNREADABLE, _FORGED}:
        if got == _NO_METHOD:
            return subject.ok("response", f"{detail}, as of Webhooks{where}", **facts)
        step = "check that the address is that of the callbacks: Webhooks answers HTTP 405 to a GET"
        return subject.warning("response", f"{detail}, and HTTP {got} to a GET", step, **facts)
    if 200 <= posted < 300:  # noqa: PLR2004 - success
        step = "verify callbacks before they are accepted: volc_moderation.webhooks does"
    elif 300 <= posted < 400:  # noqa: PLR2004 - a redirect
        step = "give the vendor the address that this one redirects to"
    elif posted in {_NO_ROUTE, _NO_METHOD}:
        step = "check the path: that of the app, and then /volcengine or /zego"
    else:
        step = "look at the log of the app, and of what is in front of it"
    return subject.failed("response", detail, step, **facts)
