"""Downloads from a server on this machine: resumed, checked, never half a file."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from saa_lite.data import load_dataset
from saa_lite.data.public import fetch
from saa_lite.errors import DataError

CONTENT = np.random.default_rng(0).bytes(200_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT; the server's attributes say how it misbehaves."""

    def do_GET(self):
        start = 0
        self.server.asked.append((self.path, self.headers.get("Range")))
        if self.server.resumes and (wanted := self.headers.get("Range")):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if self.server.status or start >= len(CONTENT):
            self.send_error(self.server.status or 416)
            return
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.breaks_after])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.resumes, server.breaks_after, server.status = [], True, None, 0
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}/set.tar.gz"
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_is_fetched_once(server, tmp_path):
    path = tmp_path / "deep" / "set.tar.gz"
    fetch(server.url, path, MD5)
    assert path.read_bytes() == CONTENT
    fetch(server.url, path, MD5)
    assert len(server.asked) == 1
    assert [file.name for file in path.parent.iterdir()] == ["set.tar.gz"]


@pytest.mark.parametrize("resumes", [True, False])
def test_a_broken_download_is_continued(server, tmp_path, resumes):
    path = tmp_path / "set.tar.gz"
    server.breaks_after = 70_000
    with pytest.raises(DataError, match=r"broke off .* the same command continues it"):
        fetch(server.url, path, MD5)
    assert not path.exists()
    assert (tmp_path / "set.tar.gz.part").stat().st_size == 70_000
    server.breaks_after, server.resumes = None, resumes
    fetch(server.url, path, MD5)
    assert path.read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [None, "bytes=70000-"]


def test_a_complete_part_is_only_checked(server, tmp_path):
    (tmp_path / "set.tar.gz.part").write_bytes(CONTENT)
    fetch(server.url, tmp_path / "set.tar.gz", MD5)
    assert (tmp_path / "set.tar.gz").read_bytes() == CONTENT


def test_other_bytes_are_refused(server, tmp_path):
    with pytest.raises(DataError, match=f"MD5 {MD5} instead of 0123; it was deleted"):
        fetch(server.url, tmp_path / "set.tar.gz", "0123")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [403, 404, 500])
def test_refusals_are_told(server, tmp_path, status):
    server.status = status
    with pytest.raises(DataError, match=f"broke off .*{status}"):
        fetch(server.url, tmp_path / "set.tar.gz", MD5)


def test_nobody_answers(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(DataError, match="broke off"):
        fetch("http://127.0.0.1:9/set.tar.gz", tmp_path / "set.tar.gz", MD5)


def test_cifar_asks_the_mirror(server, tmp_path, monkeypatch):
    monkeypatch.setenv("SAA_CIFAR_MIRROR", server.url.rpartition("/")[0] + "/")
    with pytest.raises(DataError, match=f"gave a file with MD5 {MD5}"):
        load_dataset("cifar100", root=tmp_path, download=True)
    assert server.asked == [("/cifar-100-python.tar.gz", None)]
