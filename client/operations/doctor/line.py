"""The line to the coordinator, hop by hop: name, proxy, TLS and who opens it, clock. Nothing of the node's is sent."""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlsplit

from cryptography import x509

from ....errors import MedquorumError
from ...network.fleet import CLOCK_SECONDS, Endpoint, tls_context
from .check import Check, failed, passed, skipped

SECONDS = 10.0
_NAMES = ("dns", "proxy", "tls", "clock")
_EXPIRED, _WRONG_NAME, _WRONG_ADDRESS = 10, 62, 64


@dataclass(frozen=True, slots=True)
class _Hop:
    """A host and a port, and for a proxy the header that names its user ("" for none)."""

    host: str
    port: int
    login: str = ""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def line(endpoint: Endpoint, now: Callable[[], float] = time.time) -> list[Check]:
    """The checks of the line to `endpoint`, in the order in which a connection passes them. now: seconds since 1970."""
    made: list[Check] = []
    try:
        target = _hop(f"//{endpoint.address}", 443)
        proxy = _hop(endpoint.proxy, 3128) if endpoint.proxy else None
        made.append(_dns(proxy or target))
        if made[-1].state == "passed":
            made.append(_through(proxy, target))
        if made[-1].state == "passed":
            made += _tls_and_clock(endpoint, proxy, target, now)
    except MedquorumError as fault:  # the authority's file, or an address that is none
        made.append(failed(_NAMES[len(made)], fault.what, fault.fix))
    except ValueError:  # no host, or a port that is no number
        made.append(failed(_NAMES[len(made)], f"{endpoint.proxy or endpoint.address} is no address", "enrol again"))
    return made + [skipped(name, "not reached") for name in _NAMES[len(made) :]]


def _hop(url: str, default: int) -> _Hop:
    parts = urlsplit(url if "//" in url else f"//{url}")
    if not parts.hostname:
        raise ValueError(url)
    login = ""
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        login = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return _Hop(parts.hostname, parts.port or default, login)


def _dns(first: _Hop) -> Check:
    try:
        found = sorted(
            {str(entry[4][0]) for entry in socket.getaddrinfo(first.host, first.port, type=socket.SOCK_STREAM)}
        )
    except OSError as fault:
        return failed(
            "dns", f"{first.host} has no address here ({fault.strerror or fault})", f"ask for a DNS entry: {first.host}"
        )
    return passed("dns", f"{first.host} is {', '.join(found)}")


def _connected(proxy: _Hop | None, target: _Hop, context: ssl.SSLContext) -> http.client.HTTPSConnection:
    """A TLS connection to the target, through the proxy if there is one; raises OSError or http.client's errors."""
    first = proxy or target
    connection = http.client.HTTPSConnection(first.host, first.port, timeout=SECONDS, context=context)
    if proxy is not None:
        connection.set_tunnel(target.host, target.port, {"Proxy-Authorization": proxy.login} if proxy.login else {})
    connection.connect()
    return connection


def _through(proxy: _Hop | None, target: _Hop) -> Check:
    """Whether bytes reach the target: through the proxy's CONNECT, or straight."""
    first = proxy or target
    try:
        tunnel = http.client.HTTPConnection(first.host, first.port, timeout=SECONDS)
        if proxy is not None:
            tunnel.set_tunnel(target.host, target.port, {"Proxy-Authorization": proxy.login} if proxy.login else {})
        tunnel.connect()
        tunnel.close()
    except (OSError, http.client.HTTPException) as fault:
        return _refused(proxy, target, fault)
    if proxy is None:
        return passed("proxy", f"{target} is reached without a proxy")
    return passed("proxy", f"the proxy {proxy} opens the way to {target}")


