"""A server of the host's for guests with `user` networking, who find it at 10.0.2.2: HTTP as wget needs it, and plain
TCP as nc does."""

import socketserver
import threading


class HostServer(socketserver.ThreadingTCPServer):
    """GET sends `data`; all else is an upload."""
    daemon_threads = True

    def __init__(self, data):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.data, self.uploads = data, []
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class _Handler(socketserver.StreamRequestHandler):
    def handle(self):
        if self.rfile.peek(4).startswith(b"GET "):
            while self.rfile.readline().strip():
                pass
            self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.server.data) + self.server.data)
        else:
            self.server.uploads.append(self.rfile.read())
