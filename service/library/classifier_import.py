"""Check whether this server can use an imported classifier, so that errors show at the import."""

from __future__ import annotations

from backbones.engine import Engine
from backbones.errors import InvalidInput
from heads.feature_pooling.blocks import resolve_blocks
from heads.feature_pooling.features import check_feature_rows, check_reading
from heads.feature_pooling.fitted_head import HeadClassifier, check_plan, map_shapes
from heads.task import Limits
from service.library.classifiers import Classifier, check_usable


async def check_import(engine: Engine, classifier: Classifier, limits: Limits, *, field: str = "file") -> None:
    """Raises InvalidInput, about `field`, for a classifier that reads images in a way that this backbone cannot.

    It refuses: other weights; missing blocks, or another order of blocks; timesteps outside the schedule; more rows an
    image than a request may take; vectors of another length than the blocks give.
    """
    backbone, about = engine.backbone, classifier.about
    check_usable(about, backbone)
    features = about.features
    try:
        if resolve_blocks(features.blocks, backbone.sub_blocks) != features.blocks:
            raise InvalidInput("blocks", "they are not in the order of depth, once each", hint="")
        check_reading(backbone, features.timesteps, features.pool_size)
        check_feature_rows(1, len(features.timesteps), features.noise_samples, limits)
        shapes = await map_shapes(engine, features.blocks)
        channels = tuple(channels for channels, _ in shapes)
        model = classifier.model
        if isinstance(model, HeadClassifier):
            if model.plan.channels != channels:
                raise InvalidInput("channels", f"{model.plan.channels}, and the blocks have {channels}", hint="")
            check_plan(model.plan, [side for _, side in shapes])
        dimension = len(features.timesteps) * sum(channels) * features.pool_size**2
        if classifier.dimension != dimension:
            message = f"it is for vectors of {classifier.dimension} values; its blocks, timesteps and pool_size give "
            raise InvalidInput("pool_size", f"{message}{dimension}", hint="")
    except InvalidInput as error:
        message = f"this server can not use the classifier: {error.field}: {error.message}"
        raise InvalidInput(
            field, message, hint="send the file as it was exported, or fit the classifier here"
        ) from error