def _refused(proxy: _Hop | None, target: _Hop, fault: Exception) -> Check:
    said = str(fault)
    if proxy is None:
        fix = f"open the firewall for outbound TCP to {target}, or enrol with --proxy if there is a proxy"
        return failed("proxy", f"{target} cannot be reached ({said})", fix)
    if "407" in said:
        fix = "enrol again with --proxy http://USER:PASSWORD@HOST:PORT"
        return failed("proxy", f"the proxy {proxy} wants a user and a password", fix)
    if "Tunnel connection failed" in said:
        fix = f"ask the proxy's admin to allow CONNECT to {target}"
        return failed("proxy", f"the proxy {proxy} does not open the way to {target} ({said})", fix)
    return failed("proxy", f"the proxy {proxy} cannot be reached ({said})", "correct --proxy and enrol again")


def _tls_and_clock(endpoint: Endpoint, proxy: _Hop | None, target: _Hop, now: Callable[[], float]) -> list[Check]:
    try:
        connection = _connected(proxy, target, tls_context(endpoint.authority))
    except ssl.SSLCertVerificationError as fault:
        return [_untrusted(endpoint, proxy, target, fault)]
    except (OSError, http.client.HTTPException) as fault:
        fix = f"let the firewall and the proxy pass TLS 1.3 to {target} untouched"
        return [failed("tls", f"{target} does not speak TLS 1.3 with us ({fault})", fix)]
    try:
        connection.request("GET", "/v1/medquorum/consortium", headers={"accept-encoding": "identity"})
        answer = connection.getresponse()
        answer.read()
        date = answer.headers.get("date", "")
    except (OSError, http.client.HTTPException) as fault:
        fix = "ask the operator whether the coordinator is up"
        return [failed("tls", f"{target} shows the right certificate and then says nothing ({fault})", fix)]
    finally:
        connection.close()
    return [passed("tls", f"{target} shows a certificate of the consortium's authority"), _clock(date, now())]


def _untrusted(endpoint: Endpoint, proxy: _Hop | None, target: _Hop, fault: ssl.SSLCertVerificationError) -> Check:
    """Name whose certificate it is, since that is who has to be asked."""
    shown = _shown(proxy, target)
    if shown is None:
        return failed("tls", f"{target} shows no certificate that can be read", "ask the operator what listens there")
    authority = x509.load_pem_x509_certificate(endpoint.authority.read_bytes())
    if shown.issuer == authority.subject and fault.verify_code == _EXPIRED:
        fix = "set this machine's clock; if it is right, ask the operator to renew the certificate"
        return failed("tls", f"the coordinator's certificate ran out on {shown.not_valid_after_utc:%Y-%m-%d}", fix)
    if shown.issuer == authority.subject and fault.verify_code in (_WRONG_NAME, _WRONG_ADDRESS):
        fix = "enrol again with the name that the operator gives"
        return failed("tls", f"the coordinator's certificate is not for {target.host} ({fault.verify_message})", fix)
    said = (
        f"the certificate that {target} shows was issued by {shown.issuer.rfc4514_string()!r}, not by the consortium's "
        f"authority {authority.subject.rfc4514_string()!r}: something on the way opens TLS, or the authority is another"
    )
    return failed("tls", said, f"ask whoever runs that issuer to exempt {target} from TLS inspection")


def _shown(proxy: _Hop | None, target: _Hop) -> x509.Certificate | None:
    """The certificate that is shown, looked at without believing it; nothing is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        connection = _connected(proxy, target, context)
    except (OSError, http.client.HTTPException):
        return None
    try:
        sock: ssl.SSLSocket = connection.sock
        return x509.load_der_x509_certificate(sock.getpeercert(binary_form=True) or b"")
    except ValueError:
        return None
    finally:
        connection.close()


def _clock(date: str, now: float) -> Check:
    try:
        theirs = parsedate_to_datetime(date)
    except (TypeError, ValueError):
        return skipped("clock", "the coordinator's answer bears no date")
    apart = (datetime.fromtimestamp(now, UTC) - theirs).total_seconds()
    if abs(apart) > CLOCK_SECONDS:
        said = f"this machine's clock is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} the coordinator's"
        return failed("clock", said, "timedatectl set-ntp true; if this clock is right, tell the operator")
    return passed("clock", f"this machine's clock and the coordinator's agree within {CLOCK_SECONDS:.0f} s")
