"""Cached health of the SuperLink: any number of questions cause few requests to it."""

import asyncio
import time

import httpx

HEALTH_FRESH_SECONDS = 0.25  # seconds for which an answer is reused
SUPERLINK_TIMEOUT_SECONDS = 2.0  # seconds for the SuperLink to answer


class SuperLinkHealth:
    """The health of the SuperLink behind `client`."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._lock = asyncio.Lock()
        self._asked = float("-inf")
        self._is_well = False

    async def is_well(self) -> bool:
        """Return the SuperLink's answer, which may be a moment old."""
        async with self._lock:
            if time.monotonic() - self._asked > HEALTH_FRESH_SECONDS:
                self._is_well = await self._ask()
                self._asked = time.monotonic()
            return self._is_well

    async def _ask(self) -> bool:
        try:
            return (await self._client.get("/health", timeout=SUPERLINK_TIMEOUT_SECONDS)).is_success
        except httpx.TransportError:
            return False
