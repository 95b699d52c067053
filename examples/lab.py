"""The laboratory: npgan live in the browser, with every line of Algorithm 1 to step through.

The program serves docs/lab on this machine and opens it in the browser. There the page loads
Python itself (Pyodide, from its public address) and runs npgan in WebAssembly.

With --native this process trains, and the page only draws. This is faster and needs no network.
Each tab of the browser has its own G and D, until it is closed. The server answers only its own
pages, on this machine.

Ctrl-C ends the program.
"""

if __name__ == "__main__":      # Ctrl-C during the imports: a sentence instead of a traceback
    import ctrl_c  # noqa: F401

import base64
import errno
import http.server
import importlib.util
import queue
import urllib.parse
import webbrowser
from pathlib import Path

from npgan.runs import options

ROOT = Path(__file__).resolve().parents[1]
PAGE = "/docs/lab/"
HEARTBEAT = 5               # seconds without an event, after which the server tests whether the page is open
LONGEST = 1 << 20           # bytes of a message


def parser():
    p = options.parser(__doc__, epilog="With --native, NPGAN_BACKEND=cupy runs it on an NVIDIA GPU.")
    p.add_argument("--native", action="store_true", help="run npgan in this process, not in the browser")
    port = options.number(int, lambda n: 0 <= n < 65536, "a port from 0 to 65535")
    p.add_argument("--port", type=port, default=0, metavar="N",
                   help="the port of the server (default: a free one)")
    p.add_argument("--no-browser", action="store_true", help="print the address, and open no browser")
    return p


def load_lab():
    """docs/lab/lab.py as a module. It has the same name as this file."""
    spec = importlib.util.spec_from_file_location("npgan_lab", ROOT / "docs" / "lab" / "lab.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Server(http.server.ThreadingHTTPServer):
    """Serves the page. If `lab` is the module docs/lab/lab.py, the server trains too.

    inboxes: for each open page, under the page's name, a queue of its messages
    """

    def __init__(self, port, lab=None):
        self.lab, self.inboxes = lab, {}
        try:
            super().__init__(("127.0.0.1", port), Handler)
        except OSError as e:
            if e.errno != errno.EADDRINUSE:
                raise
            raise OSError(f"--port {port}: another program uses this port; take another one, or leave the "
                          "option out") from None
        port = self.server_address[1]
        self.names = f"127.0.0.1:{port}", f"localhost:{port}"

    def address(self):
        return f"http://{self.names[0]}{PAGE}" + ("?native" if self.lab else "")


class Handler(http.server.SimpleHTTPRequestHandler):
    """GET: the page's files, npgan's sources, and with --native the page's events.
    POST, with --native: the page's messages.
    """

    protocol_version = "HTTP/1.0"           # a connection for each request; events end when it is closed
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map,
                      ".js": "text/javascript", ".py": "text/plain; charset=utf-8"}

    def __init__(self, *args):
        super().__init__(*args, directory=str(ROOT))

    def parse_request(self):
        """Refuse the requests of other sites' pages.

        A browser says in the header Origin which page has sent a request. A name that leads to
        127.0.0.1 by a trick stands in the header Host.
        """
        if not super().parse_request():
            return False
        host, origin = self.headers.get("Host"), self.headers.get("Origin")
        ours = host in self.server.names and origin in (None, f"http://{host}")
        if not ours:
            self.send_error(403, "Only pages of this server on this machine may ask")
        return ours

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path).path
        if path == "/":
            self.send_response(302)
            self.send_header("Location", self.server.address())
            self.end_headers()
        elif path == PAGE + "events" and self.server.lab:
            self.events()
        elif self.is_served():
            super().do_GET()
        else:
            self.send_error(404)

    def do_HEAD(self):
        if self.is_served():
            super().do_HEAD()
        else:
            self.send_error(404)

    def is_served(self):
        """Whether the path leads to the page, a file beside it, or a source of npgan."""
        try:
            path = Path(self.translate_path(self.path)).resolve()
        except ValueError:                              # a null character
            return False
        if path == ROOT / "docs" / "lab":
            return True                                 # answered with index.html
        in_lab = path.is_relative_to(ROOT / "docs" / "lab")
        is_source = path.is_relative_to(ROOT / "npgan") and path.suffix == ".py"
        return path.is_file() and (in_lab or is_source)

    def page(self):
        return urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("page", [""])[0]

    def events(self):
        """Train for a page and send it the events, until it is closed."""
        page, inbox, self.is_open = self.page(), queue.SimpleQueue(), True
        self.server.inboxes[page] = inbox
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        lab = self.server.lab.Lab(self.post)
        while self.is_open:
            try:
                lab.receive(inbox.get(timeout=lab.wait() if lab.running else HEARTBEAT))
            except queue.Empty:
                if lab.running:
                    lab.tick()
                else:
                    self.write(":")                     # a comment, which the page ignores
        if self.server.inboxes[page] is inbox:
            del self.server.inboxes[page]

    def post(self, text, frame):
        """Send a message. Its frame is little-endian float32 numbers in base64."""
        if frame is not None:
            numbers = base64.b64encode(frame.astype("<f4").tobytes()).decode()
            text = f'{text[:-1]}, "frame": "{numbers}"}}'
        self.write(f"data: {text}")

    def write(self, event):
        try:
            self.wfile.write(f"{event}\n\n".encode())
        except OSError:
            self.is_open = False

    def do_POST(self):
        inbox = self.server.inboxes.get(self.page())
        if urllib.parse.urlsplit(self.path).path != PAGE + "message" or inbox is None:
            return self.send_error(404)
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LONGEST:
            return self.send_error(413, "A message has at most 1 MiB, and says how long it is")
        inbox.put(self.rfile.read(int(length)).decode("utf-8", "replace"))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args):
        """Print nothing for each request."""


def main(args):
    with Server(args.port, load_lab() if args.native else None) as server:
        try:
            print(f"The laboratory is at {server.address()}\nCtrl-C ends it.", flush=True)
            if not args.no_browser:
                webbrowser.open(server.address())
            server.serve_forever()
        except KeyboardInterrupt:
            print("The laboratory is closed.")
    return 0


if __name__ == "__main__":
    options.run_program(parser(), main, threads=1)
