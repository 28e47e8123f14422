"""Answers of the original systems on small random networks, computed again on the served device and number type.

For VPD the whole chain: VAE, U-Net with its attention maps, head. For DiT the whole network. For the others, whose
U-Nets are stock ones, their own parts: SDPose's head and decoding, DiffewS's mask from latents, the head of pooled
features. The tensors are those of the fixtures in `tests/conformance`, which replays all of them in float32; `python -m
tests.conformance.shorten` writes the files anew. Sources, by repository and commit: VPD, wl-zhao/VPD at 92095ab; DiT,
facebookresearch/DiT at ed81ce2 under diffusion-classifier at e9f772d; SDPose, T-S-Liang/SDPose-OOD at d5f91ff; DiffewS,
aim-uofa/DiffewS at d12c396; pooled features, soumik-kanad/diffssl at cc2ac30.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from backbones.class_conditional import DiffusionTransformer
from backbones.engine import DirectEngine, complete
from backbones.errors import DiffsightError
from backbones.loading import ldm, ldm_config, stock_networks
from backbones.loading.dit import transformer_from
from backbones.loading.variants import build_variant
from backbones.loading.weight_files import fill, read_tensors
from backbones.noise_schedule import add_noise, linear_alphas_cumprod
from backbones.rows import Capture, UNetRow
from backbones.stable_diffusion import StableDiffusion, Variant
from diffsight.doctor.findings import Finding, judge
from heads.diffews.threshold import PUBLISHED, cut, levels
from heads.feature_pooling.checkpoint import load_weights
from heads.feature_pooling.classifier_heads import AttentionFusion
from heads.images import to_pixel_values
from heads.sdpose import codec
from heads.sdpose.head import HeatmapHead
from heads.vpd.checkpoint import OriginalParts, build_published_head, split_original
from heads.vpd.heads import ReferringHead
from heads.vpd.referring import referring_logits

FOLDER = Path(__file__).with_name("fixtures")
VPD, HEADS = FOLDER / "vpd-referring.safetensors", FOLDER / "heads.safetensors"
"""VPD's weights, and the rest: inputs, weights and answers by `SYSTEM/NAME`."""

DIT_TIMESTEPS = (62, 187, 312, 437, 562, 687, 812, 937)
DIT_CLASS = 4
DECODER = {
    "block_out_channels": (8, 8, 16, 16), "up_block_types": ("UpDecoderBlock2D",) * 4, "latent_channels": 4,
    "down_block_types": ("DownEncoderBlock2D",) * 4, "layers_per_block": 1, "norm_num_groups": 4,
}  # fmt: skip
SCALE = 0.18215

Tensors = Mapping[str, Tensor]
Where = Callable[[Any], Any]
"""Moves a tensor or a network to the device and number type of the check."""


@dataclass(frozen=True, slots=True)
class Original:
    """One system. answers: (its tensors, where) to (actual, expected) by name; tensors of one shape each.

    in_full, in_half: the largest error in float32 and in half precision: the norm of the difference by that of the
    answer, or the share of a mask's pixels. Random networks round much worse than trained ones.
    """

    name: str
    answers: Callable[[Tensors, Where, torch.device], Mapping[str, tuple[Tensor, Tensor]]]
    in_full: float
    in_half: float


def vpd(tensors: Tensors, where: Where, device: torch.device) -> Mapping[str, tuple[Tensor, Tensor]]:
    """Latents and logits of referring segmentation, from the image."""
    backbone, head = open_vpd(read_tensors(VPD), device)
    for network in (backbone.vae, *(variant.unet for variant in backbone.variants.values())):
        where(network)
    backbone.__dict__.pop("description", None)
    half = tensors["image_half"].numpy()
    pixels = to_pixel_values(half.repeat(2, axis=0).repeat(2, axis=1))
    engine = DirectEngine(backbone)
    (latents,) = complete(engine.encode([pixels]))
    (logits,) = complete(referring_logits(engine, pixels, head, [tensors["text_features"][0].to(device)]))
    every = logits.shape[-1] // tensors["logits_full"].shape[-1]
    return {
        "latents": (latents[None], tensors["latents"]),
        "logits": (logits[None, :, ::every, ::every], tensors["logits_full"]),
    }


