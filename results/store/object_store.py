"""Object stores: opening one so that each file is one PUT and every wait is bounded, and what went
wrong in words."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
from pyarrow import fs as pafs

from results.errors import StoreError

_OPTIONS = ("region", "scheme", "endpoint_override")
"""What may follow the `?` of an s3:// URI. Credentials may not: a URI is printed and recorded."""

_CONNECT_S = 5.0
_ANSWER_S = 20.0
"""Without a byte for so long a request is tried again; pyarrow's own 3 s give up on slow stores."""

_QUICK = 3
"""Attempts while a store is opened: an endpoint that refuses is told after about a second."""

_PATIENT = 8
"""Attempts once it is open: with growing pauses they ride out half a minute without the store."""


def refuse_credentials(uri: str) -> None:
    """Raises StoreError, which does not repeat the URI, if there are credentials in it."""
    scheme, _, rest = uri.partition("://")
    place, _, query = rest.partition("?")
    host = place.partition("/")[0]
    login = host.rpartition("@")[0]
    # A secret with a slash in it ends the host early, and no bucket's name has a colon.
    if (scheme, login) == ("gs", "anonymous"):
        return
    found = ":" in login or (scheme in ("s3", "gs") and (login or ":" in host))
    given = parse_qs(query, keep_blank_values=True)
    found = found or any("key" in name.lower() or "token" in name.lower() for name in given)
    found = found or any("@" in value for value in given.get("endpoint_override", ()))
    if found:
        where = (
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or a profile or role)"
            if scheme == "s3"
            else "leave them to the environment"
        )
        raise StoreError(
            f"the {scheme}:// URI of a store holds credentials, which would be printed and stored; "
            f"leave them out and {where}."
        )


def open_remote(uri: str, patient: bool) -> tuple[pafs.FileSystem, str]:
    """File system and root of a URI with a scheme.

    Args:
      patient: whether requests are repeated for about half a minute before they fail, as a launch
        under way wants it, or given up soon, as a user at the prompt does.

    Raises:
      StoreError: credentials in the URI, a scheme pyarrow does not know, or a malformed URI.
    """
    refuse_credentials(uri)
    try:
        # For S3 it also finds the bucket's region, over the network unless the environment has it.
        filesystem, root = pafs.FileSystem.from_uri(uri)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = why(error) if isinstance(error, OSError) else str(error)
        raise StoreError(
            f"cannot open {uri} ({reason}); give a local path or an s3://, gs:// or file:// URI."
        ) from error
    if not isinstance(filesystem, pafs.S3FileSystem):
        return filesystem, root
    given = {name: values[-1] for name, values in parse_qs(urlsplit(uri).query).items()}
    odd = sorted(set(given) - set(_OPTIONS))
    if odd:
        raise StoreError(
            f"an s3:// URI takes {', '.join(_OPTIONS)} after the '?', and not {', '.join(odd)}."
        )
    return _s3(filesystem.region, given, patient), root


def _s3(region: str, given: dict[str, str], patient: bool) -> pafs.S3FileSystem:
    # pyarrow takes the endpoint from the environment for URIs only.
    endpoint = given.get("endpoint_override") or next(
        filter(None, map(os.environ.get, ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))), None
    )
    options: dict[str, Any] = {"endpoint_override": endpoint} if endpoint else {}
    if "scheme" in given:
        options["scheme"] = given["scheme"]
    return pafs.S3FileSystem(
        region=region,
        # One PUT for a small file, not the three requests of a multipart upload.
        allow_delayed_open=True,
        # Without it, a file of several pieces of which one failed is completed with those before.
        background_writes=True,
        connect_timeout=_CONNECT_S,
        request_timeout=_ANSWER_S,
        retry_strategy=pafs.AwsStandardS3RetryStrategy(
            max_attempts=_PATIENT if patient else _QUICK
        ),
        **options,
    )


_REASONS = {
    "NO_SUCH_BUCKET": "there is no such bucket; make it, or correct the URI",
    "ACCESS_DENIED": "access denied; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the policy",
    "INVALID_ACCESS_KEY_ID": "the access key is unknown; check AWS_ACCESS_KEY_ID",
    "INVALID_CLIENT_TOKEN_ID": "the access key is unknown; check AWS_ACCESS_KEY_ID",
    "SIGNATURE_DOES_NOT_MATCH": "the secret is not the key's; check AWS_SECRET_ACCESS_KEY",
    "NETWORK_CONNECTION": "no answer; check the network and AWS_ENDPOINT_URL",
    "SERVICE_UNAVAILABLE": "the store is unavailable; try again",
    "SLOW_DOWN": "the store asks for fewer requests; try again",
    "INTERNAL_FAILURE": "the store has an error of its own; try again",
    "REQUEST_TIMEOUT": "no answer in time; try again",
}


def vanished(error: OSError) -> bool:
    """Whether a read may have failed because the object went, or became another, under it."""
    text = str(error)
    return "AWS Error NO_SUCH_KEY" in text or "Failed to flush response stream" in text


@contextlib.contextmanager
def reaching(place: str) -> Iterator[None]:
    """Turns a failed request into one sentence about that place.

    Raises:
      FileNotFoundError: as it is. StoreError: any other OSError.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"{place} cannot be reached: {why(error)}.") from error


def why(error: OSError) -> str:
    """Reason and remedy of a failed request, in few words; other errors as they are."""
    text = " ".join(str(error).split())
    for code, reason in _REASONS.items():
        if f"AWS Error {code}" in text:
            return reason
    # What follows names requests and hosts of no use to the reader.
    return text.split(" (Request ID", 1)[0]
