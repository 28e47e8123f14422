"""The MuJoCo model of a shard: a room with textured floor and walls, and the shard's things, hidden at first."""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

import numpy as np

from training.world import mannequin, shapes
from training.world.scene import FIELD_OF_VIEW, Shard, Thing
from training.world.textures import floor_texture, wall_texture
from training.world.vocabulary import FLOORS

WALLS = 3
AWAY = -60.0
"""Height in metres of hidden things: beyond the camera's view."""


def describe(shard: Shard, image_size: int) -> tuple[str, dict[str, bytes]]:
    """The model as MJCF, and its texture files."""
    draw = np.random.default_rng(shard.looks)
    files = {f"{kind}.png": floor_texture(kind, draw) for kind in FLOORS}
    files |= {f"wall{number}.png": wall_texture(draw) for number in range(WALLS)}
    textures = [_element("texture", name=name[:-4], type="2d", file=name) for name in files]
    surfaces = [
        _element("material", name=kind, texture=kind, texrepeat="2 2", texuniform="true", specular=0.1, shininess=0.2)
        for kind in FLOORS
    ]
    surfaces += [
        _element("material", name=f"wall{i}", texture=f"wall{i}", texrepeat="1 1", texuniform="true", specular=0.02)
        for i in range(WALLS)
    ]
    assets, bodies = [], []
    for slot, thing in enumerate(shard.things):
        made, body = _person(slot, thing) if thing.kind == "person" else _shape(slot, thing)
        assets += made
        bodies.append(body)
    room = [
        _element("geom", name="floor", type="plane", size="12 12 1", material=FLOORS[0]),
        _element(
            "geom", name="wall_back", type="plane", size="12 6 1", pos="0 4.5 3", euler="90 0 0", material="wall0"
        ),
        _element(
            "geom", name="wall_left", type="plane", size="6 12 1", pos="-5.5 0 3", euler="0 90 0", material="wall0"
        ),
        _element(
            "geom", name="wall_right", type="plane", size="6 12 1", pos="5.5 0 3", euler="0 -90 0", material="wall0"
        ),
        _element("light", name="sun", castshadow="true", cutoff=40, exponent=0, pos="0 0 6", dir="0 0 -1"),
    ]
    text = f"""<mujoco>
<compiler angle="degree" autolimits="true"/>
<visual>
<global fovy="{FIELD_OF_VIEW}" offwidth="{image_size}" offheight="{image_size}"/>
<quality offsamples="4" shadowsize="2048"/>
<map znear="0.02" zfar="5"/>
</visual>
<statistic extent="4" center="0 0 0.5"/>
<asset>
<texture type="skybox" builtin="gradient" rgb1="0.7 0.8 0.95" rgb2="0.9 0.92 0.95" width="64" height="64"/>
{"".join(textures + surfaces + assets)}
</asset>
<worldbody>
{"".join(room + bodies)}
</worldbody>
</mujoco>"""
    return text, files


def _shape(slot: int, thing: Thing) -> tuple[list[str], str]:
    assets, geoms = [], []
    for number, part in enumerate(shapes.PARTS[thing.kind]):
        name = f"{slot}.{number}"
        assets.append(_element("material", name=name, specular=0.5, shininess=0.5))
        place = {
            "name": name,
            "material": name,
            "pos": _numbers(thing.scale * np.array(part.at)),
            "euler": _numbers(part.euler),
        }
        size = thing.scale * np.array(part.size)
        if part.kind in shapes.MESHES:
            builtin, params = shapes.MESHES[part.kind]
            assets.append(_element("mesh", name=name, builtin=builtin, params=params, scale=_numbers(size)))
            geoms.append(_element("geom", type="mesh", mesh=name, **place))
        else:
            geoms.append(_element("geom", type=part.kind, size=_numbers(size), **place))
    return assets, f'<body name="{slot}" pos="0 0 {AWAY}">{"".join(geoms)}</body>'


def _person(slot: int, thing: Thing) -> tuple[list[str], str]:
    assets = [_element("material", name=f"{slot}.{paint}", specular=0.1, shininess=0.1) for paint in mannequin.PAINTS]

    def body(limb: mannequin.Limb) -> str:
        at = np.array([0.0, 0.0, AWAY]) if not limb.parent else thing.scale * np.array(limb.at)
        name = str(slot) if not limb.parent else f"{slot}.{limb.name}"
        geoms = []
        for number, geom in enumerate(limb.geoms):
            described = {
                "name": f"{slot}.{limb.name}.{number}",
                "type": geom.kind,
                "material": f"{slot}.{geom.paint}",
                "size": _numbers(thing.scale * np.array(geom.size)),
            }
            start = thing.scale * np.array(geom.at)
            if geom.until is None:
                described["pos"] = _numbers(start)
            else:
                described["fromto"] = _numbers([*start, *(thing.scale * np.array(geom.until))])
            geoms.append(_element("geom", **described))
        below = [body(other) for other in mannequin.LIMBS if other.parent == limb.name]
        return f'<body name="{name}" pos="{_numbers(at)}">{"".join(geoms + below)}</body>'

    return assets, body(mannequin.LIMBS[0])


def _element(tag: str, **attributes: object) -> str:
    return f"<{tag} {' '.join(f'{name}={quoteattr(str(value))}' for name, value in attributes.items())}/>\n"


def _numbers(values: object) -> str:
    return " ".join(f"{float(value):.6g}" for value in np.asarray(values, dtype=float).ravel())