def open_vpd(stored: Tensors, device: torch.device | str = "cpu") -> tuple[StableDiffusion, ReferringHead]:
    """A small backbone and VPD's referring head over it, both random. stored: by the original's keys, float16."""
    tensors = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in stored.items()}
    parts = split_original(tensors, "referring", VPD)
    backbone = vpd_backbone(parts, VPD.stem, attention_heads=4, unet_groups=8, vae_groups=8)
    for network in (backbone.vae, backbone.variants[""].unet):
        network.to(device)
    backbone.__dict__.pop("description", None)
    variant = build_variant(backbone, parts.unet, source=VPD, revision=VPD.stem)
    backbone.add_variant("referring", variant)
    head = build_published_head(backbone, "referring", parts.head, VPD, variant="referring", size=256)
    assert isinstance(head, ReferringHead)
    return backbone, head


def vpd_backbone(
    parts: OriginalParts,
    name: str,
    *,
    attention_heads: int,
    unet_groups: int,
    vae_groups: int,
    lent: tuple[str, ...] = (),
) -> StableDiffusion:
    """The U-Net and VAE of an original's checkpoint as a backbone.

    These cases have no text encoder. attention_heads, unet_groups, vae_groups: sizes that shapes do not determine.
    lent: prefixes of the U-Net's keys that the checkpoint lacks.
    """
    unrecorded = ldm_config.Unrecorded(attention_heads=attention_heads, norm_groups=unet_groups)
    config = ldm_config.unet_config(parts.unet, unrecorded, name, sample_size=64)
    network: Any = stock_networks.build_unet(config)
    zeros = {
        key: torch.zeros(tensor.shape) for key, tensor in network.state_dict().items() if lent and key.startswith(lent)
    }
    fill(network, {**zeros, **ldm.convert_unet(parts.unet, config)}, name, torch.float32)

    own_groups = ldm_config.Unrecorded(norm_groups=vae_groups, scaling_factor=1.0)
    vae_config = ldm_config.vae_config(parts.vae, own_groups, name)
    encoder: Any = stock_networks.build_vae(vae_config)
    decoder = {
        key: torch.zeros(tensor.shape) for key, tensor in encoder.state_dict().items() if key.startswith("decoder.")
    }
    fill(encoder, {**decoder, **ldm.convert_vae(parts.vae, vae_config)}, name, torch.float32)

    text = nn.Identity()
    text.config = SimpleNamespace(max_position_embeddings=77)  # type: ignore[assignment]
    return StableDiffusion(
        name=name,
        vae=encoder,
        text_encoder=text,
        tokenizer=SimpleNamespace(model_max_length=77),
        variants={"": Variant(network, "epsilon", name)},
        alphas_cumprod=linear_alphas_cumprod(),
    )


def dit(tensors: Tensors, where: Where, device: torch.device) -> Mapping[str, tuple[Tensor, Tensor]]:
    """The output of a class over eight timesteps."""
    weights = _under(tensors, "weights.")
    model = DiffusionTransformer(
        name="dit", transformer=where(transformer_from(weights, HEADS, heads=4, dtype=torch.float32)), vae=None,
        revision="dit",
    )  # fmt: skip
    latents, table = tensors["latent"][0], linear_alphas_cumprod()
    rows = [
        UNetRow(add_noise(latents, noise, table, step), step, None, Capture(output=True), class_label=DIT_CLASS)
        for noise, step in zip(tensors["noise"], DIT_TIMESTEPS, strict=True)
    ]
    captures = complete(DirectEngine(model).unet(rows))
    output = torch.stack([row.output for row in captures if row.output is not None])
    return {"output": (output, tensors[f"model_output.{DIT_CLASS}"])}


