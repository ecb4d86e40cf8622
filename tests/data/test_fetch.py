"""Downloads against a real server on this machine that breaks off, lies, redirects and changes its mind."""

import hashlib
import io
import json
import re
import shutil
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
import warnings
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import requests

from ortholib.data import fetch
from ortholib.data.unzip import unzip
from ortholib.errors import OrthoError, UsageError

FILES = {
    "Little/dataset.csv": b"image_id\na\n",
    "Little/images/Fractured/a.jpg": np.random.default_rng(0).bytes(300_000),
    "Little/images/Non_fractured/b.jpg": b"\xff\xd8" * 40,
}


def zipped(files: dict[str, bytes], **options) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


BODY = zipped(FILES)
SIZE = len(BODY)


class Server(ThreadingHTTPServer):
    """Serves `body`; each request takes the next step of `script`, and answers honestly when there is none left.

    asked: (path, Range, If-Range) of each request. sent: bytes of body each of them got.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.etag, self.script = BODY, '"one"', []
        self.asked, self.sent = [], []
        self.url = f"http://127.0.0.1:{self.server_port}/files/1"
        self.over = threading.Event()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers["Range"], self.headers["If-Range"]))
        self.server.sent.append(0)
        assert self.headers["Accept-Encoding"] == "identity"  # else the ranges were of a packed file
        self.number = len(self.server.sent) - 1
        (self.server.script.pop(0) if self.server.script else serve)(self)

    def head(self, status: int, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def put(self, data: bytes):
        try:
            self.wfile.write(data)
            self.wfile.flush()
            self.server.sent[self.number] += len(data)
        except OSError:  # the other side has had enough
            pass

    def log_message(self, *_):
        pass


def serve(handler: Handler, *, upto: int | None = None, ranges=True, if_range=True, by="ETag", length=0) -> None:
    """The file or the range asked for, of which `upto` bytes are sent; `by`: header with its mark; `length`: a lie."""
    body, mark = handler.server.body, handler.server.etag
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers["Range"] or "") if ranges else None
    if asked and if_range and handler.headers["If-Range"] not in (None, mark):
        asked = None
    start = int(asked[1]) if asked else 0
    headers = {by: mark}
    if asked:
        headers["Content_Range"] = f"bytes {start}-{len(body) - 1}/{len(body) + length}"
    handler.head(206 if asked else 200, Content_Length=len(body) - start + length, **headers)
    handler.put(body[start:] if upto is None else body[start : start + upto])


def sends(upto: int | None = None, **options) -> Callable:
    return lambda handler: serve(handler, upto=upto, **options)


def answers(status: int, **headers) -> Callable:
    return lambda handler: handler.head(status, Content_Length=0, **headers)


def stalls(upto: int) -> Callable:
    def stalling(handler: Handler) -> None:
        serve(handler, upto=upto)
        handler.server.over.wait(10)

    return stalling


@pytest.fixture
def server():
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.over.set()
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def release(server, monkeypatch):
    """Registers a set on the server; called again, with other facts. Nothing waits long, and 50 kB are progress."""
    monkeypatch.setattr(fetch, "TIMEOUT", (2, 0.5))
    monkeypatch.setattr(fetch, "PAUSES", (0.01, 0.01, 0.01))
    monkeypatch.setattr(fetch, "PROGRESS", 50_000)

    def register(**facts) -> fetch.Release:
        md5 = f"md5:{hashlib.md5(server.body).hexdigest()}"
        known = {"url": server.url, "size": len(server.body), "checksum": md5, "version": "v1"} | facts
        made = fetch.Release(name="little", folder="Little", **known)
        monkeypatch.setitem(fetch.RELEASES, "little", made)
        return made

    register()
    return register


def content(folder: Path) -> dict[str, bytes]:
    return {f"Little/{p.relative_to(folder).as_posix()}": p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def visible(root: Path) -> list[str]:
    """What a user sees in the data folder."""
    return sorted(path.name for path in root.iterdir() if path.name != ".fetch") if root.is_dir() else []


def refused(root: Path, *named: str, error=OrthoError) -> str:
    """The message of a fetch that must fail, naming these, and leave the data folder as it was."""
    before = visible(root)
    with pytest.raises(error) as caught:
        fetch.fetch("little", root)
    assert all(name in str(caught.value) for name in named), str(caught.value)
    assert visible(root) == before
    return str(caught.value)


def part(root: Path) -> Path:
    return root / ".fetch" / "little-v1" / "part"


def have(root: Path) -> int:
    """Bytes that a later call can build on."""
    return part(root).stat().st_size if part(root).exists() else 0


def asked_for(server: Server) -> list[tuple[int, str | None]]:
    """The first byte and the If-Range of each request."""
    return [(int((asked or "0").strip("bytes=-")), mark) for _, asked, mark in server.asked]


# ---- the whole way


def test_what_arrives_is_the_set_and_a_record_of_it(server, release, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    root = tmp_path / "data"
    fetched = fetch.fetch("little", root)
    assert content(root / "Little") == FILES and visible(root) == ["Little", "Little.fetched.json"]
    said, bars = capsys.readouterr()
    assert all(word in said for word in ("little v1", "0.3 MB", server.url, str(root / "Little"), "free"))
    assert "little v1: 100%" in bars and "301k/301k" in bars and "unpacking: 100%" in bars and "3/3" in bars
    record = json.loads((root / "Little.fetched.json").read_text())
    assert record["sha256"] == hashlib.sha256(BODY).hexdigest() == fetched["sha256"]
    assert (record["url"], record["version"], record["bytes"]) == (server.url, "v1", SIZE) and record["when"]
    assert fetched["verified"].startswith("published checksum: md5:") and fetched["files"] == 3
    assert fetched["folder"] == str(root / "Little") and server.asked == [("/files/1", None, None)]
    assert [path.name for path in (root / ".fetch").iterdir()] == ["little.lock"]  # no archive, no part is left


def test_a_folder_that_is_there_is_never_touched(server, release, tmp_path, monkeypatch):
    monkeypatch.setenv("ORTHOLIB_DATA", str(tmp_path))
    mine = tmp_path / "Little" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("precious")
    refused(tmp_path, str(tmp_path / "Little"), "never overwritten", "--into")
    assert mine.read_text() == "precious" and not server.asked and not (tmp_path / ".fetch").exists()
    mine.unlink()  # an empty folder is as good as none
    assert fetch.fetch("little")["folder"] == str(tmp_path / "Little")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "Little").symlink_to(tmp_path / "nowhere")
    refused(tmp_path / "data", "never overwritten")


def test_no_data_folder_no_room_and_a_folder_that_cannot_be_written(server, release, tmp_path, monkeypatch):
    monkeypatch.delenv("ORTHOLIB_DATA", raising=False)
    with pytest.raises(UsageError, match=r"ORTHOLIB_DATA is not set.*--into"):
        fetch.fetch("little")
    (tmp_path / "file").write_text("")
    refused(tmp_path / "file", str(tmp_path / "file"), "Nothing of it appeared")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4 * SIZE - 1))
    refused(tmp_path, "1.2 MB free", "needs at most 1.2 MB", "--into")
    assert not server.asked
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4 * SIZE))
    fetch.fetch("little", tmp_path)


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("mura", ["registration", "stanfordmlgroup.github.io/competitions/mura", "MURA-v1.1/", "XR_"]),
        ("mrnet", ["registration", "stanfordmlgroup.github.io/competitions/mrnet", "MRNet-v1.0/", "axial"]),
        ("oai", ["registration", "nda.nih.gov/oai", "$ORTHOLIB_DATA/OAI/", "kxr_sq_bu"]),
        ("kneekl", ["data.mendeley.com/datasets/56rmx5bjcr/1", "kneeKL224/", "{train,val,test}"]),
        ("grazpedwri", ["ndownloader.figshare.com/files/", "34268828", "GRAZPEDWRI-DX/", "dataset.csv"]),
        ("nothing", ["'nothing' is no registered data set"]),
    ],
)
def test_what_cannot_be_fetched_says_how_to_get_it(tmp_path, name, named):
    with pytest.raises(UsageError) as caught:
        fetch.fetch(name, tmp_path / "data")
    assert all(word in str(caught.value) for word in named), str(caught.value)
    assert not (tmp_path / "data").exists()


def test_registered_releases_are_complete():
    for name, known in fetch.RELEASES.items():
        assert known.name == name and known.url.startswith("https://") and known.size > 10**6
        assert known.checksum is None or re.fullmatch(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", known.checksum)
        assert re.fullmatch(r"[\w.-]+", known.version) and re.fullmatch(r"[\w-]+", known.folder)


# ---- broken connections, and all else that passes


def bare(data: bytes) -> Callable:
    """An answer that announces nothing."""

    def answer(handler: Handler) -> None:
        handler.head(200)
        handler.put(data)

    return answer


def another_range(handler: Handler) -> None:
    handler.head(206, Content_Range=f"bytes 5-{SIZE - 1}/{SIZE}", Content_Length=SIZE - 5, ETag='"one"')
    handler.put(BODY[5:])


def endless_redirect(handler: Handler) -> None:
    handler.head(302, Location="/elsewhere")
    while len(handler.server.asked) == 1 and not handler.server.over.wait(0.001):
        handler.put(bytes(10_000))


KEPT = 200_000 // fetch.CHUNK * fetch.CHUNK  # of 200,000 bytes before a break
NEW, REST = (0, None), (KEPT, '"one"')


@pytest.mark.parametrize(
    ("script", "asked"),
    [
        ([sends(200_000), sends(70_000)], [NEW, REST, (KEPT + fetch.CHUNK, '"one"')]),
        ([sends(200_000, by="Last_Modified")], [NEW, REST]),
        ([sends(200_000, by="Nothing")], [NEW, (KEPT, None)]),
        ([bare(BODY[:90_000]), bare(BODY)], [NEW, (90_000, None)]),
        ([sends(200_000, ranges=False), sends(ranges=False)], [NEW, REST]),
        ([sends(200_000), another_range, answers(416), sends()], [NEW, REST, NEW, NEW]),
        ([answers(503), answers(500), answers(429)], [NEW] * 4),
        ([stalls(200_000)], [NEW, REST]),
        ([sends(70_000)] * 5, [NEW] + [(n * fetch.CHUNK, '"one"') for n in range(1, 5)]),  # more breaks than pauses
        ([endless_redirect], [NEW] * 2),
    ],
    ids=["breaks", "date", "no mark", "no length", "no ranges", "other range", "busy", "stall", "progress", "redirect"],
)
def test_whatever_happens_on_the_way_the_set_arrives(server, release, tmp_path, script, asked):
    server.script = list(script)
    fetch.fetch("little", tmp_path)
    assert content(tmp_path / "Little") == FILES and asked_for(server) == asked


@pytest.mark.parametrize(
    ("script", "kept", "named"),
    [
        ([sends(200_000)] + [sends(0)] * 3, KEPT, f"{SIZE - KEPT} more expected"),
        ([answers(500)] * 4, 0, "answered 500"),
        ([stalls(0)] * 4, 0, "timed out"),
    ],
    ids=["breaks", "errors", "stalls"],
)
def test_a_later_call_goes_on_where_the_last_try_ended(server, release, tmp_path, script, kept, named):
    server.script = list(script)
    refused(tmp_path, server.url, named, f"{kept:,} of {SIZE:,} bytes", "4 tries", str(part(tmp_path)), "it goes on")
    assert have(tmp_path) == kept and server.script == []
    fetch.fetch("little", tmp_path)
    assert content(tmp_path / "Little") == FILES and server.sent[-1] == SIZE - kept


def test_nobody_listens(release, tmp_path):
    with socket.socket() as nobody:  # bound and not listening: every connection is refused
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/set.zip"
        release(url=url)
        refused(tmp_path, url, "refused", "it goes on")


@pytest.mark.parametrize("if_range", [True, False], ids=["server compares", "server minds no If-Range"])
def test_a_file_that_changes_between_two_tries_starts_again(server, release, tmp_path, if_range):
    def first(handler):
        server.body, server.etag = bytes(SIZE), '"zero"'
        serve(handler, upto=200_000)
        server.body, server.etag = BODY, '"one"'

    server.script = [first, sends(if_range=if_range)]
    fetch.fetch("little", tmp_path)
    assert content(tmp_path / "Little") == FILES and asked_for(server)[1] == (KEPT, '"zero"')


def test_a_part_longer_than_the_file_starts_again(server, release, tmp_path):
    part(tmp_path).parent.mkdir(parents=True)
    part(tmp_path).write_bytes(bytes(SIZE + 7))
    fetch.fetch("little", tmp_path)
    assert content(tmp_path / "Little") == FILES and asked_for(server) == [NEW]


def test_redirects_are_followed_with_the_range(server, release, tmp_path):
    to = answers(302, Location="/elsewhere?signature=x")
    server.script = [to, sends(200_000), to, sends()]
    fetch.fetch("little", tmp_path)
    assert content(tmp_path / "Little") == FILES
    assert [path for path, *_ in server.asked] == ["/files/1", "/elsewhere?signature=x"] * 2
    assert asked_for(server) == [NEW, NEW, REST, REST]


# ---- lies


ELSEWHERE = ("file:///etc/passwd", "FILE:///etc/passwd", "ftp://127.0.0.1/x", "data:text/plain,x")


@pytest.mark.parametrize(
    ("script", "named"),
    [
        *(([answers(status)], f"answered {status}") for status in (404, 403, 202, 204)),
        *(([sends(length=length)], f"announces {SIZE + length} bytes") for length in (-1000, 1000)),
        ([sends(200_000), sends(length=1000)], f"announces {SIZE + 1000} bytes"),  # of which the range is a part
        ([bare(bytes(2 * SIZE))], "sends more"),
        *(([answers(302, Location=to)], to[4:]) for to in ELSEWHERE),
        ([answers(301, Location="/files/1")] * 31, "Exceeded 30 redirects"),
    ],
)
def test_an_answer_that_is_no_use_is_refused_at_once(server, release, tmp_path, script, named):
    server.script = list(script)
    expected = (f"expected 200 and the {SIZE} bytes of little v1", "https", "publisher has changed the file", "Little/")
    refused(tmp_path, server.url, named, *expected, "browser")
    assert len(server.asked) == len(script) and have(tmp_path) == KEPT * (len(script) == 2)


def test_only_http_is_asked_and_https_never_becomes_http(release, tmp_path, monkeypatch):
    hops = {"http://a/1": "https://b/2", "https://b/2": "http://a/3"}

    def send(_, request, **__):
        assert request.url in hops, f"{request.url} was asked for"
        response = requests.Response()
        response.status_code, response.url, response.request = 302, request.url, request
        response.headers["Location"], response._content, response._content_consumed = hops[request.url], b"", True
        return response

    monkeypatch.setattr("requests.adapters.HTTPAdapter.send", send)
    for start in hops:
        release(url=start)
        refused(tmp_path, start, "https://b/2 leads to http://a/3", "over https")
    for start in ELSEWHERE:
        release(url=start)
        refused(tmp_path, start, "over https")


def test_nothing_appears_of_a_file_with_another_checksum(server, release, tmp_path):
    server.body = BODY[:-1] + b"\1"
    message = refused(tmp_path, server.url, "little v1", "published checksum", "Deleted", "same command again")
    assert hashlib.md5(BODY).hexdigest() in message and hashlib.md5(server.body).hexdigest() in message
    assert not list((tmp_path / ".fetch").glob("*/*"))
    server.body = BODY
    fetch.fetch("little", tmp_path)  # and the wrong bytes are not resumed
    assert asked_for(server)[-1] == NEW and content(tmp_path / "Little") == FILES


def test_a_checksum_that_nobody_published_is_recorded_at_first_use(server, release, tmp_path):
    release(checksum=None)
    fetched, note = fetch.fetch("little", tmp_path), tmp_path / "Little.fetched.json"
    assert "nobody published a checksum" in fetched["verified"] and str(note) in fetched["verified"]
    first = note.read_text()
    shutil.rmtree(tmp_path / "Little")
    assert "recorded at first use" in fetch.fetch("little", tmp_path)["verified"]
    shutil.rmtree(tmp_path / "Little")
    server.body = zipped(FILES | {"Little/dataset.csv": b"image_id\nb\n"})
    assert len(server.body) == SIZE  # so that only the checksum tells
    refused(tmp_path, json.loads(first)["sha256"], "recorded at first use", f"delete {note}")
    note.write_text("{")
    refused(tmp_path, str(note), "damaged", "sha256", "delete it")
    note.unlink()
    fetch.fetch("little", tmp_path)
    assert json.loads(note.read_text())["sha256"] == hashlib.sha256(server.body).hexdigest()
    shutil.rmtree(tmp_path / "Little")
    release(checksum=None, version="v2")  # another version has nothing to be compared with
    server.body = BODY
    fetch.fetch("little", tmp_path)


# ---- interruptions and company


@pytest.mark.parametrize("links", [True, False])
def test_interrupted_at_any_step_it_goes_on(server, release, tmp_path, monkeypatch, links):
    def stop(*_, **__):
        raise KeyboardInterrupt

    def no_links(*_):
        raise OSError("no links here")

    steps = [(fetch.progress.tqdm, "update"), (fetch, "unzip"), (fetch.Path, "replace"), (fetch.Path, "rename")]
    if links:
        steps.insert(1, (fetch.pooch.core, "hash_matches"))
    else:
        monkeypatch.setattr(fetch.os, "link", no_links)
    for owner, name in steps:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, stop)
            with pytest.raises(KeyboardInterrupt):
                fetch.fetch("little", tmp_path)
        assert "Little" not in visible(tmp_path)
    fetch.fetch("little", tmp_path)
    assert content(tmp_path / "Little") == FILES
    assert sum(server.sent) <= SIZE + 6 * fetch.CHUNK  # nothing was downloaded twice


SCRIPT = """
import sys
from ortholib.data import fetch
from ortholib.errors import OrthoError
url, size, md5, root = sys.argv[1:]
fetch.RELEASES["little"] = fetch.Release("little", "v1", url, int(size), "md5:" + md5, "Little")
print("ready", flush=True)
try:
    print(fetch.fetch("little", root)["files"])
