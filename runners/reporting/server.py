"""The server of ``report.py --serve``: the page, and the model behind its field for own text; on this machine alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from runners.reporting.page import Explored, own_entry

#: Address that the server listens at.
ADDRESS = "127.0.0.1"
#: Names by which this machine calls itself; a page of another site cannot ask under one of them.
_OWN_HOSTS = ("127.0.0.1", "localhost")
#: The most bytes of a text of a reader's own.
_MOST_BYTES = 1_000_000
#: The most bytes that are read of one that is too long.
_MOST_DROPPED = 16 * _MOST_BYTES


class ReportServer(ThreadingHTTPServer):
    """Serves one page, and answers texts of readers' own.

    It takes its port at once, and answers once :meth:`show` has told what and it is set to serve.

    Args:
        port: Port to listen at; 0 for any free one.

    Raises:
        ValueError: The port cannot be had.
    """

    # The end waits for answers under way: an interpreter that goes while a thread computes is aborted.
    daemon_threads = False

    def __init__(self, port: int) -> None:
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            raise ValueError(f"--port {port} cannot be had ({error.strerror}): give another, or 0 for any") from error
        self.page: bytes = b""
        self.runs: Sequence[Explored] = ()
        # One text at a time: the model is one.
        self._lock = threading.Lock()

    def show(self, page: str, runs: Sequence[Explored]) -> None:
        """Tell what to serve.

        Args:
            page: The page.
            runs: Runs of its explorer, in their order.
        """
        self.page, self.runs = page.encode(), runs

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{ADDRESS}:{self.server_port}/"

    def answer(self, asked: Any) -> dict[str, Any]:
        """Run a text of a reader's own.

        Args:
            asked: ``{"run": its number, "values": {name: text}}``, as JSON gives it.

        Raises:
            ValueError: It is no such thing, a value is missing, or the text cannot be read.
        """
        number, values = (asked.get(name) for name in ("run", "values")) if isinstance(asked, dict) else (None, None)
        if type(number) is not int or not 0 <= number < len(self.runs) or not isinstance(values, dict):
            raise ValueError(f'give {{"run": 0 to {len(self.runs) - 1}, "values": {{...}}}}')
        with self._lock:
            return own_entry(self.runs[number], values)


class _Handler(BaseHTTPRequestHandler):
    server: ReportServer
    server_version, sys_version = "report", ""
    #: Seconds after which a connection on which nothing is asked is closed, so that the end need not wait for it.
    timeout = 5

    def do_GET(self) -> None:
        """Send the page."""
        if not self._asked_here():
            return
        if self.path != "/":
            return self._send(HTTPStatus.NOT_FOUND, b"there is one page: /", "text/plain")
        self._send(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")

    def do_POST(self) -> None:
        """Run a text."""
        if not self._asked_here():
            return
        size = self.headers.get("Content-Length", "")
        if self.path != "/texts" or self.headers.get_content_type() != "application/json":
            return self._tell(HTTPStatus.NOT_FOUND, {"error": "texts are posted to /texts as application/json"})
        if not size.isdecimal() or int(size) > _MOST_BYTES:
            self._pass_over(int(size) if size.isdecimal() else 0)
            return self._tell(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": f"give a text of at most {_MOST_BYTES:,} bytes"}
            )
        try:
            found = self.server.answer(json.loads(self.rfile.read(int(size))))
        except (ValueError, RecursionError) as error:
            return self._tell(HTTPStatus.BAD_REQUEST, {"error": " ".join(str(error).split())})
        self._tell(HTTPStatus.OK, found)

    def _asked_here(self) -> bool:
        """Whether the request names this machine; else it is refused, for it comes from a page of elsewhere."""
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if host in _OWN_HOSTS:
            return True
        self._send(HTTPStatus.FORBIDDEN, b"open the page by the address that the command printed", "text/plain")
        return False

    def _pass_over(self, size: int) -> None:
        """Read what was sent and drop it, within a limit, so that the sender comes to read the answer."""
        self.close_connection = True
        left = min(size, _MOST_DROPPED)
        while left > 0 and (piece := self.rfile.read(min(left, 1 << 16))):
            left -= len(piece)

    def _tell(self, status: HTTPStatus, value: Any) -> None:
        self._send(status, json.dumps(value).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: requests are no news on a terminal."""
