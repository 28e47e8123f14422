"""The training loop. A step depends only on its number, so a run may stop at any time and continue with the same
result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from training.averages import MovingAverage
from training.checkpoints import load_checkpoint, save_checkpoint
from training.curves import LossLog


@dataclass(frozen=True, slots=True)
class StageSettings:
    """How a network is optimised: AdamW, linear warm-up, then a constant rate, so that a run can be lengthened.

    A falling rate would need a known end; the moving average of the weights has the same effect.
    """

    steps: int
    batch: int
    learning_rate: float
    warm_up: int
    average_decay: float
    weight_decay: float = 0.01
    largest_gradient: float = 1.0


@dataclass(frozen=True, slots=True)
class Draw:
    """The random generators of one step; only the seed, the stage's name and the step's number determine them."""

    step: int
    numpy: np.random.Generator
    torch: torch.Generator


def draw_for(seed: int, stage: str, step: int) -> Draw:
    """Fresh generators for one step of one stage."""
    sequence = np.random.SeedSequence([seed, step, *stage.encode()])
    torch_seed = int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
    return Draw(step, np.random.default_rng(sequence), torch.Generator().manual_seed(torch_seed))


@dataclass(frozen=True, slots=True)
class TrainedStage:
    """Steps of a stage that are done, and the seconds they took in all runs, without steps that were repeated."""

    steps: int
    seconds: float


def fit(
    stage: str,
    module: nn.Module,
    losses: Callable[[Draw], Mapping[str, Tensor]],
    folder: Path,
    *,
    pace: StageSettings,
    seed: int,
    recipe: Mapping[str, Any],
    save_every: int = 200,
    stop_after: int | None = None,
) -> TrainedStage:
    """Trains `module` up to `pace.steps`, from the checkpoint in `folder` if there is one, and loads the average into
    it.

    losses: returns the terms of one step's loss by name; "loss" is minimised. recipe: every number that shapes the
    result. A checkpoint of another recipe is refused; more steps are allowed. stop_after: stop at this step, as a kill
    right after a checkpoint would, without loading the average; for tests.

    Raises ValueError if the checkpoint belongs to another recipe.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stage}.pt"
    described = {"stage": stage, "seed": seed, **recipe, **{k: v for k, v in asdict(pace).items() if k != "steps"}}
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=pace.learning_rate, betas=(0.9, 0.99), weight_decay=pace.weight_decay
    )
    average = MovingAverage(module, pace.average_decay)
    start, seconds = _resume(path, described, module, optimizer, average) if path.exists() else (0, 0.0)
    log = LossLog(folder / f"{stage}.csv", start)
    end = pace.steps if stop_after is None else min(pace.steps, stop_after)

    module.train()
    began = time.monotonic()
    bar = tqdm(range(start, end), initial=start, total=pace.steps, desc=stage, mininterval=5.0)
    for step in bar:
        terms = losses(draw_for(seed, stage, step))
        _optimise(module, optimizer, terms["loss"], pace, step)
        average.update(step)
        log.add(step, {name: float(term.detach()) for name, term in terms.items()})
        if (step + 1) % save_every == 0 or step + 1 == end:
            bar.set_postfix(loss=f"{log.mean_recent():.4f}")
            log.flush()
            spent = seconds + time.monotonic() - began
            save_checkpoint(
                path,
                {
                    "step": step + 1,
                    "seconds": spent,
                    "recipe": described,
                    "module": module.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "average": average.state(),
                },
            )
    module.eval()
    if end == pace.steps:
        average.copy_to_module()
    return TrainedStage(max(start, end), seconds + time.monotonic() - began if end > start else seconds)


def _resume(
    path: Path,
    described: Mapping[str, Any],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: MovingAverage,
) -> tuple[int, float]:
    """Load a checkpoint into all three. Returns the steps done and the seconds they took."""
    state = load_checkpoint(path)
    _check_recipe(path, state["recipe"], described)
    module.load_state_dict(state["module"])
    optimizer.load_state_dict(state["optimizer"])
    average.load(state["average"])
    return state["step"], state["seconds"]


def _optimise(
    module: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, pace: StageSettings, step: int
) -> None:
    """One optimiser step on a loss, a scalar."""
    for group in optimizer.param_groups:
        group["lr"] = pace.learning_rate * min(1.0, (step + 1) / pace.warm_up)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(module.parameters(), pace.largest_gradient)
    optimizer.step()


def load_average(path: Path, module: nn.Module) -> TrainedStage:
    """Loads a checkpoint's averaged weights into `module`, in eval mode; the run that writes it may continue meanwhile.

    Raises FileNotFoundError if the stage has no checkpoint.
    """
    state = load_checkpoint(path)
    module.load_state_dict(state["module"])
    average = MovingAverage(module, 0.0)
    average.load(state["average"])
    average.copy_to_module()
    module.eval()
    return TrainedStage(state["step"], state["seconds"])


def _check_recipe(path: Path, saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    changed = sorted(name for name in {*saved, *wanted} if saved.get(name) != wanted.get(name))
    if changed:
        values = ", ".join(f"{name} {saved.get(name)!r} -> {wanted.get(name)!r}" for name in changed)
        raise ValueError(f"{path} was begun with another recipe ({values}): use another run folder, or delete it")
