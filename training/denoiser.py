"""The pocket's text encoder and U-Net, learned together as one conditional denoiser."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.datasets.captioned import CaptionedImages
from training.latents import LatentViews
from training.loop import Draw
from training.stock import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, DDIMScheduler, UNet2DConditionModel


class Denoiser(nn.Module):
    """A text encoder and the U-Net that reads it: what is optimised and averaged as one."""

    def __init__(self, text_encoder: CLIPTextModel, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.unet = unet

    def contexts(self, tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
        """The last hidden state of each text, padded to the tokenizer's length: (B, T, D) float32.

        No attention mask is given, as in Stable Diffusion: the U-Net attends to padding too.
        """
        tokens = tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")
        states: Tensor = self.text_encoder(tokens.input_ids).last_hidden_state
        return states

    def noise_pred(self, latents: Tensor, timesteps: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """The noise seen in scaled, noised latents.

        latents: (B, 4, h, w). timesteps: (B,) int64. encoder_hidden_states: (B, T, D).
        Returns (B, 4, h, w).
        """
        noise: Tensor = self.unet(latents, timesteps, encoder_hidden_states).sample
        return noise


def build_denoiser(
    tokenizer: CLIPTokenizer, *, text_width: int, text_layers: int, widths: Sequence[int], latent_size: int
) -> Denoiser:
    """A fresh text encoder and U-Net with the blocks of SD 1.x: three levels with attention, one without."""
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=text_width,
            intermediate_size=2 * text_width,
            projection_dim=text_width,
            num_hidden_layers=text_layers,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=latent_size,
        in_channels=4,
        out_channels=4,
        block_out_channels=tuple(widths),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        layers_per_block=2,
        cross_attention_dim=text_width,
        attention_head_dim=4,
        norm_num_groups=min(16, *widths),
    )
    return Denoiser(text_encoder, unet)


def build_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule: 1000 steps, betas evenly spaced in their roots, epsilon prediction."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="epsilon",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def denoiser_losses(
    denoiser: Denoiser,
    tokenizer: CLIPTokenizer,
    scheduler: DDIMScheduler,
    images: CaptionedImages,
    latents: LatentViews,
    *,
    batch: int,
    scaling_factor: float,
    empty_prompts: float,
) -> Callable[[Draw], dict[str, Tensor]]:
    """A function that draws images, views, captions, timesteps and noise, and gives the mean squared noise error.

    Timesteps are stratified: one from each of `batch` equal parts of the schedule. A share `empty_prompts` of the
    captions is replaced by "", which trains the unconditional branch.
    Source: DDPM (arXiv:2006.11239), equation 14; classifier-free guidance (arXiv:2207.12598), algorithm 1.
    """
    steps = int(scheduler.config.num_train_timesteps)
    views = latents.mean.shape[1]

    def losses(draw: Draw) -> dict[str, Tensor]:
        chosen = draw.numpy.integers(len(images), size=batch)
        view = torch.from_numpy(draw.numpy.integers(views, size=batch))
        texts = [_drawn_caption(images, int(index), draw, empty_prompts) for index in chosen]
        index = torch.from_numpy(chosen)
        spread = latents.spread[index, view]
        clean = latents.mean[index, view] + spread * torch.randn(spread.shape, generator=draw.torch)
        clean = clean * scaling_factor
        timesteps = ((torch.arange(batch) + torch.rand(batch, generator=draw.torch)) * (steps / batch)).long()
        timesteps.clamp_(max=steps - 1)
        noise = torch.randn(clean.shape, generator=draw.torch)
        noised = scheduler.add_noise(clean, noise, timesteps)
        different = sorted(set(texts))
        contexts = denoiser.contexts(tokenizer, different)[[different.index(text) for text in texts]]
        return {"loss": functional.mse_loss(denoiser.noise_pred(noised, timesteps, contexts), noise)}

    return losses


def _drawn_caption(images: CaptionedImages, index: int, draw: Draw, empty_prompts: float) -> str:
    captions = images.captions(index)
    caption = captions[int(draw.numpy.integers(len(captions)))]
    return "" if draw.numpy.random() < empty_prompts else caption
