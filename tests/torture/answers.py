"""What is asked and answered: kinds of exchanges, a row each, and the bytes of every one, which its marker decides."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random

from tests.support.clients.wire import DONE, FINISH, event


@dataclass(frozen=True)
class Kind:
    """How exchanges of this kind pass, and how they are recorded if nobody stops them."""

    outcome: str
    weight: int
    status: int = 200
    streamed: bool = True
    #: At least and at most so many events, and seconds between two.
    events: tuple[int, int] = (0, 0)
    pause: float = 0.02
    #: The client hangs up, or the provider breaks off, after this share of the events.
    hang_up_after: float | None = None
    break_off_after: float | None = None
    #: The request is sent in so many pieces, a pause between two.
    request_pieces: int = 1
    request_padding: int = 0


KINDS = {
    "plain": Kind("complete", 6, streamed=False),
    "refused": Kind("http_error", 2, status=429, streamed=False),
    "stream": Kind("complete", 6, events=(5, 60)),
    "fast": Kind("complete", 2, events=(100, 300), pause=0.002),
    "long": Kind("complete", 4, events=(100, 400)),
    "abandoned": Kind("client_aborted", 2, events=(20, 60), hang_up_after=0.5),
    "broken": Kind("upstream_aborted", 2, events=(20, 60), break_off_after=0.5),
    "upload": Kind("complete", 2, events=(5, 20), request_pieces=8, request_padding=400_000),
}


def kind_of(marker: str) -> Kind:
    return KINDS[marker.partition("-")[0]]


def request_body(marker: str) -> bytes:
    """A chat request with one message of its own and one that all send."""
    kind = kind_of(marker)
    messages = [
        {"role": "system", "content": "You are measured."},
        {"role": "user", "content": marker + "x" * kind.request_padding},
    ]
    return json.dumps({"model": "m", "stream": kind.streamed, "messages": messages}).encode()


def words(marker: str) -> list[str]:
    """The text of the answer, an event's worth each."""
    random = Random(marker)
    return [f"{marker}.{position} " for position in range(random.randint(*kind_of(marker).events))]


def answer_pieces(marker: str) -> list[bytes]:
    """The answer's body as the provider sends it, piece by piece."""
    kind = kind_of(marker)
    if kind.streamed:
        return [*map(event, words(marker)), FINISH + DONE]
    if kind.status != 200:
        return [json.dumps({"error": {"message": marker, "type": "rate_limit"}}).encode()]
    choice = {"index": 0, "message": {"role": "assistant", "content": marker}, "finish_reason": "stop"}
    return [json.dumps({"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice]}).encode()]


def text_within(marker: str, size: int) -> str | None:
    """The text that the first bytes of the answer's body bring; None where they bring none."""
    if not kind_of(marker).streamed:
        (body,) = answer_pieces(marker)
        return marker if size == len(body) and kind_of(marker).status == 200 else None
    text = ""
    for word in words(marker):
        size -= len(event(word))
        if size < 0:
            break
        text += word
    return text