except OrthoError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def start(server, root: Path) -> subprocess.Popen:
    arguments = [server.url, str(SIZE), hashlib.md5(BODY).hexdigest(), str(root)]
    return subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments], stdout=subprocess.PIPE, text=True)


def test_two_processes_at_once_and_one_killed(server, release, tmp_path):
    server.script = [stalls(150_000)]
    killed = start(server, tmp_path)
    while have(tmp_path) < 2 * fetch.CHUNK:
        assert killed.poll() is None
        time.sleep(0.01)
    both = [start(server, tmp_path) for _ in range(2)]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    assert len(server.asked) == 1 and visible(tmp_path) == []  # they wait for the lock
    killed.kill()
    killed.communicate()
    said = [process.communicate(timeout=20)[0] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    assert "never overwritten" in said[[process.returncode for process in both].index(1)]
    assert content(tmp_path / "Little") == FILES
    assert asked_for(server) == [NEW, (2 * fetch.CHUNK, '"one"')]


# ---- archives


def archive_of(tmp_path: Path, *members: tuple[str, bytes]) -> Path:
    """An archive with these members, under names that zipfile would have made harmless."""
    path = tmp_path / "hostile.zip"
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings(action="ignore"):  # it warns of duplicates
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return path


def unpacked(archive: Path, limit: int = 10**7) -> str:
    """The message of a refusal, after which nothing is left anywhere."""
    folder = archive.parent / "in" / "unpacked"
    before = {*archive.parent.rglob("*"), folder.parent}
    with pytest.raises(OrthoError) as caught:
        unzip(archive, folder, limit)
    assert not folder.exists() and set(archive.parent.rglob("*")) == before
    assert all(said in str(caught.value) for said in (str(archive), "Expected", f"{limit:,} bytes", "Nothing was unp"))
    return str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        *("../evil", "a/../../evil", "a/..", "..", ".", "./a", "a//b", "/etc/evil", "//host/evil", "a/ ", "a/.. /b"),
        *("C:/evil", "C:evil", "a/C:/evil", "a:stream", "..\\evil", "a\\..\\..\\evil", "\\\\host\\evil", "\\evil"),
        *("a\nb", "a\x1b[2Jb", "a/" + "x" * 256),
    ],
)
def test_paths_that_leave_the_folder(tmp_path, name):
    assert repr(name) in unpacked(archive_of(tmp_path, ("fine.txt", b"1"), (name, b"evil")))


