"""Files that a page carries, so that they can be saved from it when it is sent alone."""

import gzip
from base64 import b64encode
from dataclasses import dataclass
from functools import cached_property

from metabench.report.numbers import bytes_text

MOST_CARRIED = 1024 * 1024
"""Bytes, compressed: a larger file is not carried, so that the page opens quickly. It lies beside the page."""

LARGEST = 32 * MOST_CARRIED
"""Bytes, above which a file is not even compressed."""


@dataclass(frozen=True)
class Attachment:
    """A file of a run's folder."""

    name: str
    """The path from the page to the file: a link works where the page lies in its folder, too."""
    content: bytes
    listed: bool = True
    """Whether the page lists it; one that is not listed is linked where it belongs."""

    @cached_property
    def size(self) -> str:
        """The size, for a reader."""
        return bytes_text(len(self.content))

    @cached_property
    def packed(self) -> str | None:
        """The content by gzip and base64, as a script of the page unpacks it; None where it is too large."""
        if len(self.content) > LARGEST:
            return None
        small = gzip.compress(self.content, mtime=0)
        return b64encode(small).decode() if len(small) <= MOST_CARRIED else None
