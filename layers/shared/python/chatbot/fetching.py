"""The HTTP client of everything that is fetched from other people's servers.

It retries what may pass, names the wait that a rate limit asks for, keeps credentials out of errors
and away from other origins, and connects to public addresses only. The setting
`allowed_private_networks` may name networks for base URLs; a redirect does not lead there from
elsewhere. A name is resolved when the connection is made, and the connection goes to the very
address that was checked. Of what comes back neither size nor time is the server's to choose. The
tricks that all this is for stand in tests/unit/fetching/tricks.json.
"""

import json
import logging
import random
import re
import socket
import threading
import time
import unicodedata
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError
from urllib3.response import GzipDecoder, HTTPResponse

from chatbot.errors import BadInput, Gone, RetryLater
from chatbot.settings import settings

CONNECT_SECONDS = 5
READ_SECONDS = 30  # for the head of an answer, and between two pieces of its body
MAX_ADDRESSES = 4  # of one name, that are tried one after the other
MAX_BYTES = 32 * 1024 * 1024
PIECE_BYTES = 64 * 1024
ATTEMPTS = 4
REDIRECTS = 5
UNKNOWN_WAIT_SECONDS = 60
MAX_WAIT_SECONDS = 3600
# What is left of the process's time when an answer has to be there.
RESERVE_SECONDS = 10
# The public addresses of IPv6 (RFC 4291). Those that carry one of IPv4 (mapped, compatible, NAT64)
# lie outside.
_GLOBAL_UNICAST = ip_network("2000::/3")
# What lies inside, or is public to Python's `ipaddress`, and yet no server of the internet's.
_NOT_PUBLIC = tuple(
    ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocols of the IETF
        "192.88.99.0/24",  # relays of 6to4
        "2001::/23",  # protocols of the IETF, Teredo among them, which carries an address of IPv4
        "2002::/16",  # 6to4, which carries one too
        "3fff::/20",  # documentation
    )
)
# Whether what is under way is for a base URL's own origin.
_AT_HOME = ContextVar("at_home", default=True)
_AUTHORITY = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
# Where one parser of URLs may see another host than the next one does.
_AMBIGUOUS = re.compile(r"[\s\x00-\x1f\x7f\\]")

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
    text = unquote(host).strip("[]")
    if not text.isascii():
        text = _ascii(text)
    text = text.rstrip(".")
    try:
        return ip_address(text)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(text))  # 2130706433, 0x7f.1, 0177.0.0.1, 127.1
    except (OSError, ValueError):
        return None


def _ascii(host: str) -> str:
    """A host as `requests` looks it up: full-width digits, other dots and what is not seen."""
    import idna  # only here: its tables cost a start of every function some time

    try:
        return idna.encode(host, uts46=True).decode()
    except UnicodeError:
        return unicodedata.normalize("NFKC", host)


