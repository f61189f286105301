"""Scores over HTTP: python serve_http.py EXPORTED_FOLDER PORT; POST rows as JSON, get scores by task."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from fuxictr_stem.serving import Scorer


class Handler(BaseHTTPRequestHandler):
    """Answers a row, a list of rows or a dict of columns."""

    protocol_version = "HTTP/1.1"  # a client keeps its connection

    def do_POST(self) -> None:
        """Score the rows of the body; what is wrong with them is the answer, with status 400."""
        try:
            rows = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            status, answer = 200, {k: v.tolist() for k, v in scorer.score(rows).items()}
        except (ValueError, RecursionError) as error:  # a DataError is a ValueError
            status, answer = 400, {"error": str(error)}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


scorer = Scorer(sys.argv[1], threads=1)
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
