"""The groups of settings, with bounds and consequences."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, StringConstraints
from pydantic_settings import NoDecode

from backbones import user_folders

MIB = 1024 * 1024

DType = Literal["auto", "float32", "bfloat16", "float16"]


def _split_list(value: Any) -> Any:
    # An environment variable is one text; TOML files and code have lists.
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Origin = Annotated[str, StringConstraints(pattern=r"^(\*|https?://[A-Za-z0-9.:\[\]-]+)$")]
HostPattern = Annotated[str, StringConstraints(to_lower=True, pattern=r"^(\*\.)?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$")]
Origins = Annotated[tuple[Origin, ...], NoDecode, BeforeValidator(_split_list)]
HostPatterns = Annotated[tuple[HostPattern, ...], NoDecode, BeforeValidator(_split_list)]
Texts = Annotated[tuple[Annotated[str, StringConstraints(min_length=1)], ...], NoDecode, BeforeValidator(_split_list)]
Ports = Annotated[tuple[Annotated[int, Field(ge=1, le=65_535)], ...], NoDecode, BeforeValidator(_split_list)]


class Group(BaseModel):
    """Settings that belong together. A name that is no setting is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LimitSettings(Group):
    """What one request may ask for. Past a limit the answer is a 4xx that names it."""

    max_upload_bytes: int = Field(
        default=64 * MIB,
        ge=1024,
        le=4096 * MIB,
        description="Bytes of one request body, with all images in it. A larger body is answered 413.",
    )
    max_header_bytes: int = Field(
        default=64 * 1024,
        ge=4096,
        le=16 * MIB,
        description="Bytes of a request's path and headers together. A larger request is answered 431, and "
        "its connection is closed.",
    )
    max_image_pixels: int = Field(
        default=50_000_000,
        ge=1,
        le=89_000_000,
        description="Width times height of one image, checked in its header before anything is decoded. "
        "Decoding takes up to 20 bytes of memory a pixel.",
    )
    max_request_pixels: int = Field(
        default=400_000_000,
        ge=1,
        le=100_000_000_000,
        description="Pixels of all images of one request together. Decoded images take 3 bytes a pixel of "
        "memory until the request is answered. Images for fitting a classifier are decoded in parts and do not "
        "count.",
    )
    max_decoded_pixels: int = Field(
        default=1_000_000_000,
        ge=1,
        le=100_000_000_000,
        description="Pixels of decoded images in memory, over all requests and jobs. A request that would "
        "exceed them waits, within its deadline.",
    )
    decode_seconds: float = Field(
        default=10.0,
        gt=0,
        le=600,
        description="Seconds of work that the decoding of one JPEG, PNG, GIF or BMP may take; other "
        "formats are limited by their pixels alone. A JPEG of more than 100 scans, or fewer if it is large, is "
        "refused at once.",
    )
    max_aspect_ratio: float = Field(
        default=100.0,
        ge=1,
        le=10_000,
        description="Longer side divided by shorter side of one image. Heads scale the shorter side, so a "
        "thin strip would become an enormous image.",
    )
    max_images: int = Field(default=64, ge=1, le=4096, description="Images of one /v1/features request.")
    max_shots: int = Field(
        default=64,
        ge=1,
        le=1024,
        description="Support images of one few-shot concept, and of one request. Each adds its tokens to every query.",
    )
    max_training_images: int = Field(
        default=20_000, ge=2, le=1_000_000, description="Images that one classifier is fitted on."
    )
    max_labels: int = Field(
        default=500, ge=1, le=10_000, description="Labels of one zero-shot request, classes of one classifier."
    )
    max_prompts: int = Field(
        default=2_000,
        ge=1,
        le=100_000,
        description="Prompts of one zero-shot request: labels times templates. Each is embedded once and then cached.",
    )
    max_tree_labels: int = Field(
        default=20_000,
        ge=1,
        le=1_000_000,
        description="Labels of one label tree, all its levels together. Siblings are bound by `max_labels`.",
    )
    max_json_values: int = Field(
        default=100_000,
        ge=1_000,
        le=10_000_000,
        description="Values in one JSON body, or in one JSON field of a form, counted by commas before the "
        "JSON is parsed. A megabyte holds half a million values; an image in base64 is one value.",
    )
    max_rows_per_request: int = Field(
        default=500_000,
        ge=1,
        description="U-Net rows that one request may need at most, estimated before it starts. "
        "A request over it is refused at once instead of after minutes of work.",
    )
    deadline_seconds: float = Field(
        default=300.0,
        gt=0,
        le=86_400,
        description="Seconds after which a request is answered 504 and its waiting work is dropped. A "
        "request may set a shorter deadline, never a longer one.",
    )
    min_bytes_per_second: int = Field(
        default=16 * 1024,
        ge=1,
        le=1024 * MIB,
        description="Minimum bytes per second of a body after `deadline_seconds`: every so many bytes "
        "extend the time by one second. A slower body is answered 408.",
    )
    head_seconds: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="Seconds within which the headers of a request must arrive, from the connection or the "
        "first byte. After that, `diffsight serve` closes the connection.",
    )
    max_fit_bytes: int = Field(
        default=1024 * MIB,
        ge=MIB,
        le=1024 * 1024 * MIB,
        description="Bytes of memory that the training of a classifier head over REST may take, estimated "
        "from its sizes before any work.",
    )
    max_archive_entries: int = Field(
        default=20_000,
        ge=1,
        le=100_000,
        description="Entries of one zip of images, folders included, counted before its list of contents is read.",
    )
    max_archive_bytes: int = Field(
        default=256 * MIB,
        ge=1024,
        le=65_536 * MIB,
        description="Bytes of all files of one zip, unpacked: both the announced and the actual bytes. "
        "They stay in memory until the request is answered.",
    )
    max_archive_ratio: float = Field(
        default=100.0,
        ge=1,
        le=1_032,
        description="Unpacked bytes for each byte of a zip. Photographs hardly compress; a zip that "
        "expands more was made to exhaust the memory.",
    )


