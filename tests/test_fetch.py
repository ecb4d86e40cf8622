"""Downloads against a real server on this machine that breaks off, lies, redirects and changes its mind."""

import hashlib
import io
import json
import re
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ortholib import fetch
from ortholib.errors import OrthoError, UsageError
from ortholib.unzip import unzip

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
        self.number = len(self.server.sent) - 1
        (self.server.script.pop(0) if self.server.script else honest)(self)

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


def serve(handler: Handler, *, upto: int | None = None, ranges=True, if_range=True, etag=True, length=0) -> None:
    """The file or the range asked for, of which `upto` bytes are sent; `length` is added to the truth."""
    body, mark = handler.server.body, handler.server.etag
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers["Range"] or "") if ranges else None
    if asked and if_range and handler.headers["If-Range"] not in (None, mark):
        asked = None
    start = int(asked[1]) if asked else 0
    headers = {"ETag": mark} if etag else {}
    if asked:
        headers["Content_Range"] = f"bytes {start}-{len(body) - 1}/{len(body) + length}"
    handler.head(206 if asked else 200, Content_Length=len(body) - start + length, **headers)
    handler.put(body[start:] if upto is None else body[start : start + upto])


def honest(handler: Handler) -> None:
    serve(handler)


def breaks(upto: int, **options) -> Callable:
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
    """Registers a set on the server; called again, with other facts. Nothing here waits long."""
    monkeypatch.setattr(fetch, "TIMEOUT", (2, 5))
    monkeypatch.setattr(fetch, "PAUSES", (0.01, 0.01, 0.01))

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
    return root / ".fetch" / "little-v1.part"


# ---- the whole way


def test_what_arrives_is_the_set_and_a_record_of_it(server, release, tmp_path, capsys):
    root = tmp_path / "data"
    fetched = fetch.fetch("little", root)
    assert content(root / "Little") == FILES and visible(root) == ["Little", "Little.fetched.json"]
    said = capsys.readouterr().out
    assert all(word in said for word in ("little v1", "0.3 MB", server.url, str(root / "Little"), "free"))
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
    refused(tmp_path, "1.2 MB free", "needs 1.2 MB", "--into")
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


# ---- broken connections


@pytest.mark.parametrize("etag", [True, False])
def test_resume_asks_only_for_the_rest(server, release, tmp_path, etag):
    server.script = [breaks(200_000, etag=etag), breaks(70_000, etag=etag)]
    fetch.fetch("little", tmp_path)
    assert content(tmp_path / "Little") == FILES
    (_, first, _), (_, second, mark), (_, third, _) = server.asked
    assert first is None and mark == ('"one"' if etag else None)
    starts = [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in (second, third)]
    assert 200_000 - fetch.CHUNK <= starts[0] <= 200_000 < starts[1] <= 270_000
    assert sum(server.sent) <= SIZE + 2 * fetch.CHUNK


def test_a_later_call_goes_on_where_the_first_gave_up(server, release, tmp_path):
    server.script = [breaks(150_000)] + [breaks(0)] * 3
    message = refused(tmp_path, server.url, f"of {SIZE:,} bytes", "4 tries", str(part(tmp_path)), "it goes on")
    have = part(tmp_path).stat().st_size
    assert 150_000 - fetch.CHUNK <= have <= 150_000 and f"{have:,}" in message and visible(tmp_path) == []
    fetch.fetch("little", tmp_path)
    assert content(tmp_path / "Little") == FILES and server.sent[-1] == SIZE - have


def test_progress_earns_further_tries(server, release, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "PROGRESS", 50_000)
    monkeypatch.setattr(fetch, "CHUNK", 2**12)
    server.script = [breaks(60_000)] * 5  # more breaks than pauses
    fetch.fetch("little", tmp_path)
    assert len(server.asked) == 6 and content(tmp_path / "Little") == FILES


def test_a_stall_is_a_break(server, release, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "TIMEOUT", (2, 0.25))
    server.script = [stalls(100_000)]
    fetch.fetch("little", tmp_path)
    assert content(tmp_path / "Little") == FILES and server.asked[1][1] is not None
    server.script = [stalls(0)] * 4
    refused(tmp_path / "other", server.url, "timed out", "it goes on")


def test_a_server_without_ranges_starts_again(server, release, tmp_path):
    server.script = [breaks(200_000, ranges=False), breaks(SIZE, ranges=False)]
    fetch.fetch("little", tmp_path)
    assert content(tmp_path / "Little") == FILES and server.sent == [200_000, SIZE]


