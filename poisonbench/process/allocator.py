"""Keep freed memory in the process, or give it back.

glibc gives every large block back to the kernel when it is freed, so each activation of each step faults its pages in
again; a convolution's forward pass is 5 to 20 times slower for it (tests/benchmarks/test_allocator.py).
"""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # malloc.h
_GIB = 1 << 30


def keep_freed_blocks() -> bool:
    """Tell glibc's malloc to serve large blocks from its heap and to keep what is freed.

    Returns:
        Whether it took effect: elsewhere than on Linux with glibc there is nothing to set.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    settings = ((_MMAP_THRESHOLD, _GIB), (_TRIM_THRESHOLD, 2 * _GIB - 1), (_TOP_PAD, _GIB // 4))
    return all(libc.mallopt(parameter, value) == 1 for parameter, value in settings)


def return_freed_blocks() -> None:
    """Give the pages of freed blocks back to the system, before much memory is taken that does not fit between them.

    `keep_freed_blocks` holds on to what training freed: on MNIST 0.2 to 0.6 GiB, which would count twice in the peak.
    Elsewhere than with glibc there is nothing to do.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
