"""Copy weights to private memory: a network on a memory-mapped file would change if a process wrote to the file.

Loaders of safetensors and of torch files return tensors inside the mapped file. They start at any offset, where the
CPU's kernels are slower and round differently. Each tensor is copied and its pages of the file are then released, so
that the weights are in memory only once while a network is loaded.
"""

from __future__ import annotations

import bisect
import ctypes
import mmap
import sys
from pathlib import Path

import torch
from torch import Tensor

_MADV_DONTNEED = 4  # from Linux' mman.h


class MappedFiles:
    """Which addresses of this process are mapped files.

    If the system does not report them, all addresses count as such.
    """

    def __init__(self, maps: Path = Path("/proc/self/maps")) -> None:
        self._ranges: list[tuple[int, int]] | None = None
        if maps.is_file():
            # address-address, permissions, offset, device, inode, and a path if it is a file.
            lines = (line.split(maxsplit=5) for line in maps.read_text(errors="replace").splitlines())
            files = [fields[0].split("-") for fields in lines if len(fields) == 6 and fields[5].startswith("/")]
            self._ranges = sorted((int(start, 16), int(end, 16)) for start, end in files)

    def hold(self, tensor: Tensor) -> bool:
        """Whether a tensor, of any shape, lies in a file."""
        if tensor.device.type != "cpu" or not tensor.numel():
            return False
        if self._ranges is None:
            return True
        place = bisect.bisect_right(self._ranges, (tensor.data_ptr(), sys.maxsize)) - 1
        return place >= 0 and tensor.data_ptr() < self._ranges[place][1]

    def release(self, tensor: Tensor) -> None:
        """Release the file pages of a tensor, of any shape. If another tensor needs a page, it is read again."""
        if self._ranges is None or sys.platform != "linux":
            return
        first = tensor.data_ptr() // mmap.PAGESIZE * mmap.PAGESIZE
        length = tensor.data_ptr() + tensor.nbytes - first
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), _MADV_DONTNEED)


def private_copy(
    tensor: Tensor, dtype: torch.dtype, files: MappedFiles, layout: torch.memory_format = torch.contiguous_format
) -> Tensor:
    """A copy of a tensor, of any shape, in another number type, without an intermediate copy.

    layout: of tensors of four dimensions, which are convolution weights; others are contiguous.
    """
    copy = tensor.to(dtype, copy=True, memory_format=layout if tensor.ndim == 4 else torch.contiguous_format)
    if files.hold(tensor) and tensor.is_contiguous():
        files.release(tensor)
    return copy
