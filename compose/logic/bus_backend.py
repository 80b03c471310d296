# A back end on the bus, with nothing but a socket: python3 bus_backend.py HOST PORT SUBJECT PASSWORD_FILE
import json, socket, sys
from survey import answer

host, port, subject, password_file = sys.argv[1:]
bus = socket.create_connection((host, int(port)))
hello = {"user": "web", "pass": open(password_file).read().strip(), "verbose": False, "headers": False, "lang": "python"}
# "web" is a queue: any number of these share the questions.
bus.sendall(f"CONNECT {json.dumps(hello)}\r\nSUB {subject} web 1\r\nPING\r\n".encode())
lines = bus.makefile("rb")
for line in lines:
    words = line.split()
    if words[0] == b"PING":
        bus.sendall(b"PONG\r\n")
    elif words[0] == b"PONG":
        print("listening on", subject, flush=True)
    elif words[0] == b"MSG":  # MSG subject 1 inbox length
        question = json.loads(lines.read(int(words[4]) + 2))
        body = json.dumps(answer(question)).encode()
        bus.sendall(b"PUB %s %d\r\n%s\r\n" % (words[3], len(body), body))
    elif words[0] == b"-ERR":
        sys.exit(line.decode())
