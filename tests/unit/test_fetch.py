"""`data fetch` against a server of this machine: it asks first, goes on, checks, and stays in its folder."""

import errno
import hashlib
import http.server
import io
import json
import threading
import zipfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import written

from data.catalog import fetch, registry
from data.catalog.schema import Address
from data.common.errors import DiskFull, ReproduceError
from data.common.paths import outputs_dir
from data.common.web import safe_name, safe_url
from data.official import download
from data.official.download import Remote
from data.official.unpack import unpack_zip
from reproduce.cli import main

BODY = bytes(range(256)) * 4000
SUM = hashlib.sha256(BODY).hexdigest()


@dataclass
class Site:
    """What a server has, and how it behaves. `cuts`: bytes after which it hangs up, an answer each."""

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"one"'})
    redirect: dict[str, str] = field(default_factory=dict)
    status: list[int] = field(default_factory=list)
    seen: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def __init__(self, site: Site, *args):
        self.site = site
        super().__init__(*args)

    def log_message(self, *args) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(head=True)

    def do_GET(self) -> None:
        self.answer(head=False)

    def answer(self, head: bool) -> None:
        site, wanted = self.site, self.headers.get("Range")
        site.seen.append((self.command, self.path, wanted))
        if self.path in site.redirect:
            self.send_response(302)
            self.send_header("Location", site.redirect[self.path])
            self.end_headers()
            return
        if site.status or self.path not in site.files:
            self.send_error(site.status.pop(0) if site.status else 404)
            return
        body, start = site.files[self.path], 0
        if (
            wanted
            and site.ranges
            and self.headers.get("If-Range", site.headers.get("ETag")) == site.headers.get("ETag")
        ):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        for key, value in site.headers.items():
            self.send_header(key, value)
        self.end_headers()
        if not head:
            part = body[start:]
            self.wfile.write(part[: site.cuts.pop(0)] if site.cuts else part)


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    found = Site({"/file": BODY})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, found))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    yield found
    server.shutdown()
    server.server_close()


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_and_checked(site, tmp_path):
    said: list[tuple[int, int]] = []
    remote = Remote(f"{site.url}/file", len(BODY), SUM)
    assert download.download(remote, tmp_path / "deep" / "file", lambda *at: said.append(at)) == SUM
    assert (tmp_path / "deep" / "file").read_bytes() == BODY
    assert left(tmp_path / "deep") == ["file"]
    assert said[-1] == (len(BODY), len(BODY))
    assert download.size_of(f"{site.url}/file") == len(BODY)


def test_a_cut_connection_goes_on_where_it_was_cut(site, tmp_path):
    site.cuts = [1000, 500]
    assert download.download(Remote(f"{site.url}/file"), tmp_path / "file") == SUM
    assert [wanted for *_, wanted in site.seen] == [None, "bytes=1000-", "bytes=1500-"]


def test_a_server_without_ranges_sends_it_all_again(site, tmp_path):
    site.cuts, site.ranges = [1000], False
    assert download.download(Remote(f"{site.url}/file"), tmp_path / "file") == SUM
    assert [wanted for *_, wanted in site.seen] == [None, "bytes=1000-"]


