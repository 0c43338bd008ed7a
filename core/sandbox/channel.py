"""Frames between the two ends of a sandbox: a JSON object and bytes, never a pickle."""

from __future__ import annotations

import json
import struct
from typing import Any, NamedTuple

PREFIX = struct.Struct("!IQ")  # lengths in bytes of the JSON object and of what follows it
LONGEST_HEADER = 64 << 20


class Frame(NamedTuple):
    """One message: a JSON object and whatever bytes go with it (weights as safetensors)."""

    header: dict[str, Any]
    payload: bytes = b""


def encode(frame: Frame) -> bytes:
    """A frame as bytes."""
    text = json.dumps(frame.header).encode()
    return PREFIX.pack(len(text), len(frame.payload)) + text + frame.payload


class Decoder:
    """Puts frames together from what arrives, distrusting every length.

    Raises:
        ValueError: from ``feed`` for a message beyond ``largest`` bytes or one that is no frame.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._received = bytearray()

    def feed(self, content: bytes) -> Frame | None:
        """Take in bytes; return a frame once one is complete."""
        self._received += content
        if len(self._received) < PREFIX.size:
            return None
        header, payload = PREFIX.unpack_from(self._received)
        if header > LONGEST_HEADER or payload > self._largest:
            raise ValueError(f"a message of {header + payload} bytes is too long")
        middle, end = PREFIX.size + header, PREFIX.size + header + payload
        if len(self._received) < end:
            return None
        found = json.loads(bytes(self._received[PREFIX.size : middle]))
        if not isinstance(found, dict):
            raise ValueError("a message must be a JSON object")
        frame = Frame(found, bytes(self._received[middle:end]))
        del self._received[:end]
        return frame