@torch.no_grad()
def sdpose(tensors: Tensors, where: Where, device: torch.device) -> Mapping[str, tuple[Tensor, Tensor]]:
    """Scores of 133 points from the U-Net's feature, and the points of heads whose peak is clear."""
    weights = _under(tensors, "weights.")
    head = HeatmapHead(16, 133)
    head.load_state_dict(weights)
    maps = where(head)(where(tensors["mode.feature"])).float()
    _, scores = codec.decode(maps, (96, 128))
    return {"scores": (torch.from_numpy(scores), tensors["mode.scores"])}


@torch.no_grad()
def diffews(tensors: Tensors, where: Where, device: torch.device) -> Mapping[str, tuple[Tensor, Tensor]]:
    """The mask of a query from the U-Net's output."""
    weights = _under(tensors, "weights.")
    vae: Any = AutoencoderKL(**DECODER)  # type: ignore[no-untyped-call]
    vae.load_state_dict(weights, strict=False)
    decoded = where(vae).decode(where(tensors["x0_latents"][:1]) / SCALE, return_dict=False)[0]
    mask = cut(levels(decoded)[0].cpu(), PUBLISHED)
    return {"mask": (mask.to(torch.uint8)[None], tensors["mask"])}


@torch.no_grad()
def feature_pooling(tensors: Tensors, where: Where, device: torch.device) -> Mapping[str, tuple[Tensor, Tensor]]:
    """Logits of the attention head from a feature map; heads of classifiers stay in float32."""
    head = AttentionFusion(
        (24,), {24: 32}, {24: 4}, num_classes=10, timesteps=1, pre_pool_size=2, norm_type="batch", ignore_unknown=True,
        fusion_arc="Use_CLS_Token:True:32,Insert_CLS_Token,Attention:32:4:2:1,Extract_CLS_Token",
    )  # fmt: skip
    load_weights(head, _under(tensors, "weights."), HEADS)
    logits = head.eval().to(device)(tensors["feature.t150.b24"].to(device))
    return {"logits": (logits, tensors["logits"])}


ORIGINALS = (
    Original("vpd", vpd, 1e-3, 0.15),
    Original("dit", dit, 1e-4, 0.05),
    Original("sdpose", sdpose, 1e-3, 0.05),
    Original("diffews", diffews, 2e-3, 0.05),
    Original("feature-pooling", feature_pooling, 1e-4, 0.01),
)


def check_originals(device: torch.device, kind: torch.dtype, *, rounded: bool = False) -> Iterator[Finding]:
    """Compare each system's recorded answer with ours. rounded: whether float32 is rounded to TF32."""
    try:
        stored = read_tensors(HEADS)
    except DiffsightError as error:
        yield Finding("originals", "problem", str(error), "install the package again: its own files are damaged")
        return
    for original in ORIGINALS:
        check = f"original of {original.name}"
        try:
            answers = original.answers(_under(stored, f"{original.name}/"), partial(_move, device, kind), device)
            errors = {name: relative_error(actual, expected) for name, (actual, expected) in answers.items()}
        except Exception as error:  # any error here would also occur in a request
            yield Finding(check, "problem", f"failed: {error}", "try --dtype float32, and --device cpu")
            continue
        tolerance = original.in_full if kind == torch.float32 and not rounded else original.in_half
        worst = max(errors, key=lambda name: errors[name])
        yield judge(check, errors[worst], f"of the {worst}", tolerance=tolerance)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """The norm of the difference of two tensors of any one shape by that of the second; of masks, the share of pixels
    that differ. Infinite for other shapes and for NaN.
    """
    if actual.shape != expected.shape:
        return float("inf")
    if expected.dtype == torch.uint8:
        return float((actual.cpu() != expected).double().mean())
    ours, theirs = actual.detach().cpu().double(), expected.double()
    error = float((ours - theirs).norm() / theirs.norm())
    return error if error == error else float("inf")


def _move(device: torch.device, kind: torch.dtype, moved: Any) -> Any:
    # diffusers' own `to` warns of layers that networks from its hub keep in float32; these have none.
    return nn.Module.to(moved, device, kind) if isinstance(moved, nn.Module) else moved.to(device, kind)


def _under(tensors: Tensors, prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
