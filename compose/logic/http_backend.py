# A back end over HTTP: python3 http_backend.py [PORT [KEY_FILE]]; with a key only signed questions are answered.
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from signed import is_signed
from survey import answer

PORT = sys.argv[1] if len(sys.argv) > 1 else "8080"
SECRET = open(sys.argv[2], "rb").read().strip() if len(sys.argv) > 2 else None

class Backend(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open: a step costs no handshake
    def do_POST(self):
        question = self.rfile.read(int(self.headers["Content-Length"]))
        if SECRET and not is_signed(self.headers["asterism-signature"], question, SECRET):
            return self.say(403, b"")
        self.say(200, json.dumps(answer(json.loads(question))).encode())
    def say(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass

server = ThreadingHTTPServer(("127.0.0.1", int(PORT)), Backend)
print("listening on", server.server_address[1], flush=True)
server.serve_forever()
