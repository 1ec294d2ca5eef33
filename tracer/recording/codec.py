"""What squeezes the blocks of a recording: zstd, the same bytes for the same input, and no more out than was said."""

from typing import Final

import zstandard

# Of what was measured (docs/project/recording.md) the last level that costs next to nothing.
LEVEL: Final = 3
WINDOW_MAX: Final = 8 << 20


def compress(data: bytes) -> bytes:
    """Return data as one zstd frame that tells its size."""
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=False).compress(data)


def decompress(data: bytes, size: int) -> bytes:
    """Return what a frame holds. Raise ``ValueError`` unless that is ``size`` bytes, before there is room for more."""
    try:
        # The size in the frame is what the library makes room for: a limit given to it is passed over.
        if zstandard.get_frame_parameters(data).content_size != size:
            raise ValueError("another size within")
        return zstandard.ZstdDecompressor(max_window_size=WINDOW_MAX).decompress(data, max_output_size=size)
    except (zstandard.ZstdError, MemoryError) as exc:
        raise ValueError("cannot be unpacked") from exc
