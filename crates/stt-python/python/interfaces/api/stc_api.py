"""STC by the name of the documents; the same as :mod:`stc`."""

from stc import HashValue, Metadata, STCContext, content_hash, decrypt, encrypt

__all__ = ["HashValue", "Metadata", "STCContext", "content_hash", "decrypt", "encrypt"]
