"""Signatures of records: Ed25519 over the canonical JSON of the whole record but its name and the signature itself.

So one document carries its own proof: whoever has the verifier's public key needs nothing else. A signature is over a
document of one schema version; an upgrade that changes signed documents has to say what becomes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from poisonbench.errors import ConfigError
from poisonbench.store.canonical import canonical_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

UNSIGNED = "0" * 128
"""In the place of a signature that is still to be made."""

_PURPOSE = b"poisonbench: I trained again on this poison set and measured this.\n"
"""Signed before the record, so that no signature that the key made for something else passes for one of these."""

_NEW_KEY = "openssl genpkey -algorithm ed25519 -aes256 -out key.pem"


def is_signed(content: Mapping[str, Any], key: str, signature: str) -> bool:
    """Whether the signature is that of the key over a record's content. Cost: 0.1 ms.

    Args:
        content: the record's document.
        key: public, 64 hex digits.
        signature: 128 hex digits.
    """
    # Here: it takes 30 ms to import, and most records have no signature.
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(bytes.fromhex(signature), _message(content))
    except (InvalidSignature, ValueError):  # a ValueError for bytes that are no point of the curve
        return False
    return True


def signature_of(content: Mapping[str, Any], key: Ed25519PrivateKey) -> str:
    """The signature of a record's content, 128 hex digits."""
    return key.sign(_message(content)).hex()


def public_key(key: Ed25519PrivateKey) -> str:
    """The public half of a key, 64 hex digits."""
    return key.public_key().public_bytes_raw().hex()


def read_key(data: bytes, name: str, passphrase: bytes | None = None) -> Ed25519PrivateKey | None:
    """The private key of a PEM file, or None if it needs a passphrase.

    Args:
        data: the file.
        name: what to call it in a message.
        passphrase: of the key; None if it has none, or is not known yet.
    Raises:
        ConfigError: for what is no such key, or another passphrase.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(data, passphrase)
    except TypeError:  # encrypted, and there is no passphrase
        if passphrase is None:
            return None
        raise ConfigError(f"{name}: the key has no passphrase.") from None
    except (ValueError, UnsupportedAlgorithm):
        why = "no private key in PEM" if passphrase is None else "another passphrase, or a damaged key"
        raise ConfigError(f"{name}: {why}. Make one: {_NEW_KEY}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{name}: a key of another kind, expected Ed25519. Make one: {_NEW_KEY}")
    return key


def _message(content: Mapping[str, Any]) -> bytes:
    """What is signed: everything but the record's name, which is made of the signature too, and the signature."""
    provenance = dict(content["provenance"])
    provenance["verification"] = {key: value for key, value in provenance["verification"].items() if key != "signature"}
    rest = {key: value for key, value in content.items() if key != "record_id"}
    return _PURPOSE + canonical_json(rest | {"provenance": provenance}).encode("ascii")
