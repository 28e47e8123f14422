"""Base64 to bytes, a piece at a time: one long step would block all other threads."""

from __future__ import annotations

import binascii

_PIECE = 256 * 1024
_WHITE = b" \t\r\n\v\f"
_STANDARD = bytes.maketrans(b"-_", b"+/")


def decode_base64_text(text: str) -> bytes:
    """The decoded bytes of a text in the standard or the URL-safe alphabet, with white space anywhere, padded or not.

    Raises ValueError for any other text.
    """
    text = text.rstrip("= \t\r\n\v\f")
    decoded = bytearray()
    left = b""
    for start in range(0, len(text), _PIECE):
        packed = left + text[start : start + _PIECE].encode("ascii").translate(_STANDARD, _WHITE)
        if b"=" in packed:
            raise ValueError("padding in the middle")
        whole = len(packed) // 4 * 4
        decoded += binascii.a2b_base64(packed[:whole], strict_mode=True)
        left = packed[whole:]
    decoded += binascii.a2b_base64(left + b"=" * (-len(left) % 4), strict_mode=True)
    return bytes(decoded)
