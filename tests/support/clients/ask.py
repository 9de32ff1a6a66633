"""A client program for tests: it requests a whole and a streamed response, and prints both bodies.

    python ask.py CLIENT BASE_URL MODEL

It knows nothing about proxies and certificates: only its environment leads it through the recorder.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

HEADERS = {"Authorization": "Bearer sk-test"}


def request(model: str, *, stream: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "Hello!"}]}
    return body | {"stream": True, "stream_options": {"include_usage": True}} if stream else body


def by_requests(base_url: str, model: str) -> tuple[str, str]:
    import requests

    url = base_url + "/chat/completions"
    whole = requests.post(url, json=request(model, stream=False), headers=HEADERS, timeout=30)
    with requests.post(url, json=request(model, stream=True), headers=HEADERS, timeout=30, stream=True) as streamed:
        body = b"".join(streamed.iter_content(None))
    return whole.text, body.decode()


def by_httpx(base_url: str, model: str) -> tuple[str, str]:
    import httpx

    url = base_url + "/chat/completions"
    with httpx.Client(headers=HEADERS, timeout=30) as client:
        whole = client.post(url, json=request(model, stream=False))
        with client.stream("POST", url, json=request(model, stream=True)) as streamed:
            return whole.text, "".join(streamed.iter_text())


def by_urllib(base_url: str, model: str) -> tuple[str, str]:
    from urllib.request import Request, urlopen

    texts = []
    for stream in (False, True):
        data = json.dumps(request(model, stream=stream)).encode()
        headers = HEADERS | {"Content-Type": "application/json"}
        with urlopen(Request(base_url + "/chat/completions", data, headers), timeout=30) as response:
            texts.append(response.read().decode())
    return texts[0], texts[1]


def by_aiohttp(base_url: str, model: str) -> tuple[str, str]:
    import aiohttp

    async def ask() -> tuple[str, str]:
        url = base_url + "/chat/completions"
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            async with session.post(url, json=request(model, stream=False)) as response:
                whole = await response.text()
            async with session.post(url, json=request(model, stream=True)) as response:
                return whole, b"".join([data async for data in response.content.iter_any()]).decode()

    return asyncio.run(ask())


def by_openai(base_url: str, model: str) -> tuple[str, str]:
    import openai

    with openai.OpenAI(api_key="sk-test", base_url=base_url, max_retries=0) as client:
        create: Any = client.chat.completions.create
        whole = create(**request(model, stream=False)).model_dump_json(exclude_unset=True)
        chunks = [chunk.model_dump_json(exclude_unset=True) for chunk in create(**request(model, stream=True))]
    return whole, "".join(f"data: {chunk}\n\n" for chunk in chunks)


CLIENTS = {
    "requests": by_requests,
    "httpx": by_httpx,
    "urllib": by_urllib,
    "aiohttp": by_aiohttp,
    "openai": by_openai,
}


def main(client: str, base_url: str, model: str) -> None:
    whole, streamed = CLIENTS[client](base_url, model)
    json.dump({"whole": whole, "streamed": streamed}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
