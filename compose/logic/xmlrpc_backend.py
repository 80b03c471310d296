# A back end over XML-RPC: python3 xmlrpc_backend.py [PORT]
import sys
from socketserver import ThreadingMixIn
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer
from survey import answer

class Kept(SimpleXMLRPCRequestHandler):
    rpc_paths = ("/next",)
    protocol_version = "HTTP/1.1"  # connections stay open: a step costs no handshake

class Server(ThreadingMixIn, SimpleXMLRPCServer):  # without threads one open connection would keep all others waiting
    daemon_threads = True

server = Server(("127.0.0.1", int((sys.argv + ["8080"])[1])), Kept, logRequests=False, allow_none=True)
server.register_function(answer, "asterism.next")
print("listening on", server.server_address[1], flush=True)
server.serve_forever()