@pytest.mark.parametrize("if_range", [True, False], ids=["server compares", "server minds no If-Range"])
def test_a_file_that_changes_between_two_tries_starts_again(server, release, tmp_path, if_range):
    old = bytes(SIZE)

    def first(handler):
        server.body, server.etag = old, '"zero"'
        serve(handler, upto=200_000)
        server.body, server.etag = BODY, '"one"'

    server.script = [first, lambda handler: serve(handler, if_range=if_range)]
    fetch.fetch("little", tmp_path)
    assert content(tmp_path / "Little") == FILES and server.asked[1][2] == '"zero"'
    assert server.sent[-1] == SIZE


def test_a_range_other_than_asked_for_is_not_taken(server, release, tmp_path):
    def shifted(handler):
        handler.head(206, Content_Range=f"bytes 5-{SIZE - 1}/{SIZE}", Content_Length=SIZE - 5, ETag='"one"')
        handler.put(BODY[5:])

    server.script = [breaks(200_000), shifted, answers(416), breaks(SIZE)]
    fetch.fetch("little", tmp_path)
    assert content(tmp_path / "Little") == FILES


def test_a_part_longer_than_the_file_starts_again(server, release, tmp_path):
    part(tmp_path).parent.mkdir()
    part(tmp_path).write_bytes(bytes(SIZE + 7))
    fetch.fetch("little", tmp_path)
    assert content(tmp_path / "Little") == FILES and server.asked == [("/files/1", None, None)]


def test_errors_of_the_server_that_pass(server, release, tmp_path):
    server.script = [answers(503), answers(500), answers(429)]
    fetch.fetch("little", tmp_path)
    assert len(server.asked) == 4 and content(tmp_path / "Little") == FILES
    server.script = [answers(500)] * 4
    refused(tmp_path / "other", server.url, "answered 500", "0 of", "it goes on")


@pytest.mark.parametrize("status", [404, 403, 202, 204])
def test_errors_of_the_server_that_stay(server, release, tmp_path, status):
    server.script = [answers(status)]
    refused(tmp_path, server.url, f"answered {status}", "expected 200", "little v1", "browser", "Little/")
    assert len(server.asked) == 1


def test_nobody_listens(release, tmp_path, server):
    with socket.socket() as nobody:  # bound and not listening: every connection is refused
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/set.zip"
        release(url=url)
        said = refused(tmp_path, url, "it goes on")
    assert "refused" in said and not server.asked


# ---- lies


@pytest.mark.parametrize("length", [-1000, 1000])
def test_an_announced_length_that_is_not_the_releases(server, release, tmp_path, length):
    server.script = [lambda handler: serve(handler, length=length)]
    refused(tmp_path, server.url, f"announces {SIZE + length} bytes", f"has {SIZE}", "publisher has changed the file")
    assert len(server.asked) == 1 and not part(tmp_path).exists()
    server.script = [breaks(100_000), lambda handler: serve(handler, length=length)]
    refused(tmp_path, f"announces {SIZE + length} bytes")  # in Content-Range
    assert part(tmp_path).stat().st_size <= 100_000


def test_more_bytes_than_the_release_has(server, release, tmp_path):
    def endless(handler):
        handler.head(200)
        for _ in range(100):
            handler.put(bytes(10_000))

    server.script = [endless]
    refused(tmp_path, server.url, f"more than the {SIZE} bytes", "deleted")
    assert not part(tmp_path).exists()


def test_bytes_without_an_announced_length(server, release, tmp_path):
    def silent(upto):
        def answer(handler):
            handler.head(200)
            handler.put(BODY[:upto])

        return answer

    server.script = [silent(90_000), silent(SIZE)]
    fetch.fetch("little", tmp_path)
    assert content(tmp_path / "Little") == FILES and server.asked[1][1] == "bytes=90000-"


def test_nothing_appears_of_a_file_with_another_checksum(server, release, tmp_path):
    server.body = BODY[:-1] + b"\1"
    message = refused(tmp_path, server.url, "little v1", "published checksum", "deleted", "same command again")
    assert hashlib.md5(BODY).hexdigest() in message and hashlib.md5(server.body).hexdigest() in message
    assert not part(tmp_path).exists() and not list((tmp_path / ".fetch").glob("*/*"))
    server.body = BODY
    fetch.fetch("little", tmp_path)  # and the wrong bytes are not resumed
    assert server.asked[-1][1] is None and content(tmp_path / "Little") == FILES


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


# ---- redirects


