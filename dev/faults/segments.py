"""Kafka's own files: the end of a partition is cut off, as a crash does to what was not flushed."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HEAD: Final = struct.Struct(">qi")  #: a batch's first offset, and its size behind these twelve bytes
_EVENT_ID: Final = re.compile(rb'"eventId":"([0-9a-f-]{36})"')
_TORN: Final = 30  #: bytes that the disk still has of the first batch that is lost
#: What Kafka makes again from the log itself. It would believe them otherwise.
_MADE_AGAIN: Final = ("*.index", "*.timeindex", "*.snapshot")
_FLUSHED_TO: Final = "recovery-point-offset-checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Records that were written together: where they begin in the file, and the events' ids in log order."""

    first_offset: int
    begins_at: int
    request_ids: list[str]


def batches(segment: bytes) -> Iterator[Batch]:
    """All whole batches of an uncompressed segment file."""
    at = 0
    while at + _HEAD.size <= len(segment):
        first_offset, size = _HEAD.unpack_from(segment, at)
        end = at + _HEAD.size + size
        if end > len(segment):
            return
        ids = [each.decode() for each in _EVENT_ID.findall(segment, at, end)]
        yield Batch(first_offset=first_offset, begins_at=at, request_ids=ids)
        at = end


def cut_end(data: Path, *, topic: str, partition: int, offset: int) -> dict[int, str]:
    """Take away what stands from about this offset on; returns the lost events' ids by offset.

    ``data`` is the folder of a broker that does not run. A partition of one segment.
    """
    folder = data / f"{topic}-{partition}"
    [segment] = folder.glob("*.log")
    lost = [each for each in batches(segment.read_bytes()) if each.first_offset >= offset]
    with segment.open("r+b") as file:
        file.truncate(lost[0].begins_at + _TORN)
    for file_path in (path for pattern in _MADE_AGAIN for path in folder.glob(pattern)):
        file_path.unlink()
    (data / _FLUSHED_TO).unlink(missing_ok=True)
    return {
        batch.first_offset + number: request_id
        for batch in lost
        for number, request_id in enumerate(batch.request_ids)
    }
