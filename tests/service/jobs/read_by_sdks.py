"""Run by the Python of another environment: what Label Studio's SDK and Datumaro read from our files, as JSON.

Argument: a folder with `predicted.json`, a list of [labelling configuration, prediction]; or with
`KIND-label-studio.json` and `KIND-cvat.xml` of pose, masks and choices.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

CONFIGS = {
    "pose": '<View><Image name="image" value="$image"/><RectangleLabels name="kp_bbox" toName="image">'
    '<Label value="person"/></RectangleLabels><KeyPointLabels name="kp" toName="image">{labels}</KeyPointLabels>'
    "</View>",
    "masks": '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">{labels}</BrushLabels>'
    "</View>",
    "choices": '<View><Image name="image" value="$image"/><Choices name="choice" toName="image">{choices}</Choices>'
    "</View>",
}


def label_studio(folder: Path) -> dict[str, Any]:
    """Errors of each prediction by each kind of project, the pixels of all brushes, and the converted COCO file."""
    import numpy as np
    from label_studio_sdk.converter import Converter
    from label_studio_sdk.converter.brush import decode_rle
    from label_studio_sdk.label_interface import LabelInterface

    facts: dict[str, Any] = {"errors": [], "brushes": []}
    for kind, text in CONFIGS.items():
        tasks = json.loads((folder / f"{kind}-label-studio.json").read_text())
        regions = [region for task in tasks for region in task["predictions"][0]["result"]]
        names = sorted(
            {name for region in regions for name in region["value"].get(region["type"], []) if name != "person"}
        )
        labels = "".join(f'<Label value={quoteattr(name)} model_index="{at}"/>' for at, name in enumerate(names))
        choices = "".join(f"<Choice value={quoteattr(name)}/>" for name in names)
        config = text.format(labels=labels, choices=choices)
        interface = LabelInterface(config)
        for task in tasks:
            facts["errors"] += interface.validate_prediction(task["predictions"][0], return_errors=True)
        if kind == "masks":
            for region in regions:
                size = region["original_height"], region["original_width"]
                pixels = np.asarray(decode_rle(region["value"]["rle"])).reshape(*size, 4)[..., 3]
                facts["brushes"].append([*size, int((pixels > 0).sum()), np.flatnonzero(pixels > 0)[:5].tolist()])
        if kind == "pose":
            # What is imported as a prediction and accepted is an annotation.
            accepted = [
                {
                    "id": at,
                    "data": task["data"],
                    "annotations": [{"id": at, "result": task["predictions"][0]["result"]}],
                }
                for at, task in enumerate(tasks)
            ]
            source, out = folder / "accepted.json", folder / "converted"
            source.write_text(json.dumps(accepted))
            Converter(config, project_dir=None, download_resources=False).convert_to_coco(
                str(source), str(out), output_image_dir=str(out / "images"), is_dir=False
            )
            facts["coco"] = json.loads((out / "result.json").read_text())
    return facts


def datumaro(folder: Path) -> dict[str, Any]:
    """What Datumaro reads of each CVAT file: for each image, the kinds, labels and numbers of annotations."""
    from datumaro import Dataset
    from PIL import Image

    facts: dict[str, Any] = {}
    for kind in CONFIGS:
        alone = folder / kind
        alone.mkdir()
        written = (folder / f"{kind}-cvat.xml").read_bytes()
        (alone / "annotations.xml").write_bytes(written)
        for image in ElementTree.fromstring(written).iter("image"):
            file = alone / "images" / image.attrib["name"]
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (int(image.attrib["width"]), int(image.attrib["height"]))).save(file)
        read = Dataset.import_from(str(alone), "cvat")
        labels = [label.name for label in read.categories()[next(iter(read.categories()))]]
        facts[kind] = {item.id: [describe(annotation, labels) for annotation in item.annotations] for item in read}
    return facts


def describe(annotation: Any, labels: list[str]) -> list[Any]:
    """Kind and label of an annotation, and the pixels of a mask or the numbers of points."""
    numbers = (
        int(annotation.image.sum())
        if annotation.type.name == "mask"
        else list(map(float, getattr(annotation, "points", [])))
    )
    return [annotation.type.name, labels[annotation.label] if annotation.label is not None else None, numbers]


def check_predictions(folder: Path) -> dict[str, Any]:
    """Errors of what the ML backend predicted."""
    from label_studio_sdk.label_interface import LabelInterface

    pairs = json.loads((folder / "predicted.json").read_text())
    return {
        "errors": [
            LabelInterface(config).validate_prediction(prediction, return_errors=True) for config, prediction in pairs
        ]
    }


if __name__ == "__main__":
    where = Path(sys.argv[1])
    if (where / "predicted.json").exists():
        (where / "read_back.json").write_text(json.dumps(check_predictions(where)))
        sys.exit()
    results = {"label_studio": label_studio(where), "datumaro": datumaro(where)}
    (where / "read_back.json").write_text(json.dumps(results))
