"""The settings of the device: its memory, the size of batches, and the bounds of its queue."""

from __future__ import annotations

from pydantic import Field

from service.settings.groups import MIB, Group


class EngineSettings(Group):
    """How the device is shared."""

    max_batch_rows: int = Field(
        default=0,
        ge=0,
        le=4096,
        description="Items of the largest batch, U-Net rows as well as images. 0 leaves it to the memory that is free, "
        "to the pixels of an item, and to measured seconds: 32, and more only where such a batch takes less than a "
        "quarter of a second. A batch that does not fit is halved and tried again.",
    )
    max_batch_seconds: float = Field(
        default=2.0,
        gt=0,
        le=3600,
        description="Seconds that a batch may take, as measured before, unless one item takes longer. A request that "
        "arrives waits for the batch under way, and one whose deadline has passed leaves no longer one behind.",
    )
    memory_bytes: int = Field(
        default=0,
        ge=0,
        description="Bytes of the device's memory that the weights of models may take. What does not fit waits, and is "
        "loaded for a request in the place of what was used least recently. 0 takes three quarters of what is free at "
        "start-up.",
    )
    host_memory_bytes: int | None = Field(
        default=None,
        ge=0,
        description="Bytes of host memory for the weights of models that left the device: a request that wants them "
        "back waits for a copy, and not for files. 0 keeps none; unset takes half of what is free at start-up, less "
        "`memory_bytes` on a CPU.",
    )
    max_waiting_rows: int = Field(
        default=100_000,
        ge=1,
        description="Rows that may wait for the device, all requests together. Past it requests are answered 429 with "
        "a Retry-After.",
    )
    max_waiting_bytes: int = Field(
        default=2048 * MIB,
        ge=MIB,
        description="Bytes of what waits for the device, pictures and latents, all requests together; likewise.",
    )
    context_cache_bytes: int = Field(
        default=256 * MIB, ge=0, description="Bytes of text contexts kept by prompt, on the device; 0 keeps none."
    )
    latent_cache_bytes: int = Field(
        default=256 * MIB, ge=0, description="Bytes of image latents kept by pixels, on the device; 0 keeps none."
    )
    vector_cache_bytes: int = Field(
        default=64 * MIB,
        ge=0,
        description="Bytes of images' feature vectors kept by pixels for fitting again, in the host's memory; 0 keeps "
        "none.",
    )
    lanes: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Batches that run at a time, each on a thread of its own with its own activations. 0 takes as many "
        "as the cores hold of `torch_threads`, four at most, and one on a GPU.",
    )
    torch_threads: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="CPU threads of one torch operation; 0 takes one for small networks such as `pocket`, which more "
        "would slow down, and all cores for others.",
    )
