"""A small OpenID provider on loopback, with its own keys and over TLS, that can be told to misbehave."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from medquorum.privacy.certificates import issue, make_authority

CLIENT, SECRET = "medquorum", "a secret/with+signs"


class Idp:
    """claims, header, description: what is changed of an honest answer. who: who signs in, with their groups."""

    def __init__(self, port: int) -> None:
        self.issuer = f"https://localhost:{port}/realm"
        self.key: RSAKey | ECKey = RSAKey.generate_key(2048, {"kid": "one"})
        self.listed = [self.key]
        self.claims: dict[str, Any] = {}
        self.description: dict[str, Any] = {}
        self.algorithm = "RS256"
        self.who: dict[str, Any] = {"sub": "4711", "preferred_username": "anna", "groups": ["radiology"]}
        self.codes: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []
        self.folder = Path()

    def described(self) -> dict[str, Any]:
        """The discovery document."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/auth",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            **self.description,
        }

    def authorize(self, asked: dict[str, str]) -> str:
        """Sign somebody in without a question; where the browser is sent."""
        code = base64.urlsafe_b64encode(hashlib.sha256(asked["state"].encode()).digest()).decode()
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def exchanged(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """The answer to a code: as the standards ask, with PKCE and the client's secret checked."""
        asked = self.codes.pop(form["code"], None)
        challenge = (
            base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).decode().rstrip("=")
        )
        user, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        right = (unquote_plus(user), unquote_plus(secret)) == (CLIENT, SECRET)
        if asked is None or asked["code_challenge"] != challenge or asked["redirect_uri"] != form["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        if not right:
            return 401, {"error": "invalid_client"}
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        plain = {name: value for name, value in {**claims, **self.who, **self.claims}.items() if value is not None}
        return 200, {"access_token": "opaque", "token_type": "Bearer", "id_token": self.token(plain)}

    def token(self, claims: dict[str, Any]) -> str:
        """An ID token under the algorithm that is set: also under none, and under HMAC with the public key."""
        if self.algorithm in ("none", "HS256"):
            signed = ".".join(_base64(json.dumps(one).encode()) for one in ({"alg": self.algorithm}, claims))
            secret = self.key.as_pem(private=False)
            forged = b"" if self.algorithm == "none" else hmac.digest(secret, signed.encode(), "sha256")
            return f"{signed}.{_base64(forged)}"
        header = {"alg": self.algorithm, "kid": str(self.key.kid)}
        return jwt.encode(header, claims, self.key, algorithms=[self.algorithm])


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@contextmanager
def provider(folder: Path) -> Generator[Idp]:
    """A provider that answers on a free port. Its authority lies in the folder as authority.pem."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

        def _answer(self, status: int, plain: dict[str, Any]) -> None:
            content = json.dumps(plain).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            """Description, keys, and the page on which people sign in."""
            parts = urlsplit(self.path)
            idp.asked.append(parts.path)
            if parts.path.endswith("openid-configuration"):
                self._answer(200, idp.described())
            elif parts.path.endswith("/keys"):
                self._answer(200, {"keys": [key.as_dict(private=False) for key in idp.listed]})
            elif parts.path.endswith("/auth"):
                self.send_response(302)
                asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
                self.send_header("location", idp.authorize(asked))
                self.send_header("content-length", "0")
                self.end_headers()
            else:
                self._answer(404, {})

        def do_POST(self) -> None:
            """The exchange of a code."""
            sent = self.rfile.read(int(self.headers["content-length"])).decode()
            form = {name: values[0] for name, values in parse_qs(sent).items()}
            self._answer(*idp.exchanged(form, self.headers.get("authorization", "")))

    make_authority(folder, "test provider")
    issued = issue(folder, "server", ("localhost",))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    idp = Idp(server.server_port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield idp
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