def test_a_name_that_is_longer_than_it_looks(tmp_path):
    path = archive_of(tmp_path, ("aXevil.txt", b"evil"))
    path.write_bytes(path.read_bytes().replace(b"aXevil", b"a\0evil"))
    assert "control character" in unpacked(path)


@pytest.mark.parametrize(
    ("at", "form", "value", "said"),  # of the member's entry in the list at the end
    [
        (8, "<H", 1, "is encrypted"),
        (10, "<H", 12, "is compressed by method 12"),
        (16, "<I", 0, "is damaged: Bad CRC"),
        (20, "<I", 99_999, "shares its bytes with another"),
        (24, "<I", 10, "is damaged: Bad CRC"),
        (24, "<I", 5000, "is damaged: it claims 5,000 bytes and holds less"),
        (24, "<I", 5_000_000, "claims 5,000,000 bytes from 3,005"),
        (24, "<I", 10_000_000, "brings the content to 10,000,001 bytes or more"),
        (38, "<I", stat.S_IFLNK << 16, "is a link"),
        *((38, "<I", kind << 16, "is a special file") for kind in (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK)),
        (38, "<I", stat.S_IFSOCK << 16, "is a special file"),
        (42, "<I", 99_999, "begins at byte 99,999"),
    ],
)
def test_a_member_that_is_not_what_it_should_be(tmp_path, at, form, value, said):
    path = archive_of(tmp_path, ("fine", b"1"), ("liar", np.random.default_rng(1).bytes(3000)))
    raw = bytearray(path.read_bytes())
    struct.pack_into(form, raw, raw.index(b"liar", raw.index(b"PK\x01\x02")) - 46 + at, value)
    path.write_bytes(raw)
    assert f"member 'liar' {said}" in unpacked(path)


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        *(("a.jpg", "a.jpg", "a.jpg"), ("a.jpg", "A.JPG", "a.jpg"), ("a/b", "a", "a"), ("a", "a/b", "a")),
        *(("a/", "a", "a"), ("x/Images/a", "x/images/b", "x/Images"), ("ß.jpg", "SS.jpg", "ß.jpg")),
        *(("é", "e\u0301", "é"), ("a.", "a", "a."), ("a /b", "a/c", "a ")),
    ],
)
def test_two_members_of_one_path(tmp_path, first, second, shared):
    said = unpacked(archive_of(tmp_path, (first, b""), (second, b"")))
    assert f"member {second!r} collides with {shared!r}" in said


