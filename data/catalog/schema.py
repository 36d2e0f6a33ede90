"""An entry of data/catalog/datasets/<family>.yaml, key by key. Imports no torch."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from data.common.validation import Count, Model, NonNegative, Size
from data.common.web import safe_name, safe_url

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Interval = Annotated[list[int | float], Field(min_length=2, max_length=2)]
Kind = Literal["regenerated", "official"]


class WorldEntry(Model):
    """The world whose experience it is."""

    name: str  # of data.worlds
    params: dict[str, Any]  # keyword arguments of its class

    @property
    def flat(self) -> dict[str, Any]:
        """{"name": .., and the parameters}, as generators and loaders take it."""
        return {"name": self.name, **self.params}


class GeneratorEntry(Model):
    """How `regenerated` data are made here, always from this seed."""

    name: str  # of data.generate, or concatenation: the datasets `params.parts` one after another
    seed: Count
    params: dict[str, Any]

    @property
    def parts(self) -> list[str]:
        """The ids of the datasets that this one is made of; empty unless it is a concatenation."""
        return self.params["parts"] if self.name == "concatenation" else []


class Published(Model):
    """Statistics of the official data's returns that somebody published, shown beside ours."""

    mean: float
    std: NonNegative
    min: float
    max: float
    n_rows: Size
    n_episodes: Size
    source: str


class PublishedCloning(Model):
    """The return that behavior cloning earns when trained on the official data, where somebody published it."""

    mean: float
    std: NonNegative
    source: str


class Address(Model):
    """Where files can be fetched: `url`, or a file of a Hugging Face dataset. Of several files, `url` is their folder.

    Unknown stays null: a size is then asked of the server, a checksum is not compared.
    """

    url: str | None = None
    repo: str | None = None
    file: str | None = None
    revision: str | None = None
    archive: Literal["zip"] | None = None  # unpacked into data.root; else the file is what the loader reads
    bytes: Size | None = None
    sha256: Sha256 | None = None
    checksums: dict[str, Sha256] = Field(default_factory=dict)  # of several files, beside those in `files`

    @model_validator(mode="after")
    def _leads_somewhere(self) -> "Address":
        hub = (self.repo, self.file, self.revision)
        if (self.url is None) == all(part is None for part in hub) or (self.url is None and None in hub):
            raise ValueError("an address is either url, or repo with file and revision")
        if self.url is not None:
            safe_url(self.url)
        else:
            safe_name(str(self.file))
        return self


class OtherConversion(Model):
    """Files that hold the same official data in another format."""

    source: str  # the loader, of data.official
    path: str  # below data.root; of several dataset seeds, the one that rows read
    published: str  # where
    license: str
    address: Address | None = None  # null: none is known, or none that a program may fetch from

    @model_validator(mode="after")
    def _stays_below_the_root(self) -> "OtherConversion":
        safe_name(self.path)
        return self


class OfficialEntry(OtherConversion):
    """The authors' files, never shipped, and downloaded by `reproduce data fetch` alone."""

    episodes: Size | None = None  # their number, where the loader needs it
    world_params: dict[str, Any] = Field(default_factory=dict)  # parameters of the world where they differ from ours
    files: dict[str, Sha256] = Field(default_factory=dict)  # checksums of the files seen; others are not checked
    also: list[OtherConversion] = Field(default_factory=list)


class DatasetEntry(Model):
    """One dataset that a row may ask for."""

    description: str
    world: WorldEntry
    generator: GeneratorEntry
    # Of the regenerated file: the same bits on every build. null: they may differ between machines (physics and matrix
    # products in floating point), and are the same on one.
    sha256: Sha256 | None
    # A measure of the generator, or a statistic of the data (return_mean, n_rows, ..) -> [lowest, highest]: a build
    # outside is refused.
    acceptance: dict[str, Interval]
    license: str  # of the regenerated data
    published: Published | None = None
    published_cloning: PublishedCloning | None = None
    official: OfficialEntry | None  # null: there are none, and `official_reason` says why
    official_reason: str | None = None

    @model_validator(mode="after")
    def _belongs_together(self) -> "DatasetEntry":
        for name, (low, high) in self.acceptance.items():
            if low > high:
                raise ValueError(f"acceptance.{name}: [{low}, {high}] must be [lowest, highest]")
        if (self.official is None) != (self.official_reason is not None):
            raise ValueError("official_reason must be given where official is null, and nowhere else")
        return self


class CatalogFile(Model):
    """A family's file: entries by id, and values that several of them refer to by YAML anchors."""

    shared: dict[str, Any] = Field(default_factory=dict)
    datasets: dict[str, Any]


def json_schema() -> dict[str, Any]:
    """The JSON Schema of data/catalog/datasets/*.yaml, for editors."""
    schema = CatalogFile.model_json_schema(ref_template="#/$defs/{model}")
    entry = DatasetEntry.model_json_schema(ref_template="#/$defs/{model}")
    schema["$defs"] = entry.pop("$defs") | {"DatasetEntry": entry}
    schema["properties"]["datasets"]["additionalProperties"] = {"$ref": "#/$defs/DatasetEntry"}
    return schema
