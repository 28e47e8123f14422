"""The text encoder and the U-Net of `pocket`, trained together as one conditional denoiser."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.contradictions import contradiction
from training.examples import NO_LABEL, Batch, Labels, TrainingExamples, draw_batch
from training.loop import Draw
from training.recipe import Emphasis
from training.stock import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, DDIMScheduler, UNet2DConditionModel
from training.world.mannequin import KEYPOINTS
from training.world.vocabulary import SEMANTIC_NAMES


class Denoiser(nn.Module):
    """A text encoder and the U-Net that reads it; both are optimised and averaged together."""

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

    def velocity(self, latents: Tensor, timesteps: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """The velocity v = sqrt(abar) noise - sqrt(1 - abar) clean seen in scaled, noised latents.

        latents: (B, C, h, w). timesteps: (B,) int64. encoder_hidden_states: (B, T, D).
        Returns (B, C, h, w).
        """
        velocity: Tensor = self.unet(latents, timesteps, encoder_hidden_states).sample
        return velocity


def build_denoiser(
    tokenizer: CLIPTokenizer,
    *,
    text_width: int,
    text_layers: int,
    widths: Sequence[int],
    latent_size: int,
    latent_channels: int,
) -> Denoiser:
    """A fresh text encoder and U-Net with the blocks of SD 1.x: four levels, attention in the two middle ones."""
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
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=tuple(widths),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=text_width,
        attention_head_dim=4,
        norm_num_groups=min(16, *widths),
    )
    return Denoiser(text_encoder, unet)


def build_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule, 1000 steps with betas evenly spaced in their roots, and SD 2's v-prediction.

    A small network learns images much sooner from their velocity: at high noise, an error of a hundredth in the noise
    prediction hides the whole image.

    Source: Progressive Distillation (arXiv:2202.00512), section 4 and appendix D.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


class Supervision(nn.Module):
    """Predicts exact labels from the U-Net's last two levels. It shapes the features in training and is then dropped.

    Source of the idea that a denoiser learns faster if its features are supervised: REPA (arXiv:2410.06940).
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self._levels = [unet.up_blocks[-2], unet.up_blocks[-1]]
        widths = list(unet.config.block_out_channels)
        self.classify = nn.Conv2d(widths[0] + widths[1], len(SEMANTIC_NAMES) + 1 + len(KEYPOINTS), 1)
        self._seen: list[Tensor] = []
        for level in self._levels:
            level.register_forward_hook(lambda module, inputs, output: self._seen.append(output))

    def losses(self, labels: Labels, weights: Tensor) -> dict[str, Tensor]:
        """Errors of the labels that are predicted from the first rows of the last pass: cross-entropy, log depth,
        heatmaps.

        weights: (B,), weight of each row: labels cannot be read from rows with much noise.
        """
        rows = len(weights)
        features = torch.cat([seen[:rows].float() for seen in self._seen], dim=1)
        self._seen.clear()
        semantic, depth, heatmaps = self.classify(features).split([len(SEMANTIC_NAMES), 1, len(KEYPOINTS)], dim=1)
        has_depth = labels.depth > 0
        world = (labels.semantic != NO_LABEL).any(dim=(1, 2)).float() * weights
        most = world.sum().clamp(min=1e-6)
        entropy = functional.cross_entropy(semantic, labels.semantic.long(), ignore_index=NO_LABEL, reduction="none")
        off = (depth[:, 0] - labels.depth.clamp(min=1e-3).log()).abs() * has_depth
        points = functional.binary_cross_entropy_with_logits(heatmaps, labels.heatmaps.float() / 255, reduction="none")
        return {
            "semantic": (entropy.mean(dim=(1, 2)) * world).sum() / most,
            "depth": (off.mean(dim=(1, 2)) * world).sum() / most,
            "heatmaps": (points.mean(dim=(1, 2, 3)) * world).sum() / most,
        }


