"""service/library/classifier_import.py over REST: tests/service/api/test_classifiers.py. Here: released heads."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from backbones.engine import DirectEngine
from backbones.errors import InvalidInput
from backbones.loading.source import open_backbone
from service.library.classifier_import import check_import
from service.library.classifiers import FeatureOptions, HeadOptions, LabelledVectors, fit_classifier
from service.settings.groups import LimitSettings


def test_a_released_head_over_other_maps_is_refused() -> None:
    engine = DirectEngine(open_backbone("pocket"))
    blocks = ("mid_block",)
    features = FeatureOptions(blocks=blocks, timesteps=(100,), pool_size=1, noise_samples=0, fit="crop")
    head = HeadOptions(kind="linear", channels=(3,), hidden=(4,), width=8, attention_heads=2, depth=1, epochs=1)
    random = np.random.default_rng(0)
    examples = LabelledVectors(
        random.normal(size=(8, 3)).astype(np.float32), tuple("aaaabbbb"), random.integers(0, 256, (8, 16), np.uint8)
    )
    classifier = fit_classifier(examples, features, engine.backbone, name="", head=head)
    with pytest.raises(InvalidInput, match="channels"):
        asyncio.run(check_import(engine, classifier, LimitSettings()))
    other = replace(classifier, about=classifier.about.model_copy(update={"revision": "0"}))
    with pytest.raises(InvalidInput, match="fitted on"):
        asyncio.run(check_import(engine, other, LimitSettings()))
