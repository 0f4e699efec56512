"""An HTTP/1.1 server that tells what came: server.py ADDRESS PORT

/echo      the request as JSON: method, target, headers as they came, length of the body, trailers
/sse       an event each time that a line is written to this program's input
/trailers  a body in chunks with a trailer
/cut       less of a body than its length says; /cut-chunks a chunked one without its end
/wait      an answer when a line is written to this program's input
/silent    reads the request and never answers
/ws        switches protocols and echoes bytes
/early     answers without reading the body; /refused with 413, and reads on what comes
/status/N  that status; /big an answer of 64 MiB
"""

import json
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

lines = []
told = threading.Condition()


def next_line():
    with told:
        told.wait_for(lambda: lines)
        return lines.pop(0)


def read_input():
    for line in sys.stdin:
        with told:
            lines.append(line.strip())
            told.notify_all()


def say(**what):
    print(json.dumps(what), flush=True)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        """Yields pieces of the request's body as they come."""
        if self.headers.get("Transfer-Encoding"):
            while True:
                length = int(self.rfile.readline().split(b";")[0], 16)
                if length == 0:
                    while line := self.rfile.readline().strip():
                        self.trailers.append(line.decode("latin-1"))
                    return
                yield self.rfile.read(length)
                self.rfile.readline()
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            piece = self.rfile.read1(min(left, 65536))
            if not piece:
                raise ConnectionError("the body broke off")
            left -= len(piece)
            yield piece

    def chunk(self, piece):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.flush()

    def head(self, status, *headers):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()

    def whole(self, status, text):
        body = text.encode()
        self.head(status, ("Content-Length", str(len(body))), ("X-Served-By", str(self.server.server_port)))
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_one(self):
        path = self.path.split("?")[0]
        say(head=path, method=self.command)
        if path == "/early":
            self.close_connection = True
            return self.whole(200, "early")
        if path == "/refused":
            self.close_connection = True
            self.whole(413, "refused")
            while self.rfile.read1(65536):
                pass
            return None
        if path == "/ws":
            self.head(101, ("Connection", "Upgrade"), ("Upgrade", self.headers["Upgrade"]))
            self.close_connection = True
            while piece := self.connection.recv(65536):
                say(ws=piece.decode("latin-1"))
                self.connection.sendall(piece)
            say(ws_end=True)
            return None
        length = 0
        self.trailers = []
        for piece in self.body():
            length += len(piece)
            if path == "/count":
                say(count=length)
        if path == "/silent":
            return next_line()
        if path == "/wait":
            say(waiting=True)
            return self.whole(200, next_line())
        if path.startswith("/status/"):
            status = int(path.split("/")[2])
            if status in (204, 304):
                return self.head(status, ("X-Status", "none"))
            return self.whole(status, "status")
        if path == "/sse":
            self.head(200, ("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked"))
            while (line := next_line()) != "end":
                self.chunk(b"data: %s\n\n" % line.encode())
            return self.chunk(b"")
        if path == "/trailers":
            self.head(200, ("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum"))
            self.chunk(b"body")
            return self.wfile.write(b"0\r\nX-Sum: 42\r\n\r\n")
        if path == "/cut":
            self.head(200, ("Content-Length", "100"))
            self.wfile.write(b"half")
            self.close_connection = True
            return None
        if path == "/cut-chunks":
            self.head(200, ("Transfer-Encoding", "chunked"))
            self.chunk(b"half")
            self.close_connection = True
            return None
        if path == "/big":
            self.head(200, ("Content-Length", str(64 << 20)))
            for _ in range(1024):
                self.wfile.write(bytes(65536))
            return None
        headers = [[name, value] for name, value in self.headers.items()]
        return self.whole(200, json.dumps(
            {"method": self.command, "target": self.path, "headers": headers, "length": length, "trailers": self.trailers}))

    def do_GET(self):
        try:
            self.handle_one()
        except (ConnectionError, ValueError, OSError) as error:
            say(broke=str(error))
            self.close_connection = True

    do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = do_GET


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    if ":" in sys.argv[1]:
        address_family = socket.AF_INET6


threading.Thread(target=read_input, daemon=True).start()
server = Server((sys.argv[1], int(sys.argv[2])), Handler)
say(ready=True)
server.serve_forever()
