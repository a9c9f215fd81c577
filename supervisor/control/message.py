"""One request as it comes in. Its head, and a body in chunks, are llhttp's to understand."""

from __future__ import annotations

import httptools

HEADER_BYTES = 64 * 1024
_END_OF_HEAD = b"\r\n\r\n"
_VERSIONS = ("1.0", "1.1")


class BadRequest(Exception):
    """What came is no HTTP."""


class Message:
    """Takes bytes by `feed_head` until `has_head`, then by `feed_body` until `has_end`.

    Both give back what is not its own.
    """

    def __init__(self) -> None:
        # until it has told all: it refers back to this object
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._url = b""
        self._tail = b""  # the last bytes of a head that is not complete
        self._parts: list[bytes] = []
        self._version = ""
        self._left = 0  # of a body that is not in chunks
        self.head_bytes = 0
        self.has_head = False
        self.has_end = False
        self.method = ""
        self.headers: dict[str, str] = {}  # names in lower case
        self.takes_chunks = False  # its client understands an answer in chunks
        self.keeps_connection = False  # another request may follow

    # -- what llhttp tells

    def on_message_begin(self) -> None:
        if self.has_end:  # what follows the last chunk has been taken with it, and cannot be undone
            self.keeps_connection = False

    def on_url(self, part: bytes) -> None:
        self._url += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.has_head:  # what comes behind the last chunk is nobody's
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.has_head = True
        parser = self._parser
        assert parser is not None
        # now: at the end of the message it forgets
        self.method = parser.get_method().decode("ascii")
        self._version = parser.get_http_version()
        self.keeps_connection = parser.should_keep_alive()

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)

    def on_message_complete(self) -> None:
        self.has_end = True

    # -- what it is

    @property
    def target(self) -> str:
        """Path and query, as they were sent."""
        return self._url.decode("latin-1")

    @property
    def wants_upgrade(self) -> bool:
        """Whether the connection is to be another protocol's; dockerd looks at no other header."""
        return bool(self.headers.get("upgrade", "").strip(" \t,"))

    @property
    def expects_to_go_on(self) -> bool:
        """Whether the client sends the body once it is told to."""
        expected = self.headers.get("expect", "").lower() == "100-continue"
        return expected and self.takes_chunks and not self.has_end

    # -- its bytes

    def feed_head(self, data: bytes) -> bytes:
        """Take what belongs to the head; the rest. Raises BadRequest."""
        while data and not self.has_head:
            joined = self._tail + data
            end = joined.find(_END_OF_HEAD)
            cut = len(data) if end < 0 else end + len(_END_OF_HEAD) - len(self._tail)
            self._tail = joined[1 - len(_END_OF_HEAD) :] if end < 0 else b""
            self.head_bytes += cut
            if self.head_bytes > HEADER_BYTES:
                raise BadRequest("the head is too long")
            self._feed(data[:cut])
            data = data[cut:]
        if self.has_head:
            self._understand()
        return data

    def _understand(self) -> None:
        if self._version not in _VERSIONS:
            raise BadRequest(f"HTTP/{self._version}")
        self.takes_chunks = self._version == "1.1"
        if self.takes_chunks and "host" not in self.headers:
            raise BadRequest("a request without a host")
        if "transfer-encoding" not in self.headers:
            self._parser = None
            self._left = int(self.headers.get("content-length", "0"))
            self.has_end = not self._left

    def feed_body(self, data: bytes) -> tuple[bytes, bytes]:
        """What of the body is in it, and the rest. Raises BadRequest."""
        if self._parser is None:
            part, rest = data[: self._left], data[self._left :]
            self._left -= len(part)
            self.has_end = not self._left
            return part, rest
        try:
            self._feed(data)
        except BadRequest:
            if not self.has_end:
                raise
            self.keeps_connection = False  # something follows that is no request
        part, self._parts = b"".join(self._parts), []
        if self.has_end:
            self._parser = None
        return part, b""

    def _feed(self, data: bytes) -> None:
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # nothing of this message comes behind it
        except httptools.HttpParserError as error:
            raise BadRequest(str(error)) from error