def test_more_members_than_any_set_has(tmp_path, monkeypatch):
    monkeypatch.setattr("ortholib.data.unzip.MEMBERS", 3)
    assert "'m3' is one of 5" in unpacked(archive_of(tmp_path, *((f"m{i}", b"") for i in range(5))))


def test_damage(tmp_path):
    path = archive_of(tmp_path, ("fine", b"1"), ("a.jpg", np.random.default_rng(1).bytes(3000)))
    raw = bytearray(path.read_bytes())
    raw[1500] ^= 1
    path.write_bytes(raw)
    assert "'a.jpg' is damaged" in unpacked(path)
    path.write_bytes(raw[:1000])
    assert "no sound zip archive" in unpacked(path)
    path.write_bytes(b"")
    assert "no sound zip archive" in unpacked(path)
    assert "no file" in unpacked(archive_of(tmp_path, ("folder/", b"")))


def test_whatever_is_flipped_nothing_gets_out(tmp_path):
    sound = zipped({"set/a.txt": b"one" * 50, "set/b/c.txt": b"two" * 50, "set/d.bin": bytes(range(256))})
    rng = np.random.default_rng(5)
    for _ in range(200):
        raw = np.frombuffer(sound, np.uint8).copy()
        for at in rng.integers(0, len(raw), rng.choice([1, 2, 8])):
            raw[at] = rng.integers(256)
        path, folder = tmp_path / "flipped.zip", tmp_path / "in" / "unpacked"
        path.write_bytes(raw.tobytes())
        try:
            unzip(path, folder, 10**6)
            shutil.rmtree(folder)
        except OrthoError:
            assert not folder.exists()
        assert sorted(p.name for p in tmp_path.rglob("*")) == ["flipped.zip", "in"]


