"""The heads of other sites' ledgers that this node keeps for them, and what it makes of those they keep of its own.

A node that was brought back from a backup has a ledger that is whole and too short. The peers' heads prove what it
lacks, under the site's own signature, so one peer is enough to be believed and none can make anything up. What they
cannot prove is that nobody else keeps a higher one: a node that knows that its ledger was witnessed therefore trains
only among enough sites that keep a head of it.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..privacy import wire
from ..privacy.errors import LedgerError
from ..privacy.heads import Head, SignedHead
from ..privacy.ledger import Ledger

_LOG = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS kept (
    site TEXT PRIMARY KEY, sequence INTEGER NOT NULL, head BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS witness (site TEXT PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS doubt (only INTEGER PRIMARY KEY CHECK (only = 1)) STRICT;
"""


class Witnesses:
    """The table of kept heads, the highest of each site, and the sites that are known to keep this node's own."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def seen(self, site: str) -> SignedHead | None:
        """The highest head of this site's ledger."""
        with self._connection() as connection:
            row = connection.execute("SELECT head FROM kept WHERE site = ?", (site,)).fetchone()
        return None if row is None else wire.decode(SignedHead, row[0])

    def keep(self, heads: Mapping[str, SignedHead], by: Collection[str] = ()) -> None:
        """Put heads on disk; a lower one, or another of the same height, never replaces what is kept.

        by: the sites that are known to keep this node's own head.
        """
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            for site, signed in heads.items():
                connection.execute(
                    "INSERT INTO kept VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
                    " SET sequence = excluded.sequence, head = excluded.head WHERE excluded.sequence > sequence",
                    (site, signed.head.sequence, wire.encode(signed)),
                )
            connection.executemany("INSERT INTO witness VALUES (?) ON CONFLICT DO NOTHING", [(site,) for site in by])
            connection.execute("COMMIT")

    def witnesses(self) -> tuple[str, ...]:
        """The sites that have signed that they keep this node's head, sorted."""
        with self._connection() as connection:
            return tuple(row[0] for row in connection.execute("SELECT site FROM witness ORDER BY site"))

    def doubt(self) -> None:
        """Remember that this node's ledger was restored and that nobody has told yet whether it is the newest."""
        with self._connection() as connection:
            connection.execute("INSERT INTO doubt VALUES (1) ON CONFLICT DO NOTHING")

    def doubted(self) -> bool:
        """Whether `doubt` was called and not lifted since."""
        with self._connection() as connection:
            return connection.execute("SELECT 1 FROM doubt").fetchone() is not None

    def lift_doubt(self) -> None:
        """A peer has told what it keeps of the ledger, and the ledger has it."""
        with self._connection() as connection:
            connection.execute("DELETE FROM doubt")

    @contextmanager
    def _connection(self) -> Generator[sqlite3.Connection]:
        # A connection for each operation, made when first needed: a simulated hospital has no use for the file.
        connection = sqlite3.connect(self._path, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.executescript(_SCHEMA)
            yield connection
        except sqlite3.Error as fault:
            raise LedgerError(
                f"the heads kept for other sites cannot be read or written ({fault})",
                where=str(self._path),
                fix="bring back the node's folder from a backup; without them no sum is joined",
            ) from fault
        finally:
            connection.close()


class LedgerWitness:
    """This node's ledger and kept heads, as its side of a sum asks for them (privacy.secure_aggregation.Witness).

    minimum: how many sites of a sum must keep a head of this ledger, once any is known to keep one.
    """

    def __init__(self, site: str, ledger: Ledger, kept: Witnesses, minimum: int) -> None:
        self._site = site
        self._ledger = ledger
        self._kept = kept
        self._minimum = minimum

    def seen(self, site: str) -> SignedHead | None:
        """The highest head of a peer's ledger that this node keeps."""
        return self._kept.seen(site)

    def compare(self, claims: Mapping[str, SignedHead | None], key: bytes) -> None:
        """Adopt what the ledger lacks; raise LedgerError when a claim proves nothing or too few sites have any."""
        told = {peer: claim for peer, claim in claims.items() if claim is not None}
        own = self._kept.seen(self._site)
        proofs = [*told.values(), *([own] if own is not None else [])]
        for made in self._ledger.adopt(proofs, key):
            _LOG.error(
                "this node's ledger lacks charges that its peers keep the proof of: it was brought back from a backup. "
                "Epsilon %.4g is added for them, and the plans begun before are closed.",
                made.lost.epsilon,
            )
        witnesses = self._kept.witnesses()
        doubted = self._kept.doubted()
        # A ledger restored to before its first sum knows of no witness, and may have had some.
        needed = min(self._minimum, max(len(witnesses), int(doubted)))
        if len(told) < needed:
            raise LedgerError(
                f"{len(told)} of the {len(claims)} other sites of this sum keep a head of this node's ledger, and its "
                f"policy asks for {needed}, so a newer ledger than this one might exist",
                where=f"ledger of {self._site!r}",
                fix=f"train among sites that keep it ({', '.join(witnesses) or 'none is known'}); if they are gone "
                "for good, or this site has never trained, make sure that this ledger is the newest and set "
                "witnesses = 0 in policy.toml",
            )
        if doubted and told:
            self._kept.lift_doubt()

    def head(self) -> Head:
        """Where the ledger stands now."""
        return self._ledger.head()

    def keep(self, heads: Mapping[str, SignedHead]) -> None:
        """Put the peers' heads on disk before returning."""
        self._kept.keep(heads)

    def kept(self, own: SignedHead, by: Collection[str]) -> None:
        """Remember own head, and that these peers keep it."""
        self._kept.keep({self._site: own}, by)