def test_redirects_are_followed_with_the_range(server, release, tmp_path):
    to = answers(302, Location="/elsewhere?signature=x")
    server.script = [to, breaks(200_000), to, honest]
    fetch.fetch("little", tmp_path)
    assert content(tmp_path / "Little") == FILES
    assert [path for path, *_ in server.asked] == ["/files/1", "/elsewhere?signature=x"] * 2
    assert server.asked[2][1:] == server.asked[3][1:] and server.asked[3][2] == '"one"'


def test_a_loop_of_redirects_ends(server, release, tmp_path):
    server.script = [answers(301, Location="/files/1")] * 99
    refused(tmp_path, server.url, f"more than {fetch.HOPS} times")
    assert len(server.asked) == fetch.HOPS + 1


@pytest.mark.parametrize(
    "where", ["file:///etc/passwd", "ftp://127.0.0.1/x", "FILE:///etc/passwd", "data:text/plain,x"]
)
def test_redirects_out_of_http(server, release, tmp_path, where):
    server.script = [answers(302, Location=where)]
    refused(tmp_path, server.url, where.partition(":")[2], "expected an address with https")
    release(url=where)
    refused(tmp_path, "expected an address with https")
    assert len(server.asked) == 1


def test_https_never_becomes_http(release, tmp_path, monkeypatch):
    hops = {"http://a/1": "https://b/2", "https://b/2": "http://a/3"}

    def get(self, url, **_):
        assert url in hops, f"{url} was asked for"
        return SimpleNamespace(is_redirect=True, headers={"Location": hops[url]}, close=lambda: None)

    monkeypatch.setattr("requests.Session.get", get)
    for start in hops:
        release(url=start)
        refused(tmp_path, start, "http://a/3", "https")


# ---- interruptions and company


class Stopped(BaseException):
    """What Ctrl-C is to the command line."""


@pytest.mark.parametrize("links", [True, False])
def test_interrupted_at_any_step_it_goes_on(server, release, tmp_path, monkeypatch, links):
    def no_links(*_):
        raise OSError("no links here")

    if not links:
        monkeypatch.setattr(fetch.os, "link", no_links)
    steps = [
        (fetch.progress, "bar", lambda real, bar=None, **options: Cut(real, bar, **options)),
        (fetch.pooch.core, "hash_matches", None) if links else None,
        (fetch, "unzip", None),
        (fetch, "_put_text", None),
        (fetch.Path, "rename", None),
    ]
    for step in filter(None, steps):
        owner, name, wrap = step
        real = getattr(owner, name)

        def stop(*args, real=real, wrap=wrap, **options):
            if wrap is None or args:
                raise Stopped
            return wrap(real, *args, **options)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, stop)
            with pytest.raises(Stopped):
                fetch.fetch("little", tmp_path)
        assert "Little" not in visible(tmp_path)
    fetch.fetch("little", tmp_path)
    assert content(tmp_path / "Little") == FILES
    assert sum(server.sent) <= SIZE + 6 * fetch.CHUNK  # nothing was downloaded twice


class Cut:
    """A progress bar on whose second update Ctrl-C is pressed."""

    def __init__(self, real, _, **options):
        self.updates = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def update(self, _):
        self.updates += 1
        if self.updates == 2:
            raise Stopped


