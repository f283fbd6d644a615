"""Joining a consortium: send this site's own keys to the front door, and read who else is there."""

from __future__ import annotations

from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from ... import __version__
from ...privacy import wire
from ...privacy.enrolment import ConsortiumList, Enrolment, SignedEnrolment, open_enrolment, sign_enrolment
from ...privacy.errors import PrivacyError
from ...privacy.identity import KEY_BYTES
from .errors import ConnectionLostError, SettingsError, UntrustedError
from .fleet import Endpoint, tls_context
from .settings import Coordinator, NetworkSettings


def authority_fingerprint(path: Path) -> str:
    """SHA-256 of the authority's certificate, colon-separated hexadecimal; UntrustedError when it is none."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as fault:
        raise UntrustedError(
            "not a certificate in PEM form", where=str(path), fix="ask the operator for authority.pem"
        ) from fault
    return certificate.fingerprint(hashes.SHA256()).hex(":")


def enrol(settings: NetworkSettings, site: str, endpoint: Endpoint) -> tuple[str, ...]:
    """Send the site's enrolment, remember the coordinator and pin its key; returns the other sites that are listed.

    Raises ConnectionLostError or UntrustedError when the front door cannot be reached or is another's, or shows another
    identity than the pinned one; SettingsError when it refuses the enrolment, with its reason.
    """
    identity = settings.identity()
    node_key = _public_pem(settings)
    signed = sign_enrolment(identity, Enrolment(site, identity.public, node_key, __version__))
    receipt = _ask(endpoint, "enrol", wire.encode(signed))
    if receipt != wire.encode(signed):
        raise UntrustedError("the coordinator acknowledged something else", where=endpoint.address)
    listing = consortium(endpoint)
    if len(listing.key) != KEY_BYTES:
        raise UntrustedError("the coordinator shows no identity", where=endpoint.address)
    coordinator = Coordinator(listing.consortium, endpoint.address, endpoint.proxy or "", listing.key)
    settings.join(site, coordinator, _read(endpoint))
    return tuple(one.site for one in _valid(listing) if one.site != site)


def listed(endpoint: Endpoint, site: str) -> Enrolment:
    """The enrolment that the coordinator lists for `site`. Whether the key in it is really the site's, only its admin
    can say. SettingsError when it lists none."""
    for one in others(endpoint):
        if one.site == site:
            return one
    raise SettingsError(f"the coordinator lists no site {site!r}", where=endpoint.address, fix="let it enrol first")


def others(endpoint: Endpoint) -> list[Enrolment]:
    """Every enrolment that the coordinator lists, this site's own among them; see `listed`."""
    return _valid(consortium(endpoint))


def consortium(endpoint: Endpoint) -> ConsortiumList:
    """What the coordinator publishes about the consortium."""
    try:
        return wire.decode(ConsortiumList, _ask(endpoint, "consortium", None))
    except PrivacyError as fault:
        raise UntrustedError(f"the coordinator's list cannot be read: {fault}", where=endpoint.address) from fault


def _valid(listing: ConsortiumList) -> list[Enrolment]:
    enrolments: list[Enrolment] = []
    for one in listing.sites:
        try:
            enrolments.append(open_enrolment(SignedEnrolment(one.enrolment.enrolment, one.enrolment.signature)))
        except PrivacyError:
            continue  # not signed by its own key: nobody's
    return enrolments


def _read(endpoint: Endpoint) -> bytes:
    return endpoint.authority.read_bytes()


def _public_pem(settings: NetworkSettings) -> bytes:
    from flwr.supercore.primitives.asymmetric import public_key_to_bytes

    return public_key_to_bytes(settings.flower_key().public_key())


def _ask(endpoint: Endpoint, what: str, body: bytes | None) -> bytes:
    url = f"https://{endpoint.address}/v1/medquorum/{what}"
    try:
        with httpx.Client(
            verify=tls_context(endpoint.authority), trust_env=False, follow_redirects=False, proxy=endpoint.proxy
        ) as http:
            answer = http.get(url) if body is None else http.post(url, content=body)
    except httpx.TransportError as fault:
        if "CERTIFICATE_VERIFY" in str(fault):
            raise UntrustedError(
                f"the coordinator's certificate is not from this authority ({fault})",
                where=endpoint.address,
                fix="compare the authority's fingerprint with the operator; is a proxy opening TLS?",
            ) from fault
        raise ConnectionLostError(
            f"the coordinator cannot be reached ({fault})",
            where=endpoint.address,
            fix="check the address, the proxy and the firewall (outbound HTTPS to that port)",
        ) from fault
    if answer.status_code != 200:
        raise SettingsError(
            f"the coordinator refused ({answer.status_code}): {answer.text[:300]}", where=endpoint.address
        )
    return answer.content
