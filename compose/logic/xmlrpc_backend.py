# A back end over XML-RPC: python3 xmlrpc_backend.py [PORT]
import sys
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer
from survey import answer

class Quiet(SimpleXMLRPCRequestHandler):
    rpc_paths = ("/next",)
    protocol_version = "HTTP/1.1"

server = SimpleXMLRPCServer(("127.0.0.1", int((sys.argv + ["8080"])[1])), Quiet, logRequests=False, allow_none=True)
server.register_function(answer, "asterism.next")
print("listening on", server.server_address[1], flush=True)
server.serve_forever()
