"""The HTTP client of everything that is fetched from other people's servers.

It retries what may pass, names the wait that a rate limit asks for, keeps credentials out of errors
and away from other origins, and connects to public addresses only, unless the setting
`allowed_private_networks` names a network. A name is resolved when the connection is made, and the
connection goes to the very address that was checked.
"""

import json
import logging
import random
import socket
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from chatbot.errors import BadInput, Gone, RetryLater
from chatbot.settings import settings

TIMEOUT_SECONDS = (5, 30)  # to connect, and between two pieces of an answer
MAX_BYTES = 32 * 1024 * 1024
ATTEMPTS = 4
REDIRECTS = 5
UNKNOWN_WAIT_SECONDS = 60
MAX_WAIT_SECONDS = 3600
# What is left of the process's time when an answer has to be there.
RESERVE_SECONDS = 10
# Networks whose addresses carry one of IPv4: NAT64 (RFC 6052) and IPv4-compatible (RFC 4291).
_EMBEDDING = (ip_network("64:ff9b::/96"), ip_network("::/96"))

# At its level DEBUG urllib3 logs whole URLs, keys included.
logging.getLogger("urllib3").setLevel(logging.WARNING)


class RateLimited(Exception):
    """The server asks to come back after `seconds`."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"rate limited for {seconds} s")
        self.seconds = seconds


class Refused(Exception):
    """The server refuses this request (HTTP `status`), though not the credentials."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


class TooLarge(Exception):
    """The answer is larger than the request allowed."""


def literal_address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is in itself, in any notation that `inet_aton` takes; or None."""
    text = unicodedata.normalize("NFKC", unquote(host)).strip("[]").rstrip(".")
    try:
        return ip_address(text)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(text))  # 2130706433, 0x7f.1, 0177.0.0.1, 127.1
    except (OSError, UnicodeError):
        return None


def _inner(address: IPv4Address | IPv6Address) -> Iterator[IPv4Address | IPv6Address]:
    yield address
    if isinstance(address, IPv6Address):
        carried = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if any(address in network for network in _EMBEDDING):
            carried.append(IPv4Address(int(address) & 0xFFFFFFFF))
        yield from (inner for inner in carried if inner is not None)


def is_allowed(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is public, with all that it may carry inside, or allowed by name."""
    allowed = [ip_network(network) for network in settings().allowed_private_networks]
    if any(address.version == network.version and address in network for network in allowed):
        return True
    return all(inner.is_global and not inner.is_multicast for inner in _inner(address))


def check_url(url: str) -> None:
    """Raise `BadInput` for what can be seen to be wrong with a base URL; resolves no name."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise BadInput("not a URL") from None
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or not host:
        raise BadInput("not an http or https URL")
    if parts.username is not None or parts.password is not None:
        raise BadInput("a URL with a user name or password")
    if parts.query or parts.fragment:
        raise BadInput("a URL with a query or fragment")
    address = literal_address(host)
    if address is not None and not is_allowed(address):
        raise BadInput("an address of a private network")


def _addresses(host: str, port: int) -> list[str]:
    """The addresses of a host. Raises `BadInput` unless all of them are allowed."""
    literal = literal_address(host)
    if literal is not None:
        found = [literal]
    else:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError):
            raise NameUnknown from None
        found = [ip_address(answer[4][0]) for answer in answers]
    if not all(is_allowed(address) for address in found):
        raise BadInput("the server's name leads to an address of a private network")
    return [str(address) for address in found]


class NameUnknown(OSError):
    """The host's name cannot be resolved now."""


class _Pinned(HTTPConnection):
    """Connects to an address that was checked; host name, certificate and header stay."""

    def _new_conn(self) -> socket.socket:
        name = self._dns_host
        failure: Exception = NameUnknown()
        try:
            for address in _addresses(self.host, self.port or self.default_port):
                self._dns_host = address
                try:
                    return super()._new_conn()
                except (NewConnectionError, ConnectTimeoutError) as error:
                    failure = error
            raise failure
        finally:
            self._dns_host = name


