"""Emulates the gateway in front of CAMS, which checks a request's headers, time, signature and nonce."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from cams_mcp.api.credentials import AccessKey
from cams_mcp.api.signing import DATE_FORMAT, authorization, encode

WINDOW = dt.timedelta(minutes=15)
_AUTHORIZATION = re.compile(r"ACS3-HMAC-SHA256 Credential=([^,]+),SignedHeaders=([^,]+),Signature=([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class WireRequest:
    """A request as received: lowercase header names, raw query and body."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def parameters(self) -> dict[str, str]:
        """The operation's parameters, from the query and from a form body."""
        pairs = parse_qsl(self.query, keep_blank_values=True, strict_parsing=bool(self.query))
        if self.headers.get("content-type", "").startswith("application/x-www-form-urlencoded") and self.body:
            pairs += parse_qsl(self.body.decode("ascii"), keep_blank_values=True, strict_parsing=True)
        return dict(pairs)


class Refused(Exception):
    """An error response: HTTP status, CAMS's code and message, and further elements of the body."""

    def __init__(self, status: int, code: str, message: str, **elements: Any) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message
        self.elements = elements


class Gateway:
    """Checks requests against one access key.

    Args:
        key: the only key that may sign requests.
        now: the current time, UTC.
    """

    def __init__(self, key: AccessKey, now: Callable[[], dt.datetime]) -> None:
        self._key = key
        self._now = now
        self._nonces: dict[str, dt.datetime] = {}

    def check(self, request: WireRequest, *, skew: dt.timedelta = dt.timedelta()) -> None:
        """Check a request.

        Raises:
            Refused: with the code that the gateway would return.
        """
        headers = request.headers
        match = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
        if match is None:
            raise Refused(400, "MissingAuthorization", "Authorization is mandatory for this action.")
        key_id, names, given = match[1], match[2].split(";"), match[3]
        for needed in ("x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256", "host"):
            if needed not in headers:
                raise Refused(400, f"Missing{needed}", f"{needed} is mandatory for this action.")
        self._check_time(headers["x-acs-date"], skew)
        if key_id != self._key.id:
            raise Refused(404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.")
        self._check_signature(request, names, given)
        self._check_nonce(headers["x-acs-signature-nonce"])

    def _check_time(self, text: str, skew: dt.timedelta) -> None:
        try:
            date = dt.datetime.strptime(text, DATE_FORMAT).replace(tzinfo=dt.UTC)
        except ValueError:
            raise Refused(400, "InvalidTimeStamp.Format", "Specified time stamp is not well formatted.") from None
        if abs(self._now() + skew - date) > WINDOW:
            raise Refused(400, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.")

    def _check_signature(self, request: WireRequest, names: list[str], given: str) -> None:
        headers = request.headers
        signed = {name: headers[name] for name in names if name in headers}
        unsigned = [name for name in headers if (name == "host" or name.startswith("x-acs-")) and name not in signed]
        # The signature covers the sorted query. Keep repeated parameters, so that adding one breaks the signature.
        pairs = sorted(parse_qsl(request.query, keep_blank_values=True))
        query = "&".join(f"{encode(name)}={encode(value)}" for name, value in pairs)
        hashed = hashlib.sha256(request.body).hexdigest()
        is_valid = (
            not unsigned
            and hmac.compare_digest(hashed.encode(), headers["x-acs-content-sha256"].encode())
            and headers.get("x-acs-security-token") == self._key.security_token
        )
        if is_valid:
            expected = authorization(self._key, request.method, request.path, query, signed)
            is_valid = hmac.compare_digest(expected.rpartition("=")[2], given)
        if not is_valid:
            raise Refused(400, "SignatureDoesNotMatch", "Specified signature is not matched with our calculation.")

    def _check_nonce(self, nonce: str) -> None:
        now = self._now()
        # Nonces are in order of arrival, so only the expired ones at the front are visited.
        while self._nonces and now - next(iter(self._nonces.values())) > 2 * WINDOW:
            del self._nonces[next(iter(self._nonces))]
        if nonce in self._nonces:
            raise Refused(400, "SignatureNonceUsed", "Specified signature nonce was used already.")
        self._nonces[nonce] = now
