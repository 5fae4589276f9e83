"""What a server sends is bounded in size and time, whatever it does. The answers never end by
themselves, so a test whose limit does not work hangs."""

import gzip
import select
import socket
import zlib
from collections.abc import Iterator

import pytest
from urllib3.response import GzipDecoder

from chatbot import fetching
from chatbot.errors import RetryLater
from chatbot.fetching import Client, Refused, TooLarge, within
from tests.unit.fetching.wire import HOME, Wire, answer

LIMIT = 100_000
MEBIBYTE = 1024 * 1024


def client(seconds: float = 0.4) -> Client:
    return Client(f"http://{HOME}", within(seconds), reserve=0)


class Endless:
    """A head, and then pieces for ever."""

    def __init__(self, head: bytes, pieces: Iterator[bytes], pause: float = 0) -> None:
        self.head, self.pieces, self.pause = head, pieces, pause

    def __call__(self, connection: socket.socket, _: bytes) -> None:
        connection.sendall(self.head)
        for piece in self.pieces:
            connection.sendall(piece)
            if select.select([connection], [], [], self.pause)[0]:
                return  # the client has hung up


def forever(piece: bytes) -> Iterator[bytes]:
    while True:
        yield piece


def gzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    for piece in pieces:
        yield packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH)


OK = b"HTTP/1.1 200 OK\r\n\r\n"
GZIP = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"


def test_body_that_never_ends_is_cut_off_at_its_size(wire: Wire) -> None:
    wire.serve = Endless(OK, forever(b"x" * 10_000))
    with pytest.raises(TooLarge):
        client(60).get("a", max_bytes=LIMIT)


def test_length_that_is_announced_is_not_believed(wire: Wire) -> None:
    wire.serve = Endless(
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", forever(b"x" * 999)
    )
    with pytest.raises(TooLarge):
        client(60).get("a", max_bytes=LIMIT)


def test_body_that_unpacks_without_end_is_cut_off_at_its_size(wire: Wire) -> None:
    wire.serve = Endless(GZIP, gzipped(forever(b"\0" * MEBIBYTE)))
    with pytest.raises(TooLarge):
        client(60).get("a", max_bytes=LIMIT)


def test_body_that_unpacks_to_nothing_is_cut_off_at_its_size(wire: Wire) -> None:
    wire.serve = Endless(GZIP, gzipped(forever(b"")))
    with pytest.raises(TooLarge):
        client(60).get("a", max_bytes=LIMIT)


def test_bomb_is_not_unpacked_beyond_what_was_asked_for(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked: list[int] = []

    class Noted(GzipDecoder):
        def decompress(self, data: bytes, max_length: int = -1) -> bytes:
            piece = super().decompress(data, max_length)
            unpacked.append(len(piece))
            return piece

    monkeypatch.setattr(fetching, "GzipDecoder", Noted)
    bomb = gzip.compress(b"\0" * 64 * MEBIBYTE)
    wire.serve = answer("HTTP/1.1 200 OK", "Content-Encoding: gzip", body=bomb)
    with pytest.raises(TooLarge):
        client(60).get("a", max_bytes=LIMIT)
    assert sum(unpacked) == LIMIT + 1


def test_body_in_gzip_is_unpacked_when_it_fits(wire: Wire) -> None:
    packed = gzip.compress(b'["a",') + gzip.compress(b'"b"]')
    wire.serve = answer("HTTP/1.1 200 OK", "Content-Encoding: GZIP", body=packed)
    assert client(60).get("a").json() == ["a", "b"]


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip", "gzip, br", "unknown"])
def test_encoding_that_was_not_asked_for_is_refused(encoding: str, wire: Wire) -> None:
    wire.serve = answer("HTTP/1.1 200 OK", f"Content-Encoding: {encoding}", body=b"x")
    with pytest.raises(Refused):
        client(60).get("a")
    assert b"\r\nAccept-Encoding: gzip\r\n" in wire.requests[0]


def test_damaged_body_is_an_error(wire: Wire) -> None:
    wire.serve = answer("HTTP/1.1 200 OK", "Content-Encoding: gzip", body=b"no gzip")
    with pytest.raises(RetryLater):
        client(60).get("a")


@pytest.mark.parametrize(
    "serve",
    [
        Endless(b"", forever(b"x"), 0.01),
        Endless(b"HTTP/1.1 200 OK\r\nX: ", forever(b"x"), 0.01),
        Endless(b"HTTP/1.1 200 OK\r\n", forever(b"X: y\r\n"), 0.02),
        Endless(b"", forever(b"HTTP/1.1 100 Continue\r\n\r\n"), 0.01),
        Endless(OK, forever(b"x"), 0.01),
        Endless(GZIP, gzipped(forever(b"x")), 0.01),
        Endless(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", forever(b"1\r\nx\r\n"), 0.01
        ),
        Endless(OK, forever(b""), 0.01),
        Endless(b"", forever(b""), 0.01),
    ],
    ids=["status", "header", "headers", "continue", "body", "gzip", "chunks", "silence", "nothing"],
)
def test_answer_that_drips_ends_with_the_time_there_is(serve: Endless, wire: Wire) -> None:
    wire.serve = serve
    with pytest.raises(RetryLater):
        client().get("a")


def test_body_of_a_redirect_is_not_read(wire: Wire) -> None:
    def serve(connection: socket.socket, head: bytes) -> None:
        if head.startswith(b"GET /b"):
            answer("HTTP/1.1 200 OK", body=b"1")(connection, head)
        else:
            Endless(b"HTTP/1.1 302 Found\r\nLocation: /b\r\n\r\n", forever(b"x" * 999))(
                connection, head
            )

    wire.serve = serve
    assert client(60).get("a").json() == 1


def test_form_is_sent_once_and_follows_no_redirect(wire: Wire) -> None:
    wire.serve = answer("HTTP/1.1 500 Oops")
    with pytest.raises(RetryLater):
        client(60).create("issues", {"summary": "a b"})
    wire.serve = answer("HTTP/1.1 307 Elsewhere", "Location: /other")
    with pytest.raises(Refused):
        client(60).create("issues", {"summary": "a b"})
    assert [head.split(b" HTTP")[0] for head in wire.requests] == [b"POST /issues"] * 2
