"""What this machine's processor can do that decides how a network is run on it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

#: Words of /proc/cpuinfo for instructions that multiply bytes and add up in 32 bits: x86 and ARM.
BYTE_DOT_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})


@cache
def multiplies_bytes_exactly(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether 8-bit networks give here what they gave where they were measured.

    Without these instructions products of bytes are added up in 16 bits, which overflow: answers are other ones
    (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, "U8S8 saturation"). Unknown counts
    as no.
    """
    try:
        words = cpuinfo.read_text().split()
    except OSError:
        return False
    return not BYTE_DOT_PRODUCTS.isdisjoint(words)
