"""The classes are those of mmsegmentation, and serving does not import it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from mmseg.utils import ade_classes, ade_palette

from heads.vpd.ade20k import COUNT, read_classes


def test_names_and_colours_are_those_of_mmsegmentation() -> None:
    names, palette = read_classes()
    assert names == tuple(name.strip() for name in ade_classes())
    assert len(set(names)) == COUNT
    np.testing.assert_array_equal(palette, ade_palette())
    assert palette.dtype == np.uint8


def test_reading_them_does_not_import_mmsegmentation() -> None:
    program = "import sys; from heads.vpd.ade20k import read_classes; read_classes(); print('mmseg' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
