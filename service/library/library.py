"""Objects that clients created: the stores of one data folder, and their caches."""

from __future__ import annotations

from service.engine.caches import TensorCache
from service.library.banks import BankCache
from service.library.store import Store
from service.settings.loader import Settings


class Library:
    """Concepts, classifiers, banks of supports, and the feature vectors that fits share.

    Several server processes may share one data folder.
    """

    def __init__(self, settings: Settings) -> None:
        folder, few_shot = settings.data_path(), settings.few_shot
        self.concepts = Store(folder, "concept", most_bytes=settings.data_bytes)
        self.classifiers = Store(folder, "classifier", most_bytes=settings.data_bytes)
        self.vectors = TensorCache(settings.engine.vector_cache_bytes)
        self.banks = BankCache(
            folder / "bank",
            device_bytes=few_shot.device_cache_bytes,
            host_bytes=few_shot.host_cache_bytes,
            disk_bytes=few_shot.disk_cache_bytes,
        )

    def remove_leftovers(self) -> list[str]:
        """Delete partly written files of killed processes; returns the names. Blocks."""
        return [name for store in (self.concepts, self.classifiers, self.banks) for name in store.remove_leftovers()]