SCRIPT = """
import sys
from ortholib import fetch
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
    while not (part(tmp_path).exists() and part(tmp_path).stat().st_size >= 2 * fetch.CHUNK):
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
    assert len(server.asked) == 2 and server.asked[1][1] == f"bytes={2 * fetch.CHUNK}-"


# ---- archives


def entry(name: str, mode: int = 0, **facts) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
    for key, value in facts.items():
        setattr(info, key, value)
    return info


def archive_of(tmp_path: Path, *members: tuple[str | zipfile.ZipInfo, bytes], name="hostile.zip") -> Path:
    """An archive with these members, under names that zipfile would have made harmless."""
    path = tmp_path / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, data in members:
            with pytest.MonkeyPatch.context() as patch:  # it knows duplicates and warns
                patch.setattr("warnings.warn", lambda *_, **__: None)
                archive.writestr(info if isinstance(info, zipfile.ZipInfo) else entry(info), data)
    return path


def unpacked(archive: Path, limit: int = 10**7) -> str:
    """The message of a refusal, after which nothing is left anywhere."""
    folder = archive.parent / "in" / "unpacked"
    before = {*archive.parent.rglob("*"), folder.parent}
    with pytest.raises(OrthoError) as caught:
        unzip(archive, folder, limit)
    assert not folder.exists() and set(archive.parent.rglob("*")) == before
    assert str(archive) in str(caught.value) and "Nothing was unpacked" in str(caught.value)
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
    said = unpacked(archive_of(tmp_path, ("fine.txt", b"1"), (name, b"evil")))
    assert repr(name) in said and "expected" in said


def test_a_name_that_is_longer_than_it_looks(tmp_path):
    path = archive_of(tmp_path, ("aXevil.txt", b"evil"))
    path.write_bytes(path.read_bytes().replace(b"aXevil", b"a\0evil"))
    assert "control character" in unpacked(path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_special_files(tmp_path, kind):
    said = unpacked(archive_of(tmp_path, (entry("x/link", kind | 0o777), b"/etc/passwd"), ("x/link/evil", b"")))
    assert "'x/link'" in said and ("a link" in said) == (kind == stat.S_IFLNK)


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


def test_encryption_and_methods_that_are_not_read(tmp_path):
    path = archive_of(tmp_path, ("secret.jpg", b"x"))
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert "'secret.jpg' is encrypted" in unpacked(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.jpg", b"x" * 99)
    assert "'a.jpg' is compressed by method 12" in unpacked(path)


def test_bombs(tmp_path, monkeypatch):
    said = unpacked(archive_of(tmp_path, ("a", bytes(60)), ("big", bytes(60))), limit=100)
    assert "'big'" in said and "120" in said and "at most 100" in said
    assert "'zeros' claims 5,000,000 bytes" in unpacked(archive_of(tmp_path, ("zeros", bytes(5_000_000))))
    monkeypatch.setattr("ortholib.unzip.MEMBERS", 3)
    assert "'m3' is one of 5" in unpacked(archive_of(tmp_path, *((f"m{i}", b"") for i in range(5))))


def test_members_that_share_their_bytes(tmp_path):
    data = np.random.default_rng(1).bytes(3000)
    path = archive_of(tmp_path, ("aa", data), ("ab", data), ("ac", data))
    raw = path.read_bytes()
    cut = raw.index(b"PK\x01\x02")
    first = raw[: raw.index(b"PK\x03\x04", 4)]  # keep one body; all entries of the list point at it
    listed = bytearray(raw[cut:])
    at = -1
    while (at := listed.find(b"PK\x01\x02", at + 1)) >= 0:
        listed[at + 42 : at + 46] = bytes(4)
    end = listed.index(b"PK\x05\x06")
    listed[end + 16 : end + 20] = len(first).to_bytes(4, "little")
    path.write_bytes(first + listed)
    assert "'ab' shares its bytes" in unpacked(path)


@pytest.mark.parametrize("claim", [10, 5000])
def test_a_size_that_is_a_lie(tmp_path, claim):
    data = np.random.default_rng(1).bytes(3000)
    path = archive_of(tmp_path, ("fine", b"1"), ("liar", data))
    raw = bytearray(path.read_bytes())
    at = raw.index(b"liar", raw.index(b"PK\x01\x02")) - 46
    raw[at + 24 : at + 28] = claim.to_bytes(4, "little")
    path.write_bytes(raw)
    assert "'liar'" in unpacked(path)


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
        patch.setattr("ortholib.unzip._write", full)
        refused(tmp_path, "somewhere: No space left on device", "little v1", "it goes on")
    fetch.fetch("little", tmp_path)
    assert len(server.asked) == 1 and content(tmp_path / "Little") == FILES  # the archive was still there


def test_a_hostile_archive_of_the_right_checksum_leaves_nothing(server, release, tmp_path):
    server.body = archive_of(tmp_path, ("Little/fine", b"1"), ("../evil", b"evil")).read_bytes()
    release()
    refused(tmp_path / "data", "'../evil'")
    assert [p.name for p in (tmp_path / "data").rglob("*") if p.is_file()] == ["little.lock", "little-v1.part.mark"]


def test_top_folders(server, release, tmp_path):
    extras = {"__MACOSX/Little/._dataset.csv": b"x", ".DS_Store": b"x"}
    cases = {"mac": FILES | extras, "flat": {name.removeprefix("Little/"): data for name, data in FILES.items()}}
    for case, files in cases.items():
        server.body = zipped(files)
        release()
        fetch.fetch("little", tmp_path / case)
        assert content(tmp_path / case / "Little") == FILES
    two = {"a/x": b"1", "b/y": b"2"}
    server.body = zipped(two)
    release()
    fetch.fetch("little", tmp_path / "two")
    assert content(tmp_path / "two" / "Little") == {f"Little/{name}": data for name, data in two.items()}
