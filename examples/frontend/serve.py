"""Serves this folder on loopback: files as they are, every other path as index.html.

    python3 serve.py [PORT]

For looking at the example only. Any web server can do the same.
"""

import functools
import http.server
import os
import sys


class Pages(http.server.SimpleHTTPRequestHandler):
    def translate_path(self, path):
        file = super().translate_path(path)
        return file if os.path.isfile(file) else os.path.join(self.directory, "index.html")


port = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
handler = functools.partial(Pages, directory=os.path.dirname(os.path.abspath(__file__)))
print(f"http://127.0.0.1:{port}/", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", port), handler).serve_forever()