class _PinnedTls(_Pinned, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Pinned


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _PinnedTls


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


@dataclass(frozen=True)
class Answer:
    """What came back with a status of success; the header names are in any case."""

    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises `Refused` if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise Refused("the answer is not JSON") from None

    def link(self, relation: str) -> str | None:
        """The URL of a relation in the header `Link`."""
        links = requests.utils.parse_header_links(self.headers.get("Link", ""))
        return next((link["url"] for link in links if link.get("rel") == relation), None)


class Client:
    """Requests below one base URL, with one set of credentials.

    `headers` and `params` are the credentials; they go to the base URL's own origin only.
    `remaining` gives the seconds that the process has left.
    """

    def __init__(
        self,
        base_url: str,
        remaining: Callable[[], float],
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        secrets: tuple[str, ...] = (),
    ) -> None:
        check_url(base_url)
        self.base_url = base_url.rstrip("/")
        self._remaining = remaining
        self._headers = dict(headers or {})
        self._params = dict(params or {})
        self._secrets = secrets
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy and no .netrc between us and the check
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(max_retries=0))

    def redact(self, text: str) -> str:
        """A text without the credentials, in any form in which a URL may hold them."""
        for secret in self._secrets:
            for form in (secret, quote(secret, safe=""), quote_plus(secret)):
                text = text.replace(form, "***") if form else text
        return text

    def get(
        self,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        max_bytes: int = MAX_BYTES,
        patient: bool = False,
    ) -> Answer:
        """GET a path below the base URL, or a URL of the same origin (a link to a next page).

        A `patient` request waits out a rate limit here, if the time allows: for what would have
        to begin again otherwise. Raises `RateLimited`, `RetryLater`, `BadInput` (the credentials
        are refused, or the address is), `Gone` (404, 410), `Refused`, `TooLarge`.
        """
        return self._try("GET", path, dict(params or {}), max_bytes, patient)

    def post(self, path: str, params: Mapping[str, Any]) -> Answer:
        """POST, and try again as with `get`: for what may be done twice."""
        return self._try("POST", path, dict(params), MAX_BYTES, patient=False)

    def _try(
        self, method: str, path: str, params: dict[str, Any], max_bytes: int, patient: bool
    ) -> Answer:
        url = path if "://" in path else f"{self.base_url}/{path.lstrip('/')}"
        if _origin(url) != _origin(self.base_url):
            raise Refused("a link to another server")
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._once(method, url, params, max_bytes)
            except RateLimited as error:
                if not patient or error.seconds > self._remaining() - 3 * RESERVE_SECONDS:
                    raise
                time.sleep(error.seconds)
                attempt = 0
            except RetryLater:
                if attempt == ATTEMPTS or self._remaining() < 2 * RESERVE_SECONDS:
                    raise
                time.sleep(random.uniform(0.5, 1) * 2 ** (attempt - 1) / 2)  # noqa: S311  no secret

    def _once(self, method: str, url: str, params: dict[str, Any], max_bytes: int) -> Answer:
        home = _origin(url)
        for hop in range(REDIRECTS):
            at_home = _origin(url) == home
            try:
                response = self._session.request(
                    method,
                    url,
                    params={**params, **self._params} if at_home else None,
                    headers=self._headers if at_home else None,
                    timeout=TIMEOUT_SECONDS,
                    allow_redirects=False,
                    stream=True,
                )
            except requests.RequestException as error:
                # Its text may hold the whole URL, and with it a key.
                raise RetryLater(f"{type(error).__name__} at {_place(url)}") from None
            except NameUnknown:
                raise RetryLater(f"the name of {_place(url)} is unknown") from None
            except ValueError:
                raise Refused(f"an address that cannot be read at {_place(url)}") from None
            except BadInput as error:
                if hop == 0:
                    raise
                raise Refused(f"a redirect that is not followed: {error}") from None
            with response:
                if response.is_redirect:
                    url, params = _redirected(url, response.headers["Location"]), {}
                    continue
                self._check(response, url)
                body = self._read(response, url, max_bytes)
                return Answer(response.headers, body)
        raise Refused(f"too many redirects at {_place(url)}")

    def _read(self, response: requests.Response, url: str, max_bytes: int) -> bytes:
        pieces, size = [], 0
        try:
            for piece in response.iter_content(64 * 1024):
                size += len(piece)
                if size > max_bytes:
                    raise TooLarge(f"more than {max_bytes} bytes at {_place(url)}")
                if self._remaining() < RESERVE_SECONDS:
                    raise RetryLater(f"a slow answer at {_place(url)}")
                pieces.append(piece)
        except requests.RequestException as error:
            raise RetryLater(f"{type(error).__name__} at {_place(url)}") from None
        return b"".join(pieces)

    def _check(self, response: requests.Response, url: str) -> None:
        status = response.status_code
        where = f"HTTP {status} at {_place(url)}"
        if status == 429 or (status == 503 and "Retry-After" in response.headers):
            raise RateLimited(wait_seconds(response.headers))
        if status == 408 or status >= 500:
            raise RetryLater(where)
        if status == 401:
            raise BadInput(f"the credentials are refused: {where}")
        if status in {404, 410}:
            raise Gone(where)
        if not 200 <= status < 300:
            raise Refused(where, status)


def wait_seconds(headers: Mapping[str, str]) -> int:
    """The wait, in seconds, that an answer asks for: Retry-After, else the limit's reset."""
    now = time.time()
    if (date := headers.get("Date")) is not None:
        now = _time(date) or now  # by the server's clock, which its times are of
    after = headers.get("Retry-After", "").strip()
    seconds: float
    if after.isdecimal():
        seconds = int(after)
    elif (at := _time(after)) is not None:
        seconds = at - now
    else:
        resets = (headers.get(name, "") for name in ("X-RateLimit-Reset", "RateLimit-Reset"))
        reset = next((int(text) for text in resets if text.isdecimal()), None)
        seconds = UNKNOWN_WAIT_SECONDS if reset is None else reset - now
    return int(min(max(1, seconds + 0.999), MAX_WAIT_SECONDS))


def _time(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError):
        return None


def _redirected(url: str, location: str) -> str:
    """Where a redirect leads. Raises `Refused` where nobody may be sent."""
    try:
        target = urljoin(url, location)
        check_url(target.split("?")[0].split("#")[0])
    except (BadInput, ValueError) as error:
        raise Refused(f"a redirect that is not followed: {error}") from None
    return target


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").rstrip("."), port


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}{parts.path}"