def test_a_command_that_ended_in_the_middle_is_resumed_by_the_next(site, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    site.cuts = [1000]
    with pytest.raises(ReproduceError, match=r"1,000 of 1,024,000 bytes are here as .*file\.part") as caught:
        download.download(Remote(f"{site.url}/file", len(BODY)), tmp_path / "file")
    assert "The same command goes on there." in str(caught.value)
    assert left(tmp_path) == ["file.part", "file.part.json"]
    download.download(Remote(f"{site.url}/file", len(BODY)), tmp_path / "file")
    assert site.seen[-1][2] == "bytes=1000-"
    assert left(tmp_path) == ["file"]


def test_a_part_that_is_whole_is_checked_and_not_fetched_again(site, tmp_path, monkeypatch):
    """The command ended while it computed the checksum."""
    remote = Remote(f"{site.url}/file", len(BODY), SUM)
    with monkeypatch.context() as patch:
        patch.setattr(download, "sha256", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            download.download(remote, tmp_path / "file")
    asked = len(site.seen)
    assert download.download(remote, tmp_path / "file") == SUM
    assert len(site.seen) == asked
    assert left(tmp_path) == ["file"]


def test_a_part_of_another_version_does_not_go_on(site, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    site.cuts = [1000]
    with pytest.raises(ReproduceError):
        download.download(Remote(f"{site.url}/file"), tmp_path / "file")
    site.files["/file"], site.headers = BODY[::-1], {"ETag": '"two"'}
    download.download(Remote(f"{site.url}/file"), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BODY[::-1]


def test_a_part_without_any_mark_of_its_version_starts_anew(site, tmp_path):
    site.cuts, site.headers = [1000], {}
    download.download(Remote(f"{site.url}/file"), tmp_path / "file")
    assert [wanted for *_, wanted in site.seen] == [None, None]
    site.cuts = [1000]
    download.download(Remote(f"{site.url}/file", None, SUM), tmp_path / "known")  # the checksum tells in the end
    assert site.seen[-1][2] == "bytes=1000-"


def test_somebody_elses_part_is_not_taken(site, tmp_path):
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    (tmp_path / "file.part.json").write_text('{"url": "https://elsewhere/file", "version": "one"}')
    assert download.download(Remote(f"{site.url}/file"), tmp_path / "file") == SUM
    (tmp_path / "file.part").write_bytes(b"x" * (len(BODY) + 5))  # longer than the file
    (tmp_path / "file.part.json").write_text(json.dumps({"url": f"{site.url}/file", "version": '"one"'}))
    assert download.download(Remote(f"{site.url}/file"), tmp_path / "file") == SUM


@pytest.mark.parametrize(
    ("size", "checksum", "words"),
    [
        (None, "0" * 64, "has sha256 .*, expected 0000"),
        (5, None, "has 1,024,000 bytes, expected 5: it is another file"),
    ],
)
def test_another_file_is_refused_and_nothing_kept(size, checksum, words, site, tmp_path):
    with pytest.raises(ReproduceError, match=words):
        download.download(Remote(f"{site.url}/file", size, checksum), tmp_path / "file")
    assert left(tmp_path) == []


def test_what_is_gone_and_who_does_not_answer(site, tmp_path):
    for ask in (download.size_of, lambda url: download.download(Remote(url), tmp_path / "file")):
        with pytest.raises(ReproduceError, match="no such file any more"):
            ask(f"{site.url}/gone")
        with pytest.raises(ReproduceError, match="cannot be reached"):
            ask("http://127.0.0.1:9/file")
    assert left(tmp_path) == []
    site.status = [503, 503]
    assert download.download(Remote(f"{site.url}/file"), tmp_path / "file") == SUM
    site.status = [401]
    with pytest.raises(ReproduceError, match="answers 401"):
        download.download(Remote(f"{site.url}/file"), tmp_path / "other")


def test_redirects_stay_on_https(site, tmp_path):
    site.redirect = {"/here": f"{site.url}/file", "/out": "http://example.org/file", "/disk": "file:///etc/passwd"}
    assert download.download(Remote(f"{site.url}/here"), tmp_path / "file") == SUM
    for path in ("/out", "/disk"):
        with pytest.raises(ReproduceError, match=r"leads elsewhere|is not allowed"):
            download.download(Remote(f"{site.url}{path}"), tmp_path / "other")
    assert left(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\\b", "C:x", "", ".", "a/./b", "a\nb"])
def test_names_that_lead_out_of_a_folder(name):
    with pytest.raises(ValueError, match=r"is no path|holds a character"):
        safe_name(name)


@pytest.mark.parametrize(
    "url", ["http://example.org/x", "ftp://example.org/x", "file:///x", "x", "https://me:secret@example.org/x"]
)
def test_addresses_that_are_not_taken(url):
    with pytest.raises(ValueError, match="a user's name or password" if "@" in url else "is no https address"):
        safe_url(url)


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({}, "either url, or repo"),
        ({"repo": "a/b", "file": "x"}, "either url, or repo"),
        ({"url": "https://a/b", "repo": "a/b", "file": "x", "revision": "main"}, "either url, or repo"),
        ({"url": "http://a/b"}, "is no https address"),
        ({"repo": "a/b", "file": "../x", "revision": "main"}, "is no path below a folder"),
        ({"url": "https://a/b", "sha256": "00"}, "sha256"),
    ],
)
def test_addresses_of_the_catalog_are_checked(stated, said):
    with pytest.raises(ValueError, match=said):
        Address.model_validate(stated)


# ---- archives


def zipped(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info


def test_an_archive_is_unpacked_below_its_folder(tmp_path):
    archive = zipped(tmp_path / "a.zip", ("v.vlt/Good/one", b"1"), ("v.vlt/Poor/two", b"2"), ("__MACOSX/v", b"3"))
    assert unpack_zip(archive, tmp_path, "v.vlt/Good") == ["v.vlt"]
    assert (tmp_path / "v.vlt" / "Good" / "one").read_bytes() == b"1"
    assert left(tmp_path) == ["a.zip", "v.vlt"]
    with pytest.raises(ReproduceError, match="is there already"):
        unpack_zip(archive, tmp_path, "v.vlt/Good")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("../out", b"1")], "no path below a folder"),
        ([("/out", b"1")], "no path below a folder"),
        ([("v/..\\out", b"1")], "does not have|do not have"),
        ([(link("v/link"), b"/etc/passwd")], "is a link"),
        ([("v/one", b"1"), ("V/ONE", b"2")], "stands twice"),
        ([("v/bomb", b"0" * 10_000_000)], "would unpack"),
        ([("w/one", b"1")], "holds no v, but w/one"),
    ],
)
def test_archives_that_are_refused_leave_nothing(members, words, tmp_path):
    archive = zipped(tmp_path / "a.zip", *members)
    with pytest.raises(ReproduceError, match=words):
        unpack_zip(archive, tmp_path, "v")
    assert left(tmp_path) == ["a.zip"]
    assert left(tmp_path.parent).count("out") == 0