class AccessSettings(Group):
    """Who may ask, and how much. docs/access.md tells how to make keys."""

    keys_file: Path | None = Field(
        default=None,
        description="File of the API keys that `diffsight keys` writes and the server reads; unset is "
        "`diffsight/keys.json` in the user's configuration folder. As soon as it holds a key, requests need one.",
    )
    allow_anonymous: bool = Field(
        default=False,
        description="Answer requests without a key from any client, even if there are keys. If false, a "
        "server without keys answers only programs on its own machine, refuses web pages of other sites, and "
        "does not start on any other address.",
    )
    metrics_open: bool = Field(
        default=False,
        description="Answer /metrics without a key. Health routes and the API's documentation never need one.",
    )
    rate_per_minute: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Requests per minute of a key without a rate of its own; they may come all at once. "
        "More are answered 429. 0 sets no limit.",
    )
    concurrency: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="Simultaneous requests of a key without a number of its own; 0 sets no limit.",
    )
    client_rate_per_minute: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Requests per minute without a key from one address (IPv6: one /64 network); 0 sets no limit.",
    )
    client_concurrency: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="Simultaneous requests without a key from one address; 0 sets no limit.",
    )
    cors_origins: Origins = Field(
        default=(),
        description="Origins such as `https://app.example.org` whose pages may call the API from a "
        "browser, separated by commas; `*` for all. Empty: none.",
    )

    def keys_path(self) -> Path:
        """The file of keys: as set, else in the user's configuration folder."""
        return self.keys_file or user_folders.configuration_folder() / "keys.json"


class UrlSettings(Group):
    """Images that callers name by an address instead of sending them."""

    enabled: bool = Field(
        default=False,
        description="Accept https:// URLs in place of base64 images, and download the images. If false, "
        "the server opens no connection for a client.",
    )
    allow_hosts: HostPatterns = Field(
        default=(),
        description="The only hosts to download from, separated by commas; `*.example.org` is every name "
        "below example.org. Empty: every public host.",
    )
    deny_hosts: HostPatterns = Field(
        default=(), description="Hosts never to download from, in the same form. It overrides `allow_hosts`."
    )
    ports: Ports = Field(default=(443,), min_length=1, description="Ports to download from, separated by commas.")
    max_bytes: int = Field(
        default=20 * MIB,
        ge=1024,
        le=1024 * MIB,
        description="Bytes of one downloaded image. All images of a request together are limited by "
        "`limits.max_upload_bytes`.",
    )
    timeout_seconds: float = Field(
        default=10.0,
        gt=0,
        le=300,
        description="Seconds for the download of one image, from the look-up of its host to its last byte, "
        "redirects included.",
    )
    max_concurrent: int = Field(
        default=8, ge=1, le=1_000, description="Images downloaded at the same time, over all requests."
    )


