"""What a site insists on, one rule a function. Each raises when its rule is broken, and the site then says no more.

They stand apart from the site's state machine so that every rule can be read, and removed in a test to show which
attack it stops.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ..errors import RosterError
from ..heads import SignedHead, is_head_of
from ..identity import verify
from ..roster import Roster
from .errors import BreachError, QuorumLostError
from .steps import Agreements, Closing, KeyList, Keys, SignedKeys, Survivors
from .terms import Policy, Session

KEYS_DOMAIN = "secure aggregation keys"
CLOSING_DOMAIN = "secure aggregation closing"


def small_enough(payload: bytes, cohort: int) -> None:
    """A step's payload grows with the cohort only (at most 2 KiB a site); anything larger is not even parsed."""
    limit = 4096 + 2048 * cohort
    if len(payload) > limit:
        raise BreachError(f"a step of {len(payload)} bytes; at most {limit} are read", where="step")


def invited(session: Session, site: str) -> None:
    """The cohort must name this site."""
    if site not in session.names:
        raise BreachError(f"this site, {site!r}, is asked for a sum among others: {', '.join(session.names)}")


def enough_sites(sites: Collection[str], session: Session, policy: Policy, where: str) -> None:
    """At every step at least the threshold, and the site's own minimum cohort, must be left."""
    least = max(session.threshold, policy.minimum_cohort)
    if len(sites) < least:
        raise QuorumLostError(
            f"{len(sites)} of {len(session.names)} sites; this site joins no sum over fewer than {least}",
            where=where,
            fix="bring the missing sites back and try again",
        )


def all_listed(sites: Collection[str], roster: Roster) -> None:
    """Everybody concerned must be on this node's roster, with a key in force at this moment."""
    for site in sites:
        _roster_key(site, roster)


def in_order(names: Sequence[str], known: Collection[str], where: str) -> None:
    """A list of sites is sorted, names nobody twice, and nobody from outside."""
    if list(names) != sorted(set(names)):
        raise BreachError("the list of sites is not sorted, or names one twice", where=where)
    strangers = sorted(set(names) - set(known))
    if strangers:
        raise BreachError(f"sites that do not belong here: {', '.join(strangers)}", where=where)


def signed_by_roster(entry: SignedKeys, roster: Roster) -> None:
    """Keys count only under the signature of the identity that the roster names for their site."""
    if not verify(_roster_key(entry.keys.site, roster), KEYS_DOMAIN, entry.keys, entry.signature):
        raise BreachError(f"the keys of {entry.keys.site!r} are not signed by its identity", where="key list")


def same_session(keys: Keys, session: Session) -> None:
    """Keys belong to this consortium, plan, purpose, round, attempt, cohort, size and range, not to another's."""
    if keys.session != session.hash:
        raise BreachError(
            f"the keys of {keys.site!r} were made for another plan, round, attempt or cohort", where="key list"
        )


def same_content(keys: Keys, content: bytes) -> None:
    """Everybody must have signed the hash of the model and settings that this site holds (Pasquini et al. 2022)."""
    if keys.content != content:
        raise BreachError(
            f"{keys.site!r} was given another model or other settings than this site",
            where="key list",
            fix="do not go on with this coordinator before it has explained this",
        )


def different_keys(keys: KeyList) -> None:
    """No public key or commitment appears twice: a copied one would make two masks equal or a seal readable."""
    used = [part for e in keys.entries for part in (e.keys.sealing, e.keys.masking, e.keys.commitment)]
    if len(set(used)) != len(used):
        raise BreachError("two of the published keys are the same", where="key list")


def own_keys(entries: Mapping[str, Keys], own: Keys) -> None:
    """The list holds this site's own keys exactly as it made them."""
    if entries.get(own.site) != own:
        raise BreachError("this site's own keys are missing or were exchanged", where="key list")


def own_vector_counted(survivors: Survivors, site: str) -> None:
    """A site whose masked vector left is a survivor, whatever the coordinator says."""
    if site not in survivors.sites:
        raise BreachError(f"{site!r} is declared dropped although its masked vector was sent", where="survivors")


def signed_head(signed: SignedHead, site: str, context: bytes, roster: Roster) -> None:
    """The head of a survivor's ledger counts under its identity and for this exchange among these sharers only."""
    if signed.head.site != site or signed.context != context or not is_head_of(_roster_key(site, roster), signed):
        raise BreachError(f"the ledger head shown for {site!r} is not its own, or not of this sum", where="survivors")


def a_head_each(survivors: Survivors) -> None:
    """No survivor without the head of its ledger: its charge would have no witness."""
    if len(survivors.heads) != len(survivors.sites):
        raise BreachError("not every survivor's ledger head was shown", where="survivors")


def own_head_shown(survivors: Survivors, own: SignedHead) -> None:
    """The others are shown the head that this site signed, or the charge would have no witness."""
    if own.head.site in survivors.sites and own not in survivors.heads:
        raise BreachError("this site's ledger head was withheld or exchanged", where="survivors")


def agreed(agreements: Agreements, closing: Closing, session: Session, policy: Policy, roster: Roster) -> None:
    """Before any share is given, enough survivors must have signed exactly the list that this site signed."""
    names = [name for name, _ in agreements.signatures]
    in_order(names, closing.survivors, "agreements")
    enough_sites(names, session, policy, "agreements")
    for name, signature in agreements.signatures:
        if not verify(_roster_key(name, roster), CLOSING_DOMAIN, closing, signature):
            raise BreachError(f"{name!r} did not sign the survivor list that this site was shown", where="agreements")


def _roster_key(site: str, roster: Roster) -> bytes:
    try:
        return roster.key(site)
    except RosterError as fault:
        raise BreachError(fault.what, where="roster", fix=fault.fix) from fault
