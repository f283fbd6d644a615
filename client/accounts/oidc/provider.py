"""Talking to the identity provider: its own description, its keys, and the exchange of a code. Over TLS, to its own
origin and nowhere else, without redirects and without proxies from the environment."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote_plus, urlsplit

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, KeySetSerialization

from ...errors import NodeError
from ..errors import SignInError
from .settings import OidcSettings, OidcSettingsError, is_https

_KEPT, _AGAIN = 3600.0, 60.0
_LARGEST = 1 << 20
_SECONDS = 10.0


class ProviderError(NodeError):
    """The identity provider does not answer as one."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What the provider says of itself (OpenID Connect Discovery 1.0, section 3). names_itself: whether its answers in
    the browser carry its name (RFC 9207)."""

    authorization: str
    token: str
    keys: str
    basic: bool
    names_itself: bool


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a code was exchanged for."""

    id_token: str
    access_token: str


class Provider:
    """One identity provider. What it says of itself is kept for an hour. Safe to use from several threads."""

    def __init__(self, settings: OidcSettings, clock: Callable[[], float] = time.time) -> None:
        self._settings, self._clock = settings, clock
        self._turn = threading.Lock()
        self._endpoints: tuple[float, Endpoints] | None = None
        self._keys: tuple[float, KeySet] | None = None
        try:
            context = ssl.create_default_context(cafile=settings.authority)
        except (OSError, ssl.SSLError) as fault:
            raise OidcSettingsError(
                f"the provider's authority cannot be read ({fault})",
                where=str(settings.authority),
                fix="give a PEM file",
            ) from fault
        self._http = httpx.Client(verify=context, timeout=_SECONDS, follow_redirects=False, trust_env=False)

    def endpoints(self) -> Endpoints:
        """Where to send the browser, the code, and for keys. Raises ProviderError."""
        with self._turn:
            if self._endpoints is None or self._clock() - self._endpoints[0] > _KEPT:
                self._endpoints = self._clock(), self._described()
            return self._endpoints[1]

    def keys(self, anew: bool = False) -> KeySet:
        """The keys it signs with. anew: ask again, at most once a minute, since a key is not among them."""
        where = self.endpoints().keys
        with self._turn:
            least = _AGAIN if anew else _KEPT
            if self._keys is None or self._clock() - self._keys[0] > least:
                said = self._json(lambda: self._http.get(where), where)
                try:
                    self._keys = self._clock(), KeySet.import_key_set(cast(KeySetSerialization, said))
                except (JoseError, ValueError, KeyError, TypeError) as fault:
                    raise self._fault(f"its keys cannot be read ({fault})", where) from fault
            return self._keys[1]

    def exchange(self, code: str, verifier: str, back: str) -> Tokens:
        """Exchange the code of a sign-in (RFC 6749, section 4.1.3; RFC 7636, section 4.5). back: where the browser was
        sent. Raises SignInError when the provider does not take it, ProviderError when it does not answer as one."""
        endpoints, settings = self.endpoints(), self._settings
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": back, "code_verifier": verifier}
        auth = httpx.Auth()
        if settings.client_secret and endpoints.basic:
            # RFC 6749, section 2.3.1: both are form-encoded first.
            auth = httpx.BasicAuth(quote_plus(settings.client_id), quote_plus(settings.client_secret))
        else:
            form["client_id"] = settings.client_id
            if settings.client_secret:
                form["client_secret"] = settings.client_secret
        said = self._json(
            lambda: self._http.post(endpoints.token, data=form, auth=auth), endpoints.token, refusal="error"
        )
        if "error" in said:
            raise SignInError(
                f"the identity provider did not take the sign-in ({str(said['error'])[:100]})", fix="sign in again"
            )
        id_token, access_token = said.get("id_token"), said.get("access_token", "")
        if not isinstance(id_token, str) or not isinstance(access_token, str):
            raise self._fault("it answers without an ID token", endpoints.token)
        return Tokens(id_token, access_token)

    def _described(self) -> Endpoints:
        where = f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration"
        said = self._json(lambda: self._http.get(where), where)
        if said.get("issuer") != self._settings.issuer:
            raise self._fault(f"it calls itself {said.get('issuer')!r}, which is not the issuer of the settings", where)
        found = [said.get(f"{name}_endpoint", "") for name in ("authorization", "token")] + [said.get("jwks_uri", "")]
        for address in found:
            # Whoever could put another address there would be sent codes and secrets, or choose the keys.
            if not isinstance(address, str) or not is_https(address) or _origin(address) != _origin(where):
                raise self._fault(f"it names an address that is not its own over https: {str(address)[:200]!r}", where)
        methods = said.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        named = said.get("authorization_response_iss_parameter_supported") is True
        return Endpoints(found[0], found[1], found[2], "client_secret_basic" in methods, named)

    def _json(self, ask: Callable[[], httpx.Response], where: str, refusal: str = "") -> Mapping[str, Any]:
        """The object that the provider answers with. refusal: the member by which an answer may also refuse."""
        try:
            answer = ask()
        except httpx.HTTPError as fault:
            raise self._fault(f"it does not answer ({fault})", where) from fault
        try:
            said = cast(object, answer.json()) if len(answer.content) <= _LARGEST else None
        except ValueError:
            said = None
        plain = cast("dict[str, Any]", said) if isinstance(said, dict) else {}
        refused = bool(refusal) and refusal in plain and answer.is_client_error
        if not plain or not (answer.is_success or refused):
            raise self._fault(f"it answers with status {answer.status_code} and nothing of use", where)
        return plain

    def _fault(self, what: str, where: str) -> ProviderError:
        return ProviderError(f"the identity provider cannot be used: {what}", where=where, fix="tell the hospital's IT")


def _origin(address: str) -> tuple[str | None, int]:
    parts = urlsplit(address)
    return parts.hostname, parts.port or 443
