"""The embedded backbone, the registry of public ones, and downloads from servers that misbehave."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import multiprocessing
import re
import threading
import time

import pytest

from eyespot import backbones
from eyespot.backbones import Backbone
from eyespot.backbones.download import DownloadRules, cache_folder
from eyespot.errors import InvalidOption, ModelError
from eyespot.options import Preprocessing

CONTENT = bytes(range(256)) * 1500  # 384,000 bytes
IMPATIENT = DownloadRules(
    timeout_s=0.5, slow_window_s=0.3, slow_bytes=10_000, attempts=3, pause_s=0.01
)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT as `server.plan` says: one entry a request, the last one for ever."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body, **headers):
        self.send_response(status)
        headers.setdefault("Content_Length", len(body))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.send_header("Connection", "close")
        self.end_headers()
        with contextlib.suppress(OSError):  # the client may have had enough
            self.wfile.write(body)
        self.close_connection = True

    def do_GET(self):
        server = self.server
        with server.lock:
            wanted = self.headers.get("Range")
            server.ranges.append(wanted)
            plan = server.plan.pop(0) if len(server.plan) > 1 else server.plan[0]
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0
        total = len(CONTENT)
        ranged = {"Content_Range": f"bytes {start}-{total - 1}/{total}"} if start else {}
        status = 206 if start else 200
        if plan == "good":
            self.answer(status, CONTENT[start:], **ranged)
        elif plan == "break off":
            self.answer(
                status, CONTENT[start : start + 100_000], Content_Length=total - start, **ranged
            )
        elif plan == "ignore range":
            self.answer(200, CONTENT)
        elif plan == "wrong range":
            self.answer(206, CONTENT[start:], Content_Range=f"bytes 0-{total - 1}/{total}")
        elif plan == "wrong bytes":
            self.answer(status, CONTENT[start:][::-1], **ranged)
        elif plan == "short file":
            self.answer(200, CONTENT[:1000])
        elif plan == "too long, unannounced":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(CONTENT + b"more")
            self.close_connection = True
        elif plan == "silent":
            server.released.wait(20)
            self.close_connection = True
        elif plan == "trickle":
            self.send_response(status)
            self.send_header("Content-Length", str(total - start))
            for name, value in ranged.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            with contextlib.suppress(OSError):
                for byte in CONTENT[:200]:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    if server.released.wait(0.05):
                        break
            self.close_connection = True
        elif plan == "refuse range":
            self.answer(416 if start else 200, b"" if start else CONTENT)
        else:
            self.answer(int(plan), b"no")


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        made.plan, made.ranges = ["good"], []
        made.lock, made.released = threading.Lock(), threading.Event()
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.released.set()
        made.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("EYESPOT_OFFLINE", raising=False)
    monkeypatch.setenv("EYESPOT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "backbones"


def backbone(server, **changes):
    fields = {
        "name": "net",
        "url": f"http://127.0.0.1:{server.server_address[1]}/net.onnx",
        "n_bytes": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "preprocessing": Preprocessing(width=8, height=8),
    }
    return Backbone(**fields | changes)


def fetch(server, **changes):
    return backbones.fetch(backbone(server, **changes), rules=IMPATIENT)


def leftovers(cache):
    return sorted(path.suffix for path in cache.iterdir())


def test_a_download_lands_in_the_cache_and_is_not_repeated(server, cache):
    path = fetch(server)
    assert path.parent == cache
    assert path.read_bytes() == CONTENT
    assert fetch(server) == path
    assert server.ranges == [None]
    assert leftovers(cache) == [".lock", ".onnx"]


def test_a_download_that_breaks_off_goes_on_where_it_was(server):
    server.plan = ["break off", "break off", "good"]
    assert fetch(server).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-", "bytes=200000-"]


def test_a_server_that_always_breaks_off_is_given_up_and_the_next_call_goes_on(server, cache):
    server.plan = ["break off"]
    with pytest.raises(
        ModelError, match=r"after 300000 of 384000 bytes.*gave up after 3"
    ) as caught:
        fetch(server)
    assert caught.value.code == "download"
    assert leftovers(cache) == [".lock", ".part"]
    server.plan = ["good"]
    assert fetch(server).read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=300000-"


def test_a_server_that_ignores_ranges_sends_the_whole_file_again(server):
    server.plan = ["break off", "ignore range"]
    assert fetch(server).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-"]


def test_a_server_that_refuses_the_range_is_asked_for_the_whole_file(server):
    server.plan = ["break off", "refuse range"]
    assert fetch(server).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-", None]


def test_an_answer_with_another_range_than_asked_for_is_refused(server):
    server.plan = ["break off", "wrong range"]
    with pytest.raises(ModelError, match="wrong range"):
        fetch(server)


def test_wrong_bytes_are_refused_and_nothing_is_left(server, cache):
    server.plan = ["wrong bytes"]
    with pytest.raises(ModelError, match="SHA-256 is wrong") as caught:
        fetch(server)
    assert caught.value.code == "wrong_content"
    assert leftovers(cache) == [".lock"]


def test_a_remainder_of_another_file_is_thrown_away_and_all_is_fetched_again(server, cache):
    wanted = backbone(server)
    cache.mkdir(parents=True)
    (cache / f"net-{wanted.sha256[:12]}.onnx.part").write_bytes(b"x" * 1000)
    assert fetch(server).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-", None]


def test_a_remainder_that_is_complete_needs_no_request(server, cache):
    wanted = backbone(server)
    cache.mkdir(parents=True)
    (cache / f"net-{wanted.sha256[:12]}.onnx.part").write_bytes(CONTENT)
    assert fetch(server).read_bytes() == CONTENT
    assert server.ranges == []


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        ("short file", "a file of 1000 bytes, not of 384000"),
        ("too long, unannounced", "more than 384000 bytes"),
    ],
)
def test_wrong_lengths_are_refused_at_once(server, plan, text):
    server.plan = [plan]
    with pytest.raises(ModelError, match=text) as caught:
        fetch(server)
    assert caught.value.code == "wrong_content"
    assert len(server.ranges) == 1


def test_a_missing_file_is_reported_at_once(server):
    server.plan = ["404"]
    with pytest.raises(ModelError, match="answers 404") as caught:
        fetch(server)
    assert caught.value.code == "download"
    assert len(server.ranges) == 1


def test_a_server_error_is_tried_again(server):
    server.plan = ["500", "503", "good"]
    assert fetch(server).read_bytes() == CONTENT
    server.plan = ["500"]
    with pytest.raises(ModelError, match=r"answers 500.*gave up after 3 attempts"):
        fetch(server, name="other")


@pytest.mark.parametrize(
    ("plan", "text"),
    [("silent", "silent for 0.5 s|timed out"), ("trickle", r"sent \d+ bytes in 0\.\d s")],
)
def test_a_server_that_stalls_is_given_up(server, plan, text):
    server.plan = [plan]
    started = time.monotonic()
    with pytest.raises(ModelError, match=text):
        fetch(server)
    assert time.monotonic() - started < 8


def test_a_stall_is_survived_if_the_next_attempt_works(server):
    server.plan = ["silent", "good"]
    assert fetch(server).read_bytes() == CONTENT


def test_no_server_at_all_says_where_to_put_the_file(server, cache):
    wanted = backbone(server, url="http://127.0.0.1:9/net.onnx")
    with pytest.raises(ModelError, match="connection failed") as caught:
        backbones.fetch(wanted, rules=IMPATIENT)
    assert str(cache / f"net-{wanted.sha256[:12]}.onnx") in str(caught.value)


def test_offline_refuses_and_says_where_to_put_the_file(server, cache, monkeypatch):
    monkeypatch.setenv("EYESPOT_OFFLINE", "1")
    with pytest.raises(ModelError, match="EYESPOT_OFFLINE is set") as caught:
        fetch(server)
    assert caught.value.code == "offline"
    assert server.ranges == []
    place = cache / f"net-{backbone(server).sha256[:12]}.onnx"
    assert str(place) in str(caught.value)
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    assert fetch(server) == place


def test_a_damaged_file_in_the_cache_is_fetched_again(server):
    path = fetch(server)
    path.write_bytes(CONTENT[:-1] + b"!")
    assert fetch(server).read_bytes() == CONTENT
    assert len(server.ranges) == 2


def test_a_cache_that_cannot_be_written_is_named(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EYESPOT_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="cache cannot be written") as caught:
        fetch(server)
    assert caught.value.code == "io"


def test_threads_that_want_the_same_file_download_it_once(server):
    paths = []
    threads = [threading.Thread(target=lambda: paths.append(fetch(server))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 1
    assert len(paths) == 4
    assert len(server.ranges) == 1


def test_a_second_process_waits_for_the_first(server, cache):
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_fetch_it, args=(backbone(server),)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert len(server.ranges) == 1


def _fetch_it(wanted):
    assert backbones.fetch(wanted, rules=IMPATIENT).read_bytes() == CONTENT


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("EYESPOT_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "eyespot"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "eyespot"


def test_the_registry_is_well_formed():
    assert len(backbones.names()) == 8
    for name in backbones.names():
        known = backbones.entry(name)
        assert known.url.startswith("https://")
        assert known.url.endswith(".onnx")
        assert re.fullmatch(r"[0-9a-f]{64}", known.sha256)
        assert 10**6 < known.n_bytes < 10**9
    assert len({backbones.entry(name).sha256 for name in backbones.names()}) == 8
    assert backbones.entry("efficientnet_lite4_int8").preprocessing.layout == "nhwc"


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InvalidOption, match=r"known: densenet_121, .*squeezenet_1.0"):
        backbones.entry("alexnet")


def test_each_embedded_backbone_has_its_card_beside_it():
    for revision in range(4):
        name = f"eyespot-v{revision}"
        found, path = backbones.embedded(revision)
        assert found == name
        assert path.is_file()
        assert f"(revision {revision})" in path.with_suffix(".md").read_text("utf-8")
    assert backbones.embedded() == backbones.embedded(3)
    with pytest.raises(InvalidOption, match=r"no revision 7 .*known: 0, 1, 2, 3"):
        backbones.embedded(7)
