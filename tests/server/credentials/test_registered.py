"""Stores that come to the door before the clerk has registered their keys wait for it."""

import asyncio
from pathlib import Path

import pytest

from fedshelf.client.connection.credentials import new_key
from fedshelf.common.system.files import write_text
from fedshelf.server.credentials.authorizer import key_header
from fedshelf.server.credentials.chain import public_key_text
from fedshelf.server.credentials.registered import RegisteredKeys
from fedshelf.server.credentials.registrar import RegisteredNode, Registrations
from fedshelf.server.ipc.run_mailbox import REGISTRATIONS

OSLO, ROMA = (public_key_text(new_key().public_key()) for _ in range(2))


def note(directory: Path, **keys: str) -> None:
    nodes = {
        str(number): RegisteredNode(store=store, key=key)
        for number, (store, key) in enumerate(keys.items(), 1)
    }
    write_text(directory / REGISTRATIONS, Registrations(nodes=nodes).model_dump_json())


def test_a_store_waits_until_its_key_is_registered_and_another_does_not(tmp_path: Path) -> None:
    async def come() -> None:
        registered = RegisteredKeys(tmp_path)
        watching = asyncio.create_task(registered.watch())
        oslo, roma = (
            asyncio.create_task(registered.wait_for(key_header(key), 60.0)) for key in (OSLO, ROMA)
        )
        await asyncio.sleep(0)
        note(tmp_path, oslo=OSLO)
        assert await oslo
        assert not roma.done()
        assert not await registered.wait_for(key_header(ROMA), 0.0)
        note(tmp_path, oslo=OSLO, roma=ROMA)
        assert await roma
        assert [registered.node_of(key_header(key)) for key in (OSLO, ROMA)] == [1, 2]
        watching.cancel()

    asyncio.run(come())


@pytest.mark.parametrize("text", ["", "{"])
def test_notes_that_cannot_be_read_register_nobody(tmp_path: Path, text: str) -> None:
    write_text(tmp_path / REGISTRATIONS, text)
    assert RegisteredKeys(tmp_path).node_of(key_header(OSLO)) == 0
