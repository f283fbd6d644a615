"""One sign-in from leaving for the provider to coming back: state, nonce and PKCE, each good once for ten minutes."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from authlib.oauth2.rfc7636 import create_s256_code_challenge

from ..errors import SignInError
from ..sessions import Admission, hashed
from ..signing_in import SigningIn
from .id_token import UnknownKeyError, person
from .provider import Provider
from .settings import OidcSettings

_LIFETIME = 600.0
_MOST = 1000


@dataclass(frozen=True, slots=True)
class _Left:
    """A browser that left for the provider. stranger: the hash of the cookie that it must still have."""

    stranger: str
    nonce: str
    verifier: str
    at: float


class Flow:
    """The sign-ins under way. back: the address of the page that the provider sends browsers to."""

    def __init__(
        self,
        settings: OidcSettings,
        provider: Provider,
        signing_in: SigningIn,
        back: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._provider, self._signing_in = settings, provider, signing_in
        self._back, self._clock = back, clock
        self._turn = threading.Lock()
        self._left: OrderedDict[str, _Left] = OrderedDict()

    def leave(self, stranger: str) -> str:
        """Where a browser signs in. stranger: the cookie of the door, to which this sign-in is bound."""
        state, left = secrets.token_urlsafe(32), _Left(hashed(stranger), *_drawn(), self._clock())
        endpoint = self._provider.endpoints().authorization
        with self._turn:
            self._left[hashed(state)] = left
            while len(self._left) > _MOST:
                self._left.popitem(last=False)
        asked = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": self._back,
            "scope": " ".join(self._settings.scopes),
            "state": state,
            "nonce": left.nonce,
            "code_challenge": create_s256_code_challenge(left.verifier),
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"

    def come_back(self, stranger: str, code: str, state: str, issuer: str | None) -> Admission:
        """Let in who comes back. issuer: whom the answer in the browser names, if it does (RFC 9207).

        Raises SignInError for a sign-in that this browser did not begin, that was finished before or is too old, or of
        somebody who may not read here; ProviderError.
        """
        with self._turn:
            left = self._left.pop(hashed(state), None)
        if (
            left is None
            or self._clock() - left.at > _LIFETIME
            or not hmac.compare_digest(left.stranger, hashed(stranger))
        ):
            raise SignInError("this sign-in was not begun in this browser just now", fix="sign in again")
        if (issuer is not None or self._provider.endpoints().names_itself) and issuer != self._settings.issuer:
            raise SignInError("another provider has answered than the one that was asked", fix="sign in again")
        tokens = self._provider.exchange(code, left.verifier, self._back)

        def read(anew: bool) -> tuple[str, str, tuple[str, ...]]:
            now = int(self._clock())
            keys = self._provider.keys(anew)
            found = person(tokens.id_token, keys, self._settings, left.nonce, tokens.access_token, now)
            return found.subject, found.name, found.groups

        try:
            subject, name, groups = read(anew=False)
        except UnknownKeyError:  # the provider may have changed its keys within the hour
            subject, name, groups = read(anew=True)
        return self._signing_in.by_provider(subject, name, self._settings.role(groups))


def _drawn() -> tuple[str, str]:
    """A nonce and a PKCE verifier."""
    return secrets.token_urlsafe(32), secrets.token_urlsafe(64)
