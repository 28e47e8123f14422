"""Detectors of others: small real networks of transformers, and ONNX files made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from transformers import (
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrImageProcessorPil,
    RTDetrResNetConfig,
)

from backbones.errors import CheckpointError, ModelNotFound
from heads.sdpose.detectors import open_detector

IMAGE: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def rt_detr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny RT-DETR with random weights, saved as on the hub."""
    torch.manual_seed(3)
    levels: dict[str, Any] = {"out_features": ["stage2", "stage3", "stage4"]}
    body = RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], layer_type="basic", **levels
    )
    config = RTDetrConfig(
        backbone_config=body, encoder_hidden_dim=16, encoder_in_channels=[8, 8, 8], feat_strides=[8, 16, 32],
        encoder_layers=1, encoder_ffn_dim=16, encoder_attention_heads=2, d_model=16, num_queries=10,
        decoder_in_channels=[16, 16, 16], decoder_ffn_dim=16, decoder_layers=1, decoder_attention_heads=2,
        num_feature_levels=3, decoder_n_points=2, id2label={0: "person", 1: "bicycle"},
        label2id={"person": 0, "bicycle": 1},
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("detectors") / "tiny-rtdetr"
    RTDetrForObjectDetection(config).save_pretrained(folder)
    RTDetrImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def test_a_model_of_transformers_finds_persons_in_the_images_pixels(rt_detr: Path) -> None:
    detector = open_detector(str(rt_detr))
    assert detector.name == "tiny-rtdetr"
    boxes, scores = detector.find(IMAGE, 0.0)
    network: Any = RTDetrForObjectDetection.from_pretrained(rt_detr)
    network.eval()
    processor = RTDetrImageProcessorPil.from_pretrained(rt_detr)
    with torch.no_grad():
        outputs = network(**processor(images=IMAGE, return_tensors="pt"))
    (expected,) = processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=[(60, 90)])
    persons = expected["labels"] == 0
    assert 0 < len(boxes) == int(persons.sum())
    corners = expected["boxes"][persons].numpy()
    np.testing.assert_allclose(boxes[:, :2] + boxes[:, 2:], corners[:, 2:], atol=1e-3)
    assert (np.diff(scores) <= 0).all()
    nobody, no_scores = detector.find(IMAGE, 1.0)
    assert nobody.shape == (0, 4)
    assert len(no_scores) == 0


def test_a_detector_without_persons_is_refused(rt_detr: Path, tmp_path: Path) -> None:
    for file in rt_detr.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["id2label"] = {"0": "cat", "1": "dog"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="detects no persons, but: cat, dog"):
        open_detector(str(tmp_path))


def test_an_invalid_detector_is_reported_with_what_to_give(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="can not be opened"):
        open_detector(str(tmp_path))
    with pytest.raises(ModelNotFound, match="no detector"):
        open_detector("nobody/nothing", offline=True)
    with pytest.raises(ModelNotFound, match="is not there"):
        open_detector(str(tmp_path / "none.onnx"))
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(CheckpointError, match="can not be opened"):
        open_detector(str(tmp_path / "bad.onnx"))


def write_onnx(file: Path, outputs: dict[str, NDArray[np.float32]], *, names: str = "", side: int = 120) -> Path:
    """A network that answers `outputs` whatever it sees: a sum over the image, times zero, plus the constant."""
    nodes, infos, constants = [], [], []
    nodes.append(helper.make_node("ReduceSum", ["images"], ["sum"], keepdims=0))
    constants.append(numpy_helper.from_array(np.zeros(1, np.float32), "zero"))
    nodes.append(helper.make_node("Mul", ["sum", "zero"], ["nothing"]))
    for name, value in outputs.items():
        constants.append(numpy_helper.from_array(value, f"{name}_value"))
        nodes.append(helper.make_node("Add", [f"{name}_value", "nothing"], [name]))
        infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape))
    entry = helper.make_tensor_value_info(
        "pixel_values" if "logits" in outputs else "images", TensorProto.FLOAT, (1, 3, side, side)
    )
    nodes[0].input[0] = entry.name
    graph = helper.make_graph(nodes, "detector", [entry], infos, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if names:
        helper.set_model_props(model, {"names": names})
    onnx.save(model, str(file))
    return file


def test_a_yolo_file_finds_persons_through_its_letterbox(tmp_path: Path) -> None:
    # Centre boxes in a 120 x 120 letterbox of a 90 x 60 image: scale 4/3, 20 grey pixels above. Two of one person.
    columns: list[list[float]] = [
        [60, 60, 60, 40, 0.9, 0.1],
        [61, 60, 60, 40, 0.8, 0.1],
        [30, 40, 20, 20, 0.2, 0.9],
        [20, 40, 16, 16, 0.6, 0],
    ]
    output = np.zeros((1, 6, 50), np.float32)
    output[0, :, : len(columns)] = np.array(columns, np.float32).T
    names = "{0: 'person', 1: 'dog'}"
    detector = open_detector(str(write_onnx(tmp_path / "yolo.onnx", {"output0": output}, names=names)))
    boxes, scores = detector.find(IMAGE, 0.5)
    assert not detector.on_device
    assert scores == pytest.approx([0.9, 0.6], abs=1e-6)
    np.testing.assert_allclose(boxes, np.array([[22.5, 15, 45, 30], [9, 9, 12, 12]]), atol=1e-4)


def test_an_end_to_end_yolo_file_is_read(tmp_path: Path) -> None:
    output = np.zeros((1, 20, 6), np.float32)
    output[0, :3] = [[40, 40, 80, 80, 0.7, 0], [0, 20, 12, 32, 0.9, 5], [0, 20, 24, 44, 0.8, 0]]
    detector = open_detector(str(write_onnx(tmp_path / "end.onnx", {"output0": output})))
    boxes, scores = detector.find(IMAGE, 0.5)
    assert scores == pytest.approx([0.8, 0.7], abs=1e-6)
    np.testing.assert_allclose(boxes, [[0, 0, 18, 18], [30, 15, 30, 30]], atol=1e-4)


def test_an_export_of_detrs_kind_needs_its_configs(rt_detr: Path, tmp_path: Path) -> None:
    logits = np.full((1, 4, 2), -9.0, np.float32)
    logits[0, 0, 0], logits[0, 1, 1] = 3.0, 4.0
    boxes = np.full((1, 4, 4), 0.5, np.float32)
    file = write_onnx(tmp_path / "model.onnx", {"logits": logits, "pred_boxes": boxes}, side=64)
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json"):
        open_detector(str(file))
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((rt_detr / name).read_bytes())
    person_boxes, scores = open_detector(str(file)).find(IMAGE, 0.5)
    np.testing.assert_allclose(person_boxes, [[22.5, 15, 45, 30]], atol=1e-4)
    assert scores == pytest.approx([1 / (1 + np.exp(-3.0))], abs=1e-6)


def test_other_outputs_are_refused(tmp_path: Path) -> None:
    outputs: dict[str, Any] = {"dets": np.zeros((1, 3, 5), np.float32), "labels": np.zeros((1, 3), np.float32)}
    with pytest.raises(CheckpointError, match="dets, labels"):
        open_detector(str(write_onnx(tmp_path / "other.onnx", outputs)))