class Learner(nn.Module):
    """The optimised modules: the denoiser, and the supervision that is dropped afterwards."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.supervision = Supervision(denoiser.unet)


def denoiser_losses(
    learner: Learner,
    tokenizer: CLIPTokenizer,
    scheduler: DDIMScheduler,
    sets: Sequence[TrainingExamples],
    *,
    batch: int,
    scaling_factor: float,
    early: Emphasis,
    late: Emphasis,
    late_from: int,
    empty_prompts: float,
    contradiction_weight: float,
    supervision: float,
    half: bool,
) -> Callable[[Draw], dict[str, Tensor]]:
    """A function that draws one step's rows and returns their loss, the sum of three terms.

    1. The squared error of the velocity; things have three times the weight of background. Timesteps are stratified:
       one from each of `batch` equal parts of the schedule. A share `empty_prompts` of the sentences is replaced by "".
    2. `contradiction_weight` times: a share of the rows again, under a false sentence. Its error must exceed the true
       one's by a twentieth. Both errors get the gradient: else a network that reads nothing would raise both.
    3. `supervision` times the errors of labels predicted from the features.
    Source: DDPM (arXiv:2006.11239), algorithm 1; classifier-free guidance (arXiv:2207.12598), algorithm 1.
    """
    steps = int(scheduler.config.num_train_timesteps)
    denoiser = learner.denoiser

    def losses(draw: Draw) -> dict[str, Tensor]:
        emphasis = late if draw.step >= late_from else early
        rows = draw_batch(sets, emphasis.shares, draw, batch)
        shown, false = _draw_sentences(rows, draw, emphasis, empty_prompts)
        clean = rows.latents * scaling_factor
        timesteps = _stratified_timesteps(batch, steps, draw)
        noise = torch.randn(clean.shape, generator=draw.torch)
        noised = scheduler.add_noise(clean, noise, timesteps)
        again = torch.tensor(list(false), dtype=torch.long)
        contexts = _contexts_of(denoiser, tokenizer, [*shown, *false.values()])
        every = torch.cat([torch.arange(batch), again])
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            velocity = denoiser.velocity(noised[every], timesteps[every], contexts)
        sought = scheduler.get_velocity(clean, noise, timesteps)[every]
        squared = (velocity.float() - sought).square().mean(dim=1)
        weights = _thing_weights(rows.labels)
        errors = (squared[:batch] * weights).mean(dim=(1, 2))
        terms = {"denoising": errors.mean(), "squared": squared[:batch].mean()}
        if len(again):
            wrong = (squared[batch:] * weights[again]).mean(dim=(1, 2))
            lead = (wrong - errors[again]) / errors[again].detach()
            terms["contradicted"] = functional.softplus(_SHARPNESS * (_MARGIN - lead)).mean() / _SHARPNESS
        label_losses = learner.supervision.losses(rows.labels, scheduler.alphas_cumprod[timesteps])
        loss = (
            terms["denoising"]
            + contradiction_weight * terms.get("contradicted", 0.0)
            + supervision * sum(label_losses.values())
        )
        return {"loss": loss, **terms, **label_losses}

    return losses


_MARGIN, _SHARPNESS = 0.05, 40.0


def _stratified_timesteps(count: int, steps: int, draw: Draw) -> Tensor:
    """(B,) int64 in random order: one from each of `count` equal parts of the schedule."""
    timesteps = ((torch.arange(count) + torch.rand(count, generator=draw.torch)) * (steps / count)).long()
    return timesteps.clamp_(max=steps - 1)[torch.randperm(count, generator=draw.torch)]


def _contexts_of(denoiser: Denoiser, tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """The context of each text, (B, T, D); equal texts are encoded once."""
    different = sorted(set(texts))
    return denoiser.contexts(tokenizer, different)[[different.index(text) for text in texts]]


def _draw_sentences(
    rows: Batch, draw: Draw, emphasis: Emphasis, empty_prompts: float
) -> tuple[list[str], dict[int, str]]:
    """A true sentence for each row, of which a share is replaced by "", and false sentences by the row that they
    contradict.
    """
    true = [captions[int(draw.numpy.integers(len(captions)))] for captions in rows.captions]
    most = round(len(true) * emphasis.contradicted)
    false = _false_sentences(true, rows, draw, most, emphasis.relation_weight)
    shown = [
        "" if place not in false and draw.numpy.random() < empty_prompts else text for place, text in enumerate(true)
    ]
    return shown, false


def _thing_weights(labels: Labels) -> Tensor:
    """(B, h, w): 1 on average, three times as large on things as on floor and walls."""
    things = (labels.semantic > 1) & (labels.semantic != NO_LABEL)
    weights = 1.0 + 2.0 * things.float()
    return weights / weights.mean(dim=(1, 2), keepdim=True)


def _false_sentences(true: Sequence[str], rows: Batch, draw: Draw, most: int, relation_weight: int) -> dict[int, str]:
    """At most `most` false sentences, by the row whose true sentence they contradict."""
    false: dict[int, str] = {}
    for place in draw.numpy.permutation(len(true)).tolist():
        if len(false) == most:
            break
        false_sentence = contradiction(true[place], rows.captions[place], draw.numpy, relation_weight)
        if false_sentence is not None:
            false[place] = false_sentence
    return false