def test_a_damaged_archive_leaves_nothing(tmp_path):
    archive = zipped(tmp_path / "a.zip", ("v/one", b"abc" * 1000))
    whole = archive.read_bytes()
    for damaged in (whole[:40], b"no zip", whole[:50] + b"\0\0\0\0" + whole[54:]):
        archive.write_bytes(damaged)
        with pytest.raises(ReproduceError, match=r"damaged|no zip"):
            unpack_zip(archive, tmp_path, "v")
        assert left(tmp_path) == ["a.zip"]


# ---- the command


@pytest.fixture
def published(site, tmp_path, monkeypatch):
    """An official dataset of xor/ab on the server, in the authors' format, its checksums in the catalog."""
    folder = tmp_path / "authors"
    entry = registry.entries()["xor/ab"]
    from data.catalog import store

    written.alberdice(store.get("xor/ab").transitions[:100], folder, "matrix")
    names = {path.name: path.read_bytes() for path in folder.iterdir()}
    site.files |= {f"/buffer/{name}": content for name, content in names.items()}
    official = entry["official"]
    official["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in names.items()}
    official["address"] = {"url": f"{site.url}/buffer", "bytes": sum(map(len, names.values()))}
    official["episodes"] = json.loads(names["meta.json"])["episodes_in_buffer"]
    entries = registry.entries() | {"xor/ab": entry}
    monkeypatch.setattr(registry, "_parsed", lambda: entries)
    return entry


def test_without_a_terminal_nothing_is_fetched_unless_told_to(site, published, capsys):
    assert main(["data", "fetch", "xor/ab"]) == 4
    assert "add --yes" in capsys.readouterr().err
    assert site.seen == []


@pytest.mark.parametrize(("answer", "fetched"), [("n\n", False), ("\n", False), ("", False), ("y\n", True)])
def test_on_a_terminal_it_shows_what_it_would_do_and_asks(answer, fetched, site, published, capsys, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal(answer))
    monkeypatch.setattr("sys.stderr", Terminal())
    import sys

    assert main(["data", "fetch", "xor/ab"]) == 0
    said = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert "licence  not stated" in said
    assert f"from     {site.url}/buffer, 9 files" in said
    assert "size     0.6 MB" in said
    assert str(outputs_dir() / "official" / "alberdice") in said
    assert bool(site.seen) == fetched
    assert ("nothing was fetched" in said) != fetched


def test_fetched_data_are_read_by_rows_and_a_second_time_asks_nobody(site, published, capsys, tmp_path):
    assert main(["data", "fetch", "xor/ab", "--yes", "--root", str(tmp_path / "d"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["n_transitions"] == 100
    assert document["checked"] == {"size": True, "sha256": True, "content": True}
    asked = len(site.seen)
    assert main(["data", "fetch", "xor/ab", "--yes", "--root", str(tmp_path / "d")]) == 0
    assert len(site.seen) == asked
    assert main(["data", "show", "xor/ab", "--root", str(tmp_path / "d"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.partition("\n    ")[2].partition("\n")[2])["kind"] == "official"
    damaged = next((tmp_path / "d").rglob("obs.npy"))
    damaged.write_bytes(damaged.read_bytes()[:-4] + np.float32(7).tobytes())
    assert main(["data", "fetch", "xor/ab", "--yes", "--root", str(tmp_path / "d")]) == 4
    assert "is there, but is not the file at" in capsys.readouterr().err


def test_an_interrupted_fetch_keeps_what_it_has(site, published, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    site.cuts = [10]
    command = ["data", "fetch", "xor/ab", "--yes", "--root", str(tmp_path / "d")]
    assert main(command) == 4
    assert "The same command goes on there" in capsys.readouterr().err
    assert [path.suffix for path in (tmp_path / "d").rglob("*.part")] == [".part"]
    assert main(command) == 0
    assert not list((tmp_path / "d").rglob("*.part*"))
    assert any(wanted == "bytes=10-" for *_, wanted in site.seen)


def test_another_file_on_the_server_is_refused(site, published, capsys, tmp_path):
    site.files["/buffer/obs.npy"] = site.files["/buffer/obs.npy"][::-1]
    assert main(["data", "fetch", "xor/ab", "--yes", "--root", str(tmp_path / "d")]) == 4
    assert "expected" in capsys.readouterr().err
    assert not list((tmp_path / "d").rglob("obs.npy*"))


def test_data_without_an_address_say_where_they_are_published(capsys):
    assert main(["data", "fetch", "omar/simple_spread-random", "--yes"]) == 4
    message = capsys.readouterr().err
    assert "no address of its files is known" in message
    assert "Google Drive folder" in message
    assert main(["data", "fetch", "m_ne/balanced", "--yes"]) == 4
    assert "has no official data" in capsys.readouterr().err
    assert main(["data", "fetch", "bridge/mixx", "--yes"]) == 4
    assert "Nearest: bridge/mix" in capsys.readouterr().err


def test_a_file_of_hugging_face_is_asked_for_its_size_and_checksum(site, monkeypatch, tmp_path):
    pytest.importorskip("huggingface_hub")
    pytest.importorskip("tensorstore")
    pytest.importorskip("mujoco")
    monkeypatch.setattr(fetch, "HUB", site.url)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("3hopper.vlt/Expert/metadata.json", "{}")
    body = buffer.getvalue()
    path = "/datasets/InstaDeepAI/og-marl/resolve/main/prior_work/omiga/mamujoco/3hopper.zip"
    site.files[path] = body
    site.headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": "0" * 40}
    found = fetch.sized(fetch.plan("omiga/hopper_3x1-expert", tmp_path))
    assert found.size == len(body)
    assert [remote.sha256 for remote in found.files.values()] == [hashlib.sha256(body).hexdigest()]
    fetch.fetch(found)
    assert (tmp_path / "3hopper.vlt" / "Expert" / "metadata.json").read_text() == "{}"
    assert left(tmp_path) == [".fetch.lock", "3hopper.vlt"]
    assert fetch.plan("omiga/hopper_3x1-medium", tmp_path).is_there is False
    (tmp_path / "full").mkdir()

    def full(*_) -> None:
        raise ReproduceError("cannot be unpacked.") from OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(fetch, "unpack_zip", full)
        with pytest.raises(DiskFull, match=r"3hopper\.zip stays for the next try"):
            fetch.fetch(fetch.sized(fetch.plan("omiga/hopper_3x1-expert", tmp_path / "full")))
    fetch.fetch(fetch.sized(fetch.plan("omiga/hopper_3x1-expert", tmp_path / "full")))
    assert left(tmp_path / "full") == [".fetch.lock", "3hopper.vlt"]
    site.headers["ETag"] = '"' + "1" * 64 + '"'
    (tmp_path / "other").mkdir()
    with pytest.raises(ReproduceError, match="expected 1111"):
        fetch.fetch(fetch.sized(fetch.plan("omiga/hopper_3x1-expert", tmp_path / "other")))


def test_every_address_of_the_catalog_makes_a_plan():
    pytest.importorskip("huggingface_hub")
    found = {name: entry for name, entry in registry.datasets().items() if entry.official}
    addressed = [
        name for name, entry in found.items() if any(c.address for c in (entry.official, *entry.official.also))
    ]
    assert len(addressed) > 10
    for name in addressed:
        urls = [remote.url for remote in fetch.plan(name).files.values()]
        assert all(url.startswith("https://") for url in urls)
