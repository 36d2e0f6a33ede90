"""The authors' files of a dataset: found below data.root, checked by their checksums, and read; never downloaded."""

import os
from dataclasses import dataclass
from pathlib import Path

from data.catalog.dataset import Dataset, described, layout_of
from data.catalog.schema import DatasetEntry, OfficialEntry, OtherConversion
from data.common.errors import ReproduceError
from data.common.files import sha256
from data.common.foreign import check_regular, check_tree
from data.official import SOURCES, Source


@dataclass(frozen=True)
class Choice:
    """One conversion of the official data, with the path of the dataset seed that was asked for."""

    conversion: OtherConversion
    path: str
    files: dict[str, str]  # known checksums by name

    @property
    def source(self) -> Source:
        return SOURCES[self.conversion.source]

    @property
    def advice(self) -> str:
        return f"Published: {self.conversion.published}. Point data.root at the folder that holds {self.path}."


def read(dataset_id: str, entry: DatasetEntry, root: Path | str | None, seed: int | None) -> Dataset:
    """The official dataset below `root`. Known checksums are compared before anything is parsed.

    Raises ReproduceError where there are no official data, for a seed that they do not have, for files that are missing
    or other than known ones, and as the loader does.
    """
    official = entry.official
    if official is None:
        raise ReproduceError(f"{dataset_id} has no official data: {entry.official_reason}. Use the regenerated kind.")
    choices = _choices(dataset_id, official, seed)
    if root is None:
        raise ReproduceError(
            f"{dataset_id}: official data needs data.root=DIR; nothing is downloaded. {_advice(choices)}"
        )
    place, choice = _find(Path(root), official.source, choices)
    choices.sort(key=lambda other: other is not choice)  # what was found is named first
    world = entry.world.model_copy(update={"params": entry.world.params | official.world_params})
    wanted = choice.source.files(official.model_dump(), world.flat)
    for name, size in wanted.items():
        if not (place / name).is_file():
            known = f"sha256 {choice.files[name]}" if name in choice.files else "checksum unknown"
            raise ReproduceError(
                f"{dataset_id}: {os.path.normpath(place / name)} is missing ({size}, {known}).{_beside(place)} "
                f"{_advice(choices)}"
            )
    if choice.source.whole_folder:
        if not place.exists():
            missing = f"{os.path.normpath(place)} is missing.{_beside(place)}"
            raise ReproduceError(f"{dataset_id}: {missing} {_advice(choices)}")
        check_tree(place)
    for name in wanted:  # a file above the dataset's folder (the prey) has that folder to itself
        check_regular(place / name, (place / name).parent if name else None)
    found = _checksums(dataset_id, place, _below(place) if choice.source.whole_folder else list(wanted), choice)
    dataset_world_params = choice.source.world_params(place, world.flat)
    transitions = choice.source.load(place, world.flat)
    statistics = layout_of(world).statistics(transitions)
    checked = choice.source.replayed(place, transitions, world.flat)
    manifest = {
        **described(dataset_id, "official", entry, world.params | dataset_world_params, statistics),
        "source_format": choice.conversion.source,
        "path": choice.path,
        "default_path": choice.conversion.path,
        "sha256": None,
        "files": found,
        "checksums_known": sorted(choice.files),
        "license": choice.conversion.license,
        "made_by": {"published": choice.conversion.published},
        "acceptance": {},
        **({"transitions_checked": checked} if checked else {}),
    }
    return Dataset(transitions, manifest, dataset_world_params)


def where(dataset_id: str, official: OfficialEntry) -> str:
    """Where the authors' files are published, and where data.root points to, in sentences."""
    return _advice(_choices(dataset_id, official, None))


def _advice(choices: list[Choice]) -> str:
    return " Or: ".join(choice.advice for choice in choices)


def _choices(dataset_id: str, official: OfficialEntry, seed: int | None) -> list[Choice]:
    """The conversions, of dataset seed `seed` where one is asked for; its checksums are then unknown."""
    conversions: list[OtherConversion] = [official, *official.also]
    if seed is None:
        return [Choice(c, c.path, getattr(c, "files", {})) for c in conversions]
    found = []
    for conversion in conversions:
        if with_seed := SOURCES[conversion.source].with_seed:
            path = with_seed(conversion.path, seed)
            files = getattr(conversion, "files", {}) if path == conversion.path else {}
            found.append(Choice(conversion, path, files))
    if not found:
        raise ReproduceError(f"data.seed={seed}: {dataset_id} has one official dataset; leave data.seed out.")
    return found


def _find(root: Path, main: str, choices: list[Choice]) -> tuple[Path, Choice]:
    """The first choice that is there: in the folder itself, in a folder of several sources, or in a clone of the
    authors' repository; else the place where the first was looked for first."""
    inside = [
        (root / folder / choice.path, choice)
        for choice in choices
        for folder in dict.fromkeys((".", main, choice.conversion.source, *choice.source.folders))
    ]
    return next(((path, choice) for path, choice in inside if path.exists()), inside[0])


def _checksums(dataset_id: str, place: Path, names: list[str], choice: Choice) -> dict[str, str]:
    """{name: sha256}. Raises ReproduceError for a file that is not the known one."""
    found: dict[str, str] = {}
    for name in names:
        key = name or place.name
        try:
            found[key] = sha256(place / name if name else place)
        except OSError as error:
            raise ReproduceError(f"{dataset_id}: {place / name} cannot be read ({error.strerror}).") from error
        if (known := choice.files.get(key, found[key])) != found[key]:
            raise ReproduceError(
                f"{dataset_id}: {place / name} has sha256 {found[key]}, the file seen before has {known}: "
                f"it is damaged or another version. {choice.advice}"
            )
    return found


def _beside(place: Path) -> str:
    """The names where a dataset's folder was looked for, in words."""
    if place.exists() or not place.parent.is_dir():
        return ""
    return f" {place.parent} holds {', '.join(sorted(path.name for path in place.parent.iterdir())[:10]) or 'nothing'}."


def _below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
