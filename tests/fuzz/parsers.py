"""Feed the parsers of what strangers send with whatever atheris makes up. Any error but our own is a crash.

python tests/fuzz/parsers.py record|manifest|tensors -runs=20000 [corpus folder]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress

import atheris

with atheris.instrument_imports(include=["poisonbench.store", "poisonbench.submission"]):
    from poisonbench.errors import PoisonbenchError
    from poisonbench.store.artifacts import from_bytes
    from poisonbench.store.canonical import canonical_json, parse_json
    from poisonbench.store.record import Record
    from poisonbench.submission.bundle import manifest_of


def record(data: bytes) -> None:
    """A record that is read says the same when it is written and read again."""
    read = Record.read(parse_json(data))
    assert Record.read(parse_json(canonical_json(read.document()).encode())) == read


def manifest(data: bytes) -> None:
    """A bundle's list of files."""
    manifest_of(data)


def tensors(data: bytes) -> None:
    """A safetensors file."""
    from_bytes(data, "fuzz")


TARGETS: dict[str, Callable[[bytes], None]] = {"record": record, "manifest": manifest, "tensors": tensors}


def main() -> None:
    """Fuzz one parser."""
    target = TARGETS[sys.argv.pop(1)]

    def once(data: bytes) -> None:
        with suppress(PoisonbenchError):
            target(data)

    atheris.Setup(sys.argv, once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
