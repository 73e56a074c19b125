"""The lab's service and its client: answers with the name of the node, and asks who answers.

Without arguments: serve on port 8080 of all addresses, IPv4 and IPv6. With an address: ask there 40 times, each time
anew, and print the names of all who answered.
"""

import http.client
import http.server
import os
import socket
import sys
from pathlib import Path

PORT = 8080


class Answer(http.server.BaseHTTPRequestHandler):
    """The name of this node."""

    def do_GET(self) -> None:
        """Answer any path alike."""
        body = socket.gethostname().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Server(http.server.ThreadingHTTPServer):
    """Both families on one socket."""

    address_family = socket.AF_INET6


def ask(address: str) -> str:
    """Who answers there."""
    connection = http.client.HTTPConnection(address, PORT, timeout=2)
    connection.request("GET", "/")
    return connection.getresponse().read().decode()


if len(sys.argv) > 1:
    sys.stdout.write(" ".join(sorted({ask(sys.argv[1]) for _ in range(40)})) + "\n")
else:
    Path("/run/www.pid").write_text(f"{os.getpid()}\n")
    Server(("::", PORT), Answer).serve_forever()