def test_a_full_disk_says_so_and_goes_on(server, release, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "somewhere")

    with monkeypatch.context() as patch:
        patch.setattr("zipfile.ZipFile.extract", full)
        refused(tmp_path, "somewhere: No space left on device", "little v1", "it goes on")
    fetch.fetch("little", tmp_path)
    assert len(server.asked) == 1 and content(tmp_path / "Little") == FILES  # the archive was still there


def test_a_hostile_archive_of_the_right_checksum_leaves_nothing(server, release, tmp_path):
    server.body = archive_of(tmp_path, ("Little/fine", b"1"), ("../evil", b"evil")).read_bytes()
    release()
    refused(tmp_path / "data", "'../evil'")
    assert [p.name for p in (tmp_path / "data").rglob("*") if p.is_file()] == ["little.lock"]


FLAT = {name.removeprefix("Little/"): data for name, data in FILES.items()}
TWO = {"a/x": b"1", "b/y": b"2"}


@pytest.mark.parametrize(
    ("packed", "files"),
    [
        (FILES | {"__MACOSX/Little/._dataset.csv": b"x", ".DS_Store": b"x"}, FILES),
        (FLAT, FILES),
        (TWO, {f"Little/{name}": data for name, data in TWO.items()}),
    ],
    ids=["mac", "flat", "two"],
)
def test_the_top_folder_is_the_sets(server, release, tmp_path, packed, files):
    server.body = zipped(packed)
    release()
    fetch.fetch("little", tmp_path)
    assert content(tmp_path / "Little") == files
