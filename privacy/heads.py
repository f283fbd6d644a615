"""A ledger's head: where it stands and what all of it cost, signed by its site for the peers to keep.

A restored backup is a whole, well-formed ledger that lacks its newest charges, so nothing in the file can show it. What
can is the head that peers kept, and because a head carries the cost of everything up to it under the site's own
signature, the site needs nobody's word to believe it and nothing but it to count what was lost.

Costs of several lost ends must be added, since each of them was spent, and what they share must not be counted twice.
So a head names the links before it (`lineage`): what was lost is its cost less the cost at the newest link that it
shares with what the ledger knows. Where the lineage is too sparse to find that link, an older one is taken: too much is
counted then, never too little.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .errors import LedgerError
from .filters import Cost
from .identity import Identity, verify

HEAD_DOMAIN = "ledger head"
# Links named one by one before the spacing doubles; each by the first bytes of its hash.
NEAR = 32
PREFIX = 16


@dataclass(frozen=True, slots=True)
class Head:
    """The newest link of a ledger. hash: SHA-256 of the link (32 bytes). order: of the divergence in the cost. cost: of
    everything up to this link. lineage: hash prefixes (16 bytes each) of links before it, newest first."""

    site: str
    sequence: int
    hash: bytes
    order: int
    cost: Cost
    lineage: bytes


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A head under its site's identity, bound to the exchange in which it was shown (context, 32 bytes)."""

    head: Head
    context: bytes
    signature: bytes

    @property
    def prefix(self) -> bytes:
        """The first bytes of the newest link's hash."""
        return self.head.hash[:PREFIX]

    @property
    def prefixes(self) -> frozenset[bytes]:
        """Those of the links before it that it names."""
        lineage = self.head.lineage
        return frozenset(lineage[i : i + PREFIX] for i in range(0, len(lineage), PREFIX))


@dataclass(frozen=True, slots=True)
class _Statement:
    head: Head
    context: bytes


@dataclass(frozen=True, slots=True)
class Point:
    """A link that the ledger knows, of its own or of an adopted head, and the cost of everything up to it."""

    sequence: int
    cost: Cost


def sign_head(identity: Identity, head: Head, context: bytes) -> SignedHead:
    """The head under the site's signature, for one exchange."""
    return SignedHead(head, context, identity.sign(HEAD_DOMAIN, _Statement(head, context)))


def is_head_of(key: bytes, signed: SignedHead) -> bool:
    """Whether the site with this key (32 bytes) signed exactly this head."""
    return verify(key, HEAD_DOMAIN, _Statement(signed.head, signed.context), signed.signature)


def lineage(hashes: Sequence[bytes]) -> bytes:
    """What a head names of the links before it, given their hashes, oldest first: the last 32, then at distances 64,
    128 and so on."""
    distances = [*range(1, NEAR + 1)]
    while 2 * distances[-1] <= len(hashes):
        distances.append(2 * distances[-1])
    return b"".join(hashes[-distance][:PREFIX] for distance in distances if distance <= len(hashes))


def lost(
    claims: Iterable[SignedHead], site: str, key: bytes, order: int, known: Mapping[bytes, Point], covered: set[bytes]
) -> list[tuple[SignedHead, Cost]]:
    """The heads among `claims` that the ledger of `site` does not know, and what each cost beyond what it knows.

    key: the site's own public key. order: the ledger's. known: its points by hash prefix. covered: prefixes of links
    before adopted heads. Raises LedgerError for an unknown head without the site's own signature.
    """
    covered = set(covered)
    found: list[tuple[SignedHead, Cost]] = []
    # The highest first: what lies below it in the same lineage is then counted with it.
    for claim in sorted(claims, key=lambda claim: claim.head.sequence, reverse=True):
        if claim.prefix in known or claim.prefix in covered:
            continue
        if claim.head.site != site or not is_head_of(key, claim):
            raise LedgerError(
                "a peer keeps a head of this site's ledger that is neither in it nor signed with this site's key",
                where=f"ledger of {site!r}",
                fix="if this site's identity was replaced, bring back the ledger that the old one signed for; if not, "
                "ask that peer's admin",
            )
        shared = [known[prefix] for prefix in claim.prefixes if prefix in known]
        base = max(shared, key=lambda point: point.sequence).cost if shared else Cost()
        found.append((claim, _at_order(claim.head, order).beyond(base)))
        covered |= {claim.prefix, *claim.prefixes}
    return found


def _at_order(head: Head, order: int) -> Cost:
    """The head's cost for a ledger of this order: Renyi divergence grows with the order, so one of a higher order
    bounds it, and one of a lower says nothing (then more than any budget is taken)."""
    beyond_any = 1e9
    divergence = head.cost.divergence if head.order >= order else beyond_any
    return Cost(head.cost.epsilon, head.cost.delta, divergence)
