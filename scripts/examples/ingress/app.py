"""The application behind the gateway: /status/CODE answers with CODE, /delay/SECONDS after that time.

Each answer has the request's path and headers in its body, as JSON. /status/101 switches to a
WebSocket, greets, and sends back what it gets.
"""

import base64
import hashlib
import json
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GREETING = b"hello from the application"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        status, delay = self.asked()
        if status == 101:
            return self.switch()
        time.sleep(delay)
        body = json.dumps({"path": self.path, "headers": self.headers.items()}).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def asked(self):
        status = re.fullmatch(r"/status/(\d{3})", self.path)
        delay = re.fullmatch(r"/delay/(\d{1,2})", self.path)
        return int(status[1]) if status else 200, int(delay[1]) if delay else 0

    def switch(self):
        # RFC 6455, section 4.2.2
        key = self.headers.get("Sec-WebSocket-Key", "") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        # One text frame; what comes after it goes back as it is.
        self.wfile.write(bytes([0x81, len(GREETING)]) + GREETING)
        while read := self.rfile.read1(4096):
            self.wfile.write(read)
        self.close_connection = True


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
