"""The ID token: who the provider says has signed in, checked as OpenID Connect Core 1.0, section 3.1.3.7, asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidClaimError, JoseError
from joserfc.jwk import KeySet

from ..errors import SignInError
from .settings import OidcSettings

# Signatures with a key pair only: with "none" nobody signs, with HMAC whoever knows the public key could.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
LEEWAY = 60


@dataclass(frozen=True, slots=True)
class Person:
    """Who signed in. subject: by which this provider knows them for good, with its issuer."""

    subject: str
    name: str
    groups: tuple[str, ...]


class UnknownKeyError(SignInError):
    """No key that is known has signed the token."""


def person(token: str, keys: KeySet, settings: OidcSettings, nonce: str, access_token: str, now: int) -> Person:
    """Who an ID token speaks of. nonce: what this sign-in asked with. now: seconds since 1970.

    Raises SignInError for a token that is not signed by one of the keys, by another issuer, for another client, for
    another sign-in, expired or not yet valid, or without a name or groups; UnknownKeyError when its key is not known.
    """
    try:
        decoded = jwt.decode(token, keys, algorithms=ALGORITHMS)
        claims = CodeIDToken(
            decoded.claims,
            decoded.header,
            options={
                "iss": {"essential": True, "value": settings.issuer},
                "aud": {"essential": True, "value": settings.client_id},
            },
            params={"nonce": nonce, "client_id": settings.client_id, "access_token": access_token},
        )
        claims.validate(now=now, leeway=LEEWAY)
        if decoded.claims["iss"] != settings.issuer:  # a list of issuers would pass
            raise InvalidClaimError("iss")
    except (JoseError, ValueError) as fault:
        kind = UnknownKeyError if isinstance(fault, ValueError) else SignInError
        raise kind(
            f"the identity provider's answer does not hold ({str(fault) or type(fault).__name__})",
            fix="sign in again; if it stays, the provider and this page are not set up for each other",
        ) from fault
    said: dict[str, Any] = dict(claims)
    subject, name, groups = said.get("sub"), said.get(settings.name_claim), said.get(settings.groups_claim)
    if not isinstance(subject, str) or not subject or not isinstance(name, str) or not name:
        raise _lacks(settings.name_claim)
    if isinstance(groups, str):
        groups = [groups]
    if not isinstance(groups, list):
        raise _lacks(settings.groups_claim)
    listed = tuple(one for one in cast("list[object]", groups) if isinstance(one, str))
    return Person(f"{settings.issuer} {subject}", name, listed)


def _lacks(claim: str) -> SignInError:
    return SignInError(
        f"the identity provider does not say {claim!r}", fix="have it put this claim into the ID token, or name another"
    )
