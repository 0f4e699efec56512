"""Connects, sends one line and prints as JSON what it saw."""
import json
import socket
import sys

host, port = sys.argv[1].rsplit(":", 1)
with socket.create_connection((host.strip("[]"), int(port))) as sock:
    sock.sendall(b"from python\n")
    answer = sock.makefile().readline()
    peer = sock.getpeername()
    print(json.dumps({"getpeername": f"{peer[0]}:{peer[1]}", "answer": json.loads(answer)}))
