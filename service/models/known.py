"""Every published model that `diffsight models add` takes, by kind. A system declares its models in its own folder."""

from __future__ import annotations

from collections.abc import Mapping

import backbones.loading.published
import heads.diffews.published
import heads.marigold.published
import heads.sdpose.published
import heads.vpd.published
from backbones.loading.published_model import PublishedModel

PUBLISHED: Mapping[str, PublishedModel] = {
    model.kind: model
    for model in (
        *heads.vpd.published.PUBLISHED,
        *heads.sdpose.published.PUBLISHED,
        *heads.diffews.published.PUBLISHED,
        *heads.marigold.published.PUBLISHED,
        *backbones.loading.published.PUBLISHED,
    )
}
