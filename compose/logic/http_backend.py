# A back end over HTTP: python3 http_backend.py [PORT]
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from survey import answer

class Backend(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open: a step costs no handshake
    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps(answer(question)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass

server = ThreadingHTTPServer(("127.0.0.1", int((sys.argv + ["8080"])[1])), Backend)
print("listening on", server.server_address[1], flush=True)
server.serve_forever()
