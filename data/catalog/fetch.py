"""The authors' or OG-MARL's files of a dataset, from their address to a folder that `data.root` can name."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from data.catalog.registry import dataset
from data.catalog.schema import Address, DatasetEntry, OtherConversion
from data.common.errors import DiskFull, ReproduceError
from data.common.extras import EXTRAS
from data.common.files import is_full, sha256
from data.common.paths import outputs_dir
from data.common.web import safe_name
from data.official import SOURCES
from data.official.download import Progress, Remote, download, size_of
from data.official.unpack import unpack_zip

HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Plan:
    """What would be fetched: `files` {path below `folder`: the remote}; of an archive, its name there."""

    dataset_id: str
    conversion: OtherConversion
    folder: Path
    files: dict[str, Remote]

    @property
    def address(self) -> Address:
        assert self.conversion.address is not None
        return self.conversion.address

    @property
    def size(self) -> int | None:
        """Bytes in all; None where one is unknown."""
        if self.address.bytes is not None:
            return self.address.bytes
        sizes = [remote.size for remote in self.files.values()]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    @property
    def place(self) -> Path:
        """Where the loader looks."""
        return self.folder / self.conversion.path

    @property
    def is_there(self) -> bool:
        """Whether everything has arrived before; its content is for the loader to check."""
        if self.address.archive:
            return self.place.exists()
        return all((self.folder / name).is_file() for name in self.files)


def plan(dataset_id: str, root: Path | None = None) -> Plan:
    """What fetching the dataset would do; asks nobody.

    Raises ReproduceError where no address is known, and where what reads the files is not installed.
    """
    entry = dataset(dataset_id)
    official = entry.official
    if official is None:
        raise ReproduceError(f"{dataset_id} has no official data: {entry.official_reason}.")
    conversion = next((c for c in (official, *official.also) if c.address is not None), None)
    if conversion is None or conversion.address is None:
        raise ReproduceError(
            f"{dataset_id}: no address of its files is known. They are published in {official.published}; fetch them "
            f"by hand and use data.kind=official data.root=DIR, the folder that holds {official.path}."
        )
    for package in SOURCES[conversion.source].read_by:
        if importlib.util.find_spec(package) is None:
            raise ReproduceError(
                f"{dataset_id} is read by {package}: install it with `pip install -e '.[{EXTRAS[package]}]'`."
            )
    folder = root or outputs_dir() / "official" / conversion.source
    return Plan(dataset_id, conversion, Path(folder), _files(dataset_id, conversion, entry))


def _files(dataset_id: str, conversion: OtherConversion, entry: DatasetEntry) -> dict[str, Remote]:
    address = conversion.address
    assert address is not None
    url = address.url or _hub_url(address)
    if address.archive:
        return {safe_name(url.rpartition("/")[2]): Remote(url, address.bytes, address.sha256)}
    from data.official import SOURCES

    known: dict[str, str] = getattr(conversion, "files", {}) | address.checksums
    wanted = SOURCES[conversion.source].files(conversion.model_dump(), entry.world.flat)
    if list(wanted) == [""]:
        return {conversion.path: Remote(url, address.bytes, address.sha256)}
    try:
        return {
            f"{conversion.path}/{safe_name(name)}": Remote(f"{url.rstrip('/')}/{name}", None, known.get(name))
            for name in wanted
        }
    except ValueError as error:
        raise ReproduceError(f"{dataset_id}: {error}.") from None


def _hub_url(address: Address) -> str:
    """The address of a file of a Hugging Face dataset."""
    hub = _hub()
    assert address.repo is not None  # the schema's own rule for an address without a url
    assert address.file is not None
    return hub.hf_hub_url(address.repo, address.file, repo_type="dataset", revision=address.revision, endpoint=HUB)


def _hub():  # type: ignore[no-untyped-def]
    try:
        import huggingface_hub
    except ImportError as error:
        raise ReproduceError(
            "files on Hugging Face need the package huggingface_hub: `pip install -e '.[fetch]'`."
        ) from error
    return huggingface_hub


def sized(found: Plan) -> Plan:
    """The plan with what the servers say of sizes, and on Hugging Face of checksums; nothing is fetched.

    Raises ReproduceError for an address that is gone, and a server that cannot be reached.
    """
    files = {}
    for name, remote in found.files.items():
        if found.address.repo:
            files[name] = _asked_hub(remote)
        elif found.size is not None:
            files[name] = remote
        else:
            files[name] = remote if remote.size else Remote(remote.url, size_of(remote.url), remote.sha256)
    return Plan(found.dataset_id, found.conversion, found.folder, files)


def _asked_hub(remote: Remote) -> Remote:
    hub = _hub()
    try:
        said = hub.get_hf_file_metadata(remote.url, token=False, endpoint=HUB)
    except Exception as error:  # its own kinds, and those of its HTTP client
        raise ReproduceError(f"{remote.url} cannot be asked: {str(error).splitlines()[0]}.") from error
    etag = said.etag if said.etag and len(said.etag) == 64 else None  # of a large file, its sha256
    for what, known, found in (("bytes", remote.size, said.size), ("sha256", remote.sha256, etag)):
        if known is not None and found is not None and known != found:
            raise ReproduceError(f"{remote.url} has {found} {what}, the catalog says {known}: it is another file.")
    return Remote(remote.url, remote.size or said.size, remote.sha256 or etag)


def fetch(found: Plan, progress: Progress = lambda done, total: None) -> dict[str, str]:
    """Fetch what is not there yet; {path: sha256} of what was fetched or found.

    A file that is there is not fetched again, and refused where it is not the known one. Raises ReproduceError as
    `download` and `unpack_zip` do, and while another process fetches into the same folder.
    """
    found.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(found.folder / ".fetch.lock", timeout=0):
            return _fetch(found, progress)
    except Timeout as error:
        raise ReproduceError(f"another process fetches into {found.folder}; wait for it.") from error


def _fetch(found: Plan, progress: Progress) -> dict[str, str]:
    sums: dict[str, str] = {}
    if found.address.archive and found.place.exists():
        return sums
    total, before = found.size or 0, 0
    for name, remote in found.files.items():
        target = found.folder / name

        def moved(done: int, of: int, before: int = before) -> None:
            progress(before + done, max(total, before + of))

        if target.is_file():
            sums[name] = _same(target, remote)
        else:
            sums[name] = download(remote, target, moved)
        before += target.stat().st_size
        if len(found.files) > 1 and name == list(found.files)[-1] and found.address.bytes not in (None, before):
            raise ReproduceError(
                f"{found.place} holds {before:,} bytes, the files have {found.address.bytes:,}: another version. Move "
                "it away and repeat the command."
            )
        if found.address.archive:
            try:
                unpack_zip(target, found.folder, found.conversion.path)
            except ReproduceError as error:
                if is_full(found.folder, error.__cause__):
                    raise DiskFull(f"{error} {target} stays for the next try.") from error
                target.unlink()
                raise
            target.unlink()
    return sums


def _same(path: Path, remote: Remote) -> str:
    found = sha256(path)
    if remote.sha256 not in (None, found) or remote.size not in (None, path.stat().st_size):
        raise ReproduceError(
            f"{path} is there, but is not the file at {remote.url} (sha256 {found}): move it away and repeat the "
            "command."
        )
    return found
