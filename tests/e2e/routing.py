"""What tests of the router share: answers that fail, are slow or well, and many requests at once."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import canned
from gateway import request
from mock import Answer

FAILS = Answer(500, canned.error("down"))
WELL = Answer(body=canned.chat())


def settings(**router):
    """router_settings with cooldowns on, unless a test turns them off."""
    return {"disable_cooldowns": None, **router}


def many(server, count, threads=8, **body):
    """So many requests over several connections; their statuses."""
    asked = request({"model": "m", "messages": [{"role": "user", "content": "x"}], **body})

    def some(number):
        with server.connect(60) as raw:
            return [raw.send(asked).answer()[0] for _ in range(number)]

    with ThreadPoolExecutor(threads) as pool:
        parts = pool.map(some, [count // threads + (at < count % threads) for at in range(threads)])
    return Counter(status for part in parts for status in part)


def slow(seconds):
    return Answer(body=canned.chat(), delay_s=seconds)
