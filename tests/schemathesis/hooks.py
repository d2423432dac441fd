"""What is generated, as a client would write it that knows what exists."""

import itertools
import json
import os
import re
import zlib

import schemathesis

# Ids of things that exist, by their prefix.
THINGS = json.loads(os.environ["REEVE_THINGS"])

NUMBERS = itertools.count()


def plain(value):
    """JSON Schema takes 1.0 for an integer. Nobody writes integers that way, and reeve refuses it."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return value


def known(value):
    """For every other id, one of something that exists. What is no id stays what it is."""
    ids = THINGS.get(value[:4], []) if isinstance(value, str) and len(value) == 30 else []
    chance = zlib.crc32(repr(value).encode())
    return ids[chance // 2 % len(ids)] if ids and chance % 2 else value


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    return {name: known(value) for name, value in (path_parameters or {}).items()}


@schemathesis.hook
def map_headers(context, headers):
    """Few keys are generated, and again and again: most requests get one that nobody used before."""
    key = (headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and re.fullmatch("[!-~]{1,100}", key) and next(NUMBERS) % 4:
        return {**headers, "Idempotency-Key": f"{key}{next(NUMBERS)}"}
    return headers


@schemathesis.hook
def map_body(context, body):
    body = plain(body)
    if isinstance(body, dict):
        return {name: known(value) for name, value in body.items()}
    return body
