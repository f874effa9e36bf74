"""MapProxy, a real WMS, WMTS and TMS, on loopback: serves the picture's tiles from a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

#: One layer, `paint`, that has just the picture's tiles of zoom 18.
CONFIGURATION = """
services:
  wms:
    srs: ['EPSG:3857', 'EPSG:4326', 'EPSG:32645']
    image_formats: ['image/png', 'image/jpeg']
    md: {{title: Paint}}
  wmts:
    kvp: true
    restful: true
  tms:
    use_grid_names: true
layers:
  - {{name: paint, title: Paint, sources: [painted]}}
caches:
  painted:
    grids: [mercator]
    sources: []
    format: image/png
    request_format: image/png
    cache: {{type: file, directory: '{tiles}', directory_layout: tms}}
grids:
  mercator:
    base: GLOBAL_WEBMERCATOR
    num_levels: 19
globals:
  image:
    paletted: false
    resampling_method: bilinear
  cache:
    base_dir: '{directory}'
    lock_dir: '{directory}/locks'
"""
SERVER = """
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from mapproxy.wsgiapp import make_wsgi_app

class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass

server = make_server('127.0.0.1', 0, make_wsgi_app(sys.argv[1]), Server, Quiet)
print(server.server_port, flush=True)
server.serve_forever()
"""


@contextmanager
def serving(tiles: Path, directory: Path) -> Iterator[str]:
    """The server's address while it runs."""
    pytest.importorskip("mapproxy", reason="MapProxy is not installed")
    file = directory / "mapproxy.yaml"
    file.write_text(CONFIGURATION.format(tiles=tiles, directory=directory))
    command = [sys.executable, "-W", "ignore", "-c", SERVER, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        port = process.stdout.readline().strip()
        try:
            assert port.isdigit(), process.stderr.read()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=10)
