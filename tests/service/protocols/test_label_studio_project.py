"""Which controls of a Label Studio project can be filled, by its configuration."""

from __future__ import annotations

import pytest

from backbones.errors import InvalidInput
from service.protocols.label_studio_project import read_controls

TWO = """<View>
  <Image name="picture" value="$photo"/><Image name="other" value="$second"/>
  <KeyPointLabels name="kp" toName="picture">
    <Label value="Nose" model_index="0"/><Label value="Eye" model_index="2"/>
  </KeyPointLabels>
  <RectangleLabels name="rest" toName="picture"><Label value="box"/></RectangleLabels>
  <RectangleLabels name="kp_bbox" toName="picture"><Label value="human"/></RectangleLabels>
  <BrushLabels name="brush" toName="other"><Label value="cup"/></BrushLabels>
</View>"""


def test_points_know_their_labels_their_boxes_and_their_image() -> None:
    (control,) = read_controls(TWO)  # only the first image is looked at
    assert (control.kind, control.name, control.image) == ("keypoints", "kp", "photo")
    assert (control.boxes, control.box_label) == ("kp_bbox", "human")
    assert [control.label_of("nose", place) for place in range(3)] == ["Nose", None, "Eye"]


def test_labels_without_an_index_go_by_name() -> None:
    config = (
        '<View><Image name="a" value="$b"/><BrushLabels name="c" toName="a"><Label value="cup"/></BrushLabels></View>'
    )
    (control,) = read_controls(config)
    assert (control.kind, control.label_of("cup", 5), control.label_of("dish", 0)) == ("masks", "cup", None)


@pytest.mark.parametrize(
    "config",
    [
        "",
        "<View>",
        "<View/>",
        '<View><Image name="a" value="$b"/><Choices name="c" toName="a"/></View>',
        '<View><BrushLabels name="c" toName="a"/></View>',
        '<View><Image name="a" value="$b"/><BrushLabels name="c" toName="a"/></View>',
        '<View><Image name="a" value="$b"/><Choices name="c" toName="a"><Choice value="one"/></Choices></View>',
        '<View><Image name="a" value="$b"/><Choices name="c" toName="a" perRegion="true"><Choice value="x"/>'
        '<Choice value="y"/></Choices></View>',
        '<!DOCTYPE x [<!ENTITY e "x">]><View/>',
    ],
)
def test_an_invalid_configuration_is_refused(config: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_controls(config)
    assert caught.value.field == "label_config"


def test_choices_and_labels_are_called_by_their_aliases() -> None:
    config = (
        '<View><Image name="a" value="$b"/><Choices name="c" toName="a">'
        '<Choice value="a round cup" alias="cup"/><Choice value="dish"/></Choices></View>'
    )
    (control,) = read_controls(config)
    assert (control.kind, dict(control.labels)) == ("choices", {"a round cup": "cup", "dish": "dish"})


def test_of_several_rectangle_labels_person_is_the_persons() -> None:
    (control,) = read_controls(TWO.replace('<Label value="human"/>', '<Label value="car"/><Label value="Person"/>'))
    assert control.box_label == "Person"
    (control,) = read_controls(TWO)
    assert control.box_label == "human"