def is_allowed(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is public, or its network is allowed to base URLs and this is one's."""
    allowed = settings().allowed_private_networks if _AT_HOME.get() else []
    if any(address in ip_network(network) for network in allowed):
        return True
    if address.version == 6 and address not in _GLOBAL_UNICAST:
        return False
    return (
        address.is_global
        and not address.is_multicast
        and not any(address in network for network in _NOT_PUBLIC)
    )


def check_url(url: str) -> None:
    """Raise `BadInput` for what can be seen to be wrong with a base URL; resolves no name."""
    authority = _AUTHORITY.match(url)
    if authority is None:
        raise BadInput("not an http or https URL")
    if "@" in authority[1]:
        raise BadInput("a URL with a user name or password")
    if _AMBIGUOUS.search(authority[1]):
        raise BadInput("not a URL")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise BadInput("not a URL") from None
    if not parts.hostname:
        raise BadInput("a URL without a host")
    if parts.query or parts.fragment:
        raise BadInput("a URL with a query or fragment")
    address = literal_address(parts.hostname)
    if address is not None and not is_allowed(address):
        raise BadInput("an address of a private network")


def _addresses(host: str, port: int) -> Sequence[str]:
    """The first addresses of a host. Raises `BadInput` unless all that it has are allowed."""
    literal = literal_address(host)
    if literal is not None:
        found = [literal]
    else:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (socket.gaierror, ValueError):
            raise NameUnknown from None
        found = [ip_address(answer[4][0]) for answer in answers]
    if not all(is_allowed(address) for address in found):
        raise BadInput("the server's name leads to an address of a private network")
    return [str(address) for address in found[:MAX_ADDRESSES]]


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

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3's own
        """The head of an answer, for which there is as much time in all as for one piece of it."""
        connected, is_late = self.sock, threading.Event()

        def hang_up() -> None:
            is_late.set()
            with suppress(OSError):
                socket.socket.shutdown(connected, socket.SHUT_RDWR)  # below TLS, which may be busy

        timer = threading.Timer(self.timeout or READ_SECONDS, hang_up)
        timer.daemon = True
        timer.start()
        try:
            response = super().getresponse()
        finally:
            timer.cancel()
        if is_late.is_set():
            raise TimeoutError  # to http.client the end of the connection is the end of the head
        return response


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


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: for a redirect `requests` would prepare the next request, even where it may not
        send it, and read this answer for that, however long it is."""


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


def within(seconds: float) -> Callable[[], float]:
    """What is left of so many seconds from now on, as `Client` asks for it."""
    end = time.monotonic() + seconds
    return lambda: end - time.monotonic()


class Client:
    """Requests below one base URL, with one set of credentials.

    `headers` and `params` are the credentials; they go to the base URL's own origin only.
    `remaining` gives the seconds that are left, of which `reserve` are not for requests.
    """

    def __init__(
        self,
        base_url: str,
        remaining: Callable[[], float],
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        secrets: tuple[str, ...] = (),
        reserve: float = RESERVE_SECONDS,
    ) -> None:
        check_url(base_url)
        self.base_url = base_url.rstrip("/")
        self._remaining = remaining
        self._headers = dict(headers or {})
        self._params = dict(params or {})
        self._secrets = secrets
        self._reserve = reserve
        self._session = _Session()
        self._session.trust_env = False  # no proxy and no .netrc between us and the check
        self._session.headers["Accept-Encoding"] = "gzip"
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

    def create(self, path: str, form: Mapping[str, Any]) -> Answer:
        """POST a form, once. After `RetryLater` nobody knows whether it was done."""
        return self._once("POST", self._url(path), {}, MAX_BYTES, form)

    def _url(self, path: str) -> str:
        url = path if "://" in path else f"{self.base_url}/{path.lstrip('/')}"
        check_url(_bare(url))
        if _origin(url) != _origin(self.base_url):
            raise Refused("a link to another server")
        return url

    def _try(
        self, method: str, path: str, params: dict[str, Any], max_bytes: int, patient: bool
    ) -> Answer:
        url = self._url(path)
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._once(method, url, params, max_bytes)
            except RateLimited as error:
                if not patient or error.seconds > self._remaining() - 3 * self._reserve:
                    raise
                time.sleep(error.seconds)
                attempt = 0
            except RetryLater:
                if attempt == ATTEMPTS or self._remaining() < 2 * self._reserve:
                    raise
                time.sleep(random.uniform(0.5, 1) * 2 ** (attempt - 1) / 2)  # noqa: S311  no secret

    def _once(
        self,
        method: str,
        url: str,
        params: dict[str, Any],
        max_bytes: int,
        form: Mapping[str, Any] | None = None,
    ) -> Answer:
        home = _origin(url)
        for _ in range(REDIRECTS):
            with self._send(method, url, params, form, at_home=_origin(url) == home) as response:
                if response.is_redirect:
                    if form is not None:
                        raise Refused(f"a form sent elsewhere from {_place(url)}")
                    url, params = _redirected(url, response.headers["Location"]), {}
                    continue
                self._check(response, url)
                try:
                    body = self._read(response, url, max_bytes)
                except (Refused, TooLarge) as error:
                    if form is None:
                        raise
                    raise RetryLater(str(error)) from None  # it was done, but who knows what
                return Answer(response.headers, body)
        raise Refused(f"too many redirects at {_place(url)}")

    def _send(
        self,
        method: str,
        url: str,
        params: dict[str, Any],
        form: Mapping[str, Any] | None,
        *,
        at_home: bool,
    ) -> requests.Response:
        left = max(self._remaining() - self._reserve, 0.1)
        token = _AT_HOME.set(at_home)
        try:
            return self._session.request(
                method,
                url,
                params={**params, **self._params} if at_home else None,
                data=form,
                headers=self._headers if at_home else None,
                timeout=(min(CONNECT_SECONDS, left), min(READ_SECONDS, left)),
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
            if at_home:
                raise
            raise Refused(f"a redirect that is not followed: {error}") from None
        finally:
            _AT_HOME.reset(token)

    def _read(self, response: requests.Response, url: str, max_bytes: int) -> bytes:
        """The body, unpacked here, since neither what comes nor what comes out of it may be more
        than was asked for, and a piece that comes has to be told from the wait for the next."""
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in {"identity", "gzip"}:
            raise Refused(f"an encoding that was not asked for at {_place(url)}")
        gzip = GzipDecoder() if encoding == "gzip" else None
        body, received = bytearray(), 0
        try:
            while piece := response.raw.read1(PIECE_BYTES, decode_content=False):
                received += len(piece)
                body += gzip.decompress(piece, max_bytes + 1 - len(body)) if gzip else piece
                if max(received, len(body)) > max_bytes:
                    raise TooLarge(f"more than {max_bytes} bytes at {_place(url)}")
                if self._remaining() < self._reserve:
                    raise RetryLater(f"a slow answer at {_place(url)}")
        except (HTTPError, zlib.error) as error:
            raise RetryLater(f"{type(error).__name__} at {_place(url)}") from None
        return bytes(body)

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
        seconds = _until_reset(headers, now)
    return int(min(max(1, seconds + 0.999), MAX_WAIT_SECONDS))


def _until_reset(headers: Mapping[str, str], now: float) -> float:
    for name in ("X-RateLimit-Reset", "RateLimit-Reset"):
        first, *others = headers.get(name, "").split(",")
        if first.strip().isdecimal():
            # A time; or, one for each limit and the shortest first, the seconds until then.
            return int(first) if others else int(first) - now
    return UNKNOWN_WAIT_SECONDS


def _time(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError):
        return None


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").rstrip("."), port


def _redirected(url: str, location: str) -> str:
    """Where a redirect leads. Raises `Refused` where nobody may be sent."""
    try:
        target = urljoin(url, location)
        check_url(_bare(target))
    except (BadInput, ValueError) as error:
        raise Refused(f"a redirect that is not followed: {error}") from None
    return target


def _bare(url: str) -> str:
    return url.split("?")[0].split("#")[0]


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}{parts.path}"
