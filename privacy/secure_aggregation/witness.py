"""What a site's side of the sum asks of whoever keeps its ledger, and the peers' heads.

Before a vector is made, every sharer has told, inside its seal, which head of this site's ledger it keeps. After it is
charged and made, its site shows the new head, and whoever agrees to open the sum has put that head on disk first. So a
charge that no peer keeps belongs to a vector that nobody can open, and a ledger that lacks charges meets their proof
before it can be charged again, unless all who keep it are left out of the sum.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from ..heads import Head, SignedHead


class Witness(Protocol):
    """A site's own ledger and the heads of others that it keeps."""

    def seen(self, site: str) -> SignedHead | None:
        """The highest head of a peer's ledger that this site keeps."""
        ...

    def compare(self, claims: Mapping[str, SignedHead | None], key: bytes) -> None:
        """Hold this site's ledger against what its peers keep of it, by peer. key: the site's public key (32 bytes).

        Takes in what the ledger lacks. Raises LedgerError when the site must not go on.
        """
        ...

    def head(self) -> Head:
        """Where the ledger stands now."""
        ...

    def keep(self, heads: Mapping[str, SignedHead]) -> None:
        """Put the peers' heads on disk before returning; never a lower one for a higher."""
        ...

    def kept(self, own: SignedHead, by: Collection[str]) -> None:
        """These peers have signed that they keep this site's head."""
        ...
