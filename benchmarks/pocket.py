"""The accuracy of the embedded backbone on scenes and digits that are held out from its training, compared with chance.

It measures the figures of the model card again: ten-way zero-shot accuracy on scenes with one thing ("a photo of a
..."), digits, left against right, and how well the VAE reconstructs images.
"""

from __future__ import annotations

from benchmarks._table import arguments, print_table, write_figures

# isort: split
from pathlib import Path

import torch

import backbones.errors
from training.datasets.digits import CLASS_PROMPTS
from training.evaluate import DIGITS, QUESTION_PROMPTS, load_held_out, reconstruction_psnr, relation_verdicts, zero_shot
from training.export import read_folder

POCKET = Path(backbones.errors.__file__).parent / "pocket"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--folder", type=Path, default=POCKET, help="another diffusers folder of the same kind")
    parser.add_argument("--timesteps", type=int, default=10, help="evenly spaced, for each zero-shot answer")
    parser.add_argument("--digits", type=int, default=DIGITS, help="how many of the 360 held-out digits")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    parts, data = read_folder(chosen.folder), load_held_out()
    scenes = [data.scenes.image(index) for index in range(len(data.scenes))]
    single, kinds = data.scenes.questions()
    (question,) = zero_shot(parts, [scenes[i] for i in single], kinds, QUESTION_PROMPTS, [chosen.timesteps])
    digits = [data.digits.image(index) for index in range(min(chosen.digits, len(data.digits)))]
    (digit,) = zero_shot(parts, digits, data.digits.labels[: len(digits)], CLASS_PROMPTS, [chosen.timesteps])
    relations = relation_verdicts(parts, data.scenes, chosen.timesteps)
    figures = {
        "zero_shot_10way_accuracy": question.accuracy,
        "digits_accuracy": digit.accuracy,
        "relations_accuracy": sum(relations) / len(relations),
        "vae_psnr_db": reconstruction_psnr(parts, scenes),
    }
    rows = [
        ["which of ten things", f"{question.accuracy:.3f}", "0.100", str(question.images)],
        ["which digit", f"{digit.accuracy:.3f}", "0.100", str(digit.images)],
        ["left of or right of", f"{figures['relations_accuracy']:.3f}", "0.500", str(len(relations))],
        ["VAE, PSNR in dB", f"{figures['vae_psnr_db']:.1f}", "", str(len(scenes))],
    ]
    print_table(f"{chosen.folder.name} on what it never saw", ["question", "right", "chance", "images"], rows)
    write_figures(chosen.json, figures, timesteps=chosen.timesteps)


if __name__ == "__main__":
    main()
