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
    """What fits the document and nobody writes: 1.0 for an integer, a year before there were any.

    The document excludes those years by a pattern, which is not looked at where there is a format.
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"[01]\d{3}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)", value):
        return "2" + value[1:]
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
def before_call(context, case, kwargs):
    """What is right stays right here, and what is wrong stays wrong: so nothing is judged anew."""
    # What follows from an answer names its own things, and what is removed is not there for the rest.
    naming = case.method != "DELETE" and case.meta and case.meta.phase.name.value != "stateful"
    for part in (case.path_parameters, case.body):
        if isinstance(part, dict):
            named = {name: known(value) if naming else value for name, value in part.items()}
            part.update({name: plain(value) for name, value in named.items()})
    # Few keys are generated, and again and again: all would be refused for what the first one did.
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and re.fullmatch("[!-~]{1,100}", key):
        case.headers["Idempotency-Key"] = f"{key}{next(NUMBERS)}"
    case._record_starting_state()
