"""Stable Diffusion as a perception backbone: stock diffusers and transformers parts, kept frozen on one device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from backbones.activation_memory import activation_bytes
from backbones.backbone import Description, PredictionType
from backbones.captures import forward_rows
from backbones.errors import InvalidInput, ModelNotFound
from backbones.frozen import frozen, to_batch
from backbones.noise_schedule import noise_from_velocity
from backbones.rows import Captures, HiddenStates, UNetRow
from backbones.sub_blocks import sub_block_names


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """One U-Net's weights: the backbone's own, or a fine-tuned one over the same VAE and text encoder.

    input_convolutions: further `conv_in` layers by the name that rows use.
    """

    unet: nn.Module
    prediction_type: PredictionType
    revision: str
    input_convolutions: Mapping[str, nn.Conv2d] = field(default_factory=dict)


class StableDiffusion:
    """The three frozen parts and any number of U-Net variants over them. Reads no files: `backbones/loading/` does."""

    def __init__(
        self,
        *,
        name: str,
        vae: nn.Module,
        text_encoder: nn.Module,
        tokenizer: Any,
        variants: Mapping[str, Variant],
        alphas_cumprod: Tensor,
    ) -> None:
        self.name = name
        self.vae: Any = vae.eval().requires_grad_(False)
        self.text_encoder: Any = text_encoder.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        # Padding and truncation are state of the tokenizer, which several threads use.
        self._tokenizing = Lock()
        self.variants: dict[str, Variant] = {}
        self.alphas_cumprod = alphas_cumprod
        for variant_name, variant in variants.items():
            self.add_variant(variant_name, variant)

    def add_variant(self, name: str, variant: Variant) -> None:
        """Make another U-Net available to rows. Tensors that equal the backbone's own are shared."""
        variant.unet.eval().requires_grad_(False)
        use_fast_layout(variant.unet)
        if name and "" in self.variants:
            share_equal_parameters(self.variants[""].unet, variant.unet)
        # A new mapping: the device's thread may be reading the old one.
        self._set_variants({**self.variants, name: variant})

    def remove_variant(self, name: str) -> None:
        """Remove a fine-tuned U-Net; no row may run on it any more. Shared tensors stay."""
        self._set_variants({other: variant for other, variant in self.variants.items() if other != name})

    def _set_variants(self, variants: dict[str, Variant]) -> None:
        self.variants = variants
        self.__dict__.pop("description", None)
        self.__dict__.pop("_module_names", None)

    @cached_property
    def description(self) -> Description:
        own = self.variants[""]
        unet: Any = own.unet
        downscale = 2 ** (len(self.vae.config.block_out_channels) - 1)
        return Description(
            name=self.name,
            revision=own.revision,
            image_size=unet.config.sample_size * downscale,
            latent_channels=self.vae.config.latent_channels,
            downscale=downscale,
            scaling_factor=self.vae.config.scaling_factor,
            prediction_type=own.prediction_type,
            alphas_cumprod=self.alphas_cumprod,
            max_tokens=min(self.tokenizer.model_max_length, self.text_encoder.config.max_position_embeddings),
            num_class_labels=unet.config.num_class_embeds or 0,
            variants=tuple(name for name in self.variants if name),
            dtype=unet.dtype,
            device=unet.device,
            sub_blocks=sub_block_names(unet),
            self_attentions=tuple(name for name, module in unet.named_modules() if _is_self_attention(module)),
            activation_bytes=activation_bytes(unet, self.vae, unet.dtype),
            variant_revisions={name: variant.revision for name, variant in self.variants.items()},
        )

    def tokenize(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Token ids of each text with start and end, neither padded nor cut."""
        with self._tokenizing:
            return [tuple(ids) for ids in self.tokenizer(list(texts)).input_ids]

    def check(self, row: UNetRow) -> None:
        """Raises InvalidInput for a row that this network cannot run, ModelNotFound for an unknown variant."""
        if row.variant not in self.variants:
            names = ", ".join(self.description.variants) or "none"
            raise ModelNotFound(f"the backbone {self.name!r} has no variant {row.variant!r}", hint=f"it has: {names}")
        variant = self.variants[row.variant]
        if row.input_convolution and row.input_convolution not in variant.input_convolutions:
            raise InvalidInput("input_convolution", f"{row.input_convolution!r} is not one of the variant's")
        if not 0 <= row.timestep < len(self.alphas_cumprod):
            raise InvalidInput("timestep", f"{row.timestep} is outside 0..{len(self.alphas_cumprod) - 1}")
        labels = self.description.num_class_labels
        if (row.class_label is None) != (labels == 0):
            raise InvalidInput("class_label", "goes with networks that have a class embedding, only and always")
        if row.class_label is not None and not 0 <= row.class_label < labels:
            raise InvalidInput("class_label", f"{row.class_label} is outside 0..{labels - 1}")
        check_names(row, self._module_names[row.variant])
        _check_shapes(row, variant)
        _check_attention(row, variant.unet)

    @frozen
    def encode(self, pixel_values: Sequence[Tensor]) -> list[Tensor]:
        """Mean of the VAE's posterior, unscaled and not sampled, so that every task can cache it.

        pixel_values: (3, H, W) float in [-1, 1], all of one size, a multiple of the downscale factor.
        Returns (C, H/8, W/8) each.
        """
        return list(self.vae.encode(self._batch(pixel_values)).latent_dist.mean.unbind())

    @frozen
    def decode(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """Images from unscaled latents: (C, h, w), all of one size -> (3, 8h, 8w), about [-1, 1]."""
        return list(self.vae.decode(self._batch(latents), return_dict=False)[0].unbind())

    def prompt_ids(self, texts: Sequence[str]) -> Tensor:
        """Token ids as the text encoder gets them: (len(texts), max_tokens) int64, padded with the folder's pad token.

        Longer prompts are cut, their end token kept.
        """
        padding = {"padding": "max_length", "max_length": self.description.max_tokens, "truncation": True}
        with self._tokenizing:
            ids: Tensor = self.tokenizer(list(texts), return_tensors="pt", **padding).input_ids
        return ids

    @frozen
    def embed(self, texts: Sequence[str]) -> list[Tensor]:
        """Last hidden state of the text encoder, after its final norm, (max_tokens, D) each.

        No attention mask is passed, so the U-Net attends to the padding too, as it was trained to.
        """
        return list(self.text_encoder(self.prompt_ids(texts).to(self.text_encoder.device))[0].unbind())

    @frozen
    def forward(self, rows: Sequence[UNetRow]) -> list[Captures]:
        """The captures of each row, from one U-Net pass over rows of one variant and one latent height and width.

        They may differ in timestep, context, context length, label, input convolution, bank, and in what they capture.
        """
        variant = self.variants[rows[0].variant]
        captured = forward_rows(variant.unet, rows, variant.input_convolutions)
        return with_noise_pred(rows, captured, variant.prediction_type, self.alphas_cumprod)

    def _batch(self, tensors: Sequence[Tensor]) -> Tensor:
        return to_batch(tensors, self.vae.device, self.vae.dtype)

    @cached_property
    def _module_names(self) -> dict[str, frozenset[str]]:
        return {name: module_names(variant.unet) for name, variant in self.variants.items()}


def with_noise_pred(
    rows: Sequence[UNetRow], captured: Sequence[Captures], prediction_type: PredictionType, alphas_cumprod: Tensor
) -> list[Captures]:
    """`captured` with the predicted noise of the rows that capture it, and without outputs that a row does not capture.

    captured: of each row; its `output` (C, h, w) is read. alphas_cumprod: (steps,).
    """
    capturing = [index for index, row in enumerate(rows) if row.capture.noise_pred]
    noise = {index: captured[index].output for index in capturing}
    if capturing and prediction_type == "v_prediction":
        velocity = torch.stack([tensor for tensor in noise.values() if tensor is not None])
        noised = torch.stack([rows[index].latents.to(velocity.device) for index in capturing])
        timesteps = torch.tensor([rows[index].timestep for index in capturing])
        noise = dict(
            zip(capturing, noise_from_velocity(velocity, noised, alphas_cumprod, timesteps).unbind(), strict=True)
        )
    return [
        replace(captures, noise_pred=noise.get(index), output=captures.output if row.capture.output else None)
        for index, (row, captures) in enumerate(zip(rows, captured, strict=True))
    ]


def module_names(unet: nn.Module) -> frozenset[str]:
    """Modules of a U-Net that rows may name: all except itself and lists of modules, which never run."""
    return frozenset(name for name, module in unet.named_modules() if name and not isinstance(module, nn.ModuleList))


def check_names(row: UNetRow, modules: frozenset[str]) -> None:
    """Raises InvalidInput if a row names a module that its network does not have."""
    capture = row.capture
    for field_name, names in (
        ("features", capture.features),
        ("attention_maps", capture.attention_maps),
        ("keys_values", capture.keys_values),
        ("bank", tuple(row.bank or ())),
    ):
        unknown = [name for name in names if name not in modules]
        if unknown:
            raise InvalidInput(
                field_name,
                f"the U-Net has no module {unknown[0]!r}",
                hint="use diffusers names such as 'mid_block' or 'up_blocks.1.attentions.1'",
            )


def _check_shapes(row: UNetRow, variant: Variant) -> None:
    """Raises InvalidInput if the row's latents or context do not fit, which would fail its whole batch."""
    unet: Any = variant.unet
    entry = variant.input_convolutions[row.input_convolution] if row.input_convolution else unet.conv_in
    if row.latents.ndim != 3 or len(row.latents) != entry.in_channels:
        raise InvalidInput("latents", f"{tuple(row.latents.shape)} where ({entry.in_channels}, h, w) belongs")
    context, width = row.encoder_hidden_states, unet.config.cross_attention_dim
    if context is None or context.ndim != 2 or len(context) == 0 or context.shape[1] != width:
        shape = None if context is None else tuple(context.shape)
        raise InvalidInput("encoder_hidden_states", f"{shape} where (T, {width}) belongs, T at least 1")
    if row.capture.noise_pred and row.input_convolution and variant.prediction_type == "v_prediction":
        raise InvalidInput("noise_pred", "v cannot be converted to noise unless the noised latents are the only input")


def _check_attention(row: UNetRow, unet: nn.Module) -> None:
    """Raises InvalidInput if an attention layer of the other kind is named, or a bank does not fit its layer."""
    capture = row.capture
    for field_name, names, crosses in (
        ("attention_maps", capture.attention_maps, True),
        ("keys_values", capture.keys_values, False),
        ("bank", tuple(row.bank or ()), False),
    ):
        for name in names:
            if getattr(unet.get_submodule(name), "is_cross_attention", None) is not crosses:
                kind, ending = ("cross", "attn2") if crosses else ("self", "attn1")
                raise InvalidInput(
                    field_name, f"{name!r} is no {kind}-attention layer", hint=f"use names that end in '{ending}'"
                )
    for name, entry in (row.bank or {}).items():
        layer: Any = unet.get_submodule(name)
        if isinstance(entry, HiddenStates):
            tensors, width = [entry.states], layer.to_k.in_features
        else:
            tensors, width = [entry.keys, entry.values], layer.to_k.out_features
        if any(tensor.ndim != 2 or tensor.shape != tensors[0].shape or tensor.shape[1] != width for tensor in tensors):
            shapes = " and ".join(str(tuple(tensor.shape)) for tensor in tensors)
            raise InvalidInput("bank", f"the entry of {name!r} has {shapes} where (L, {width}) belongs")


def _is_self_attention(module: nn.Module) -> bool:
    return getattr(module, "is_cross_attention", None) is False


def unet_layout(dtype: torch.dtype, device: torch.device | str) -> torch.memory_format:
    """How a U-Net's convolution weights lie in memory: channels last in float32 on the CPU.

    The CPU's convolutions then need no copy of their inputs and outputs in another layout: a batch takes a sixth less
    time. The VAE is not changed: its group norms over whole images round too coarsely in this layout.
    """
    on_cpu = torch.device(device).type == "cpu"
    return torch.channels_last if on_cpu and dtype == torch.float32 else torch.contiguous_format


def use_fast_layout(unet: nn.Module) -> None:
    """Lay the weights of a U-Net out by `unet_layout`, in place. Those that were read in that layout stay."""
    weight = next(unet.parameters())
    if unet_layout(weight.dtype, weight.device) is torch.channels_last:
        unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def share_equal_parameters(own: nn.Module, other: nn.Module) -> None:
    """Point the parameters of `other` that equal those of `own` at the same memory."""
    own_parameters = dict(own.named_parameters())
    for name, parameter in other.named_parameters():
        twin = own_parameters.get(name)
        if twin is None or (twin.dtype, twin.device) != (parameter.dtype, parameter.device):
            continue
        if twin.shape == parameter.shape and torch.equal(twin.data, parameter.data):
            parameter.data = twin.data
