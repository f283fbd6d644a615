"""The five exchanges of an aggregation, in order: what the coordinator sends, and what a site answers.

1. Invite -> SignedKeys; 2. KeyList -> SealedShares; 3. Inbox -> Masked; 4. Survivors -> Agreement;
5. Agreements -> Unmasking. (Bonawitz et al. 2017, figure 4: AdvertiseKeys, ShareKeys, MaskedInputCollection,
ConsistencyCheck, Unmasking.) All carry only what their receiver cannot know; what binds them to their session is in
the signatures, in the key derivations and in the seals' associated data.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..heads import SignedHead


@dataclass(frozen=True, slots=True)
class Invite:
    """The cohort by name, sorted."""

    cohort: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Keys:
    """One site's fresh public keys (X25519, 32 bytes each) and the commitment to its self-mask seed (32 bytes), for
    one session and one model."""

    session: bytes
    content: bytes
    site: str
    sealing: bytes
    masking: bytes
    commitment: bytes


@dataclass(frozen=True, slots=True)
class SignedKeys:
    """Keys under the site's identity."""

    keys: Keys
    signature: bytes


@dataclass(frozen=True, slots=True)
class KeyList:
    """All keys that came, by site name. Its hash (the transcript) enters every later key and signature."""

    entries: tuple[SignedKeys, ...]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A pair of shares that only `peer` can open (on the way up: the receiver; on the way down: the sender)."""

    peer: str
    box: bytes


@dataclass(frozen=True, slots=True)
class SealedShares:
    """A site's sealed shares for every other site of the key list."""

    boxes: tuple[Sealed, ...]


@dataclass(frozen=True, slots=True)
class Inbox:
    """What the others sealed for one site, by sender. The senders and the receiver are the sharers: the masks are made
    among exactly them."""

    boxes: tuple[Sealed, ...]


@dataclass(frozen=True, slots=True)
class SharePair:
    """Inside a seal: shares (33 bytes each) of the sender's self-mask seed and of its masking private key, and the
    highest head of the receiver's ledger that the sender keeps."""

    seed: bytes
    masking: bytes
    witnessed: SignedHead | None


@dataclass(frozen=True, slots=True)
class Masked:
    """The masked ring vector: length + 1 values of 32 bits, little endian; the last counts saturated values. head: the
    site's ledger once this vector was charged, signed for this exchange."""

    vector: bytes
    head: SignedHead


@dataclass(frozen=True, slots=True)
class Survivors:
    """The sites whose masked vectors arrived, by name, and the heads of their ledgers in the same order."""

    sites: tuple[str, ...]
    heads: tuple[SignedHead, ...]


@dataclass(frozen=True, slots=True)
class Closing:
    """What a site signs before it gives any share away: the session's keys, the sharers, the survivors and (by SHA-256)
    the message with their ledgers' heads, all as this site was shown them. Whoever signs has the heads on disk."""

    transcript: bytes
    sharers: tuple[str, ...]
    survivors: tuple[str, ...]
    heads: bytes


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a head is bound to when it is signed: the session's keys, and the sharers as its site counted them."""

    transcript: bytes
    sharers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """A site's signature over the closing."""

    signature: bytes


@dataclass(frozen=True, slots=True)
class Agreements:
    """The survivors' signatures over the closing, by name."""

    signatures: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Unmasking:
    """This site's shares, by name: of each survivor's self-mask seed and of each dropped sharer's masking key."""

    seeds: tuple[tuple[str, bytes], ...]
    masking: tuple[tuple[str, bytes], ...]