class JobSettings(Group):
    """Batch jobs. docs/jobs.md tells of them."""

    database: str | None = Field(
        default=None,
        pattern=r"^(sqlite|postgresql)(\+\w+)?://",
        description="SQLAlchemy URL of the database of jobs, `sqlite:////folder/jobs.db` or "
        "`postgresql+psycopg://user:password@host/name` (needs `pip install 'diffsight[postgres]'`); unset is the file "
        "`jobs.db` in `data_folder`.",
    )
    sources: Texts = Field(
        default=(),
        description="Folders, or URLs such as `s3://bucket/folder`, below which jobs over REST may read. "
        "Empty: none; jobs then take uploads only, and URLs if `urls.enabled` is on.",
    )
    max_upload_bytes: int = Field(
        default=2048 * MIB,
        ge=1024,
        le=65_536 * MIB,
        description="Bytes of one upload for a job. It is kept in `data_folder`, and counts towards "
        "`data_bytes`, until the job is deleted.",
    )
    max_result_bytes: int = Field(
        default=64 * 1024 * MIB,
        ge=1024,
        description="Bytes of the results of all jobs in the database. A job that would exceed them fails. "
        "Delete other jobs and retry it, and it continues.",
    )
    images_at_once: int = Field(
        default=32,
        ge=1,
        le=1024,
        description="Images of one job that are processed at the same time. Their rows share batches.",
    )
    jobs_at_once: int = Field(default=2, ge=1, le=64, description="Jobs that one server runs at the same time.")
    max_document_bytes: int = Field(
        default=128 * MIB,
        ge=1024,
        le=65_536 * MIB,
        description="Bytes of a COCO file, in a zip or beside its images, or of a list of URLs. Reading it "
        "takes about eight times as much memory.",
    )
    max_items: int = Field(default=5_000_000, ge=1, description="Images of one job.")
    lease_seconds: float = Field(
        default=10.0,
        gt=0.1,
        le=3600,
        description="Seconds after which the job of a server that died is continued by another server, or "
        "at its next start.",
    )
    poll_seconds: float = Field(
        default=1.0, gt=0, le=60, description="Seconds between checks for jobs that were created on other servers."
    )


class LabelStudioSettings(Group):
    """The Label Studio whose ML backend this server is. docs/annotation-tools.md tells of it."""

    url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$",
        description="URL of Label Studio, such as `http://label-studio:8080`. Images of its projects are "
        "downloaded from there. Unset: only images that are sent as data, or by https if `urls.enabled` is on.",
    )
    api_key: SecretStr | None = Field(
        default=None, description="Token of Label Studio, personal or legacy, for downloading images."
    )
    timeout_seconds: float = Field(default=30.0, gt=0, le=300, description="Seconds for the download of one image.")
    answer_seconds: float = Field(
        default=90.0,
        gt=0,
        le=86_400,
        description="Seconds after which a request for predictions is answered with those that are "
        "finished. Keep it below Label Studio's `ML_TIMEOUT_PREDICT`, by default 100 seconds: after that, "
        "Label Studio discards the answer.",
    )


class TelemetrySettings(Group):
    """Traces by OpenTelemetry. They need the extra: `pip install 'diffsight[otel]'`."""

    otlp_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://\S+$",
        description="Base URL of an OpenTelemetry collector that accepts OTLP over HTTP, such as "
        "`http://collector:4318`; unset sends no traces. OTEL_EXPORTER_OTLP_HEADERS sets headers.",
    )
    service_name: str = Field(default="diffsight", min_length=1, description="Name of this server in traces.")
    sample_ratio: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Share of requests that are traced. A client that sends a `traceparent` decides for "
        "its own requests.",
    )
