"""Alarms that are posted to a real server."""

import pytest

from fedshelf.client.notifications.background import NotSentError
from fedshelf.client.notifications.webhook import check_webhook, webhook
from fedshelf.common.errors import ConfigError
from tests.helpers.webhook_server import webhook_server


def test_a_message_is_posted_once() -> None:
    with webhook_server() as server:
        webhook(server.url)({"class": "Mäntel"})
    assert server.messages == [{"class": "Mäntel"}]


def test_it_is_tried_again_while_the_server_is_away() -> None:
    with webhook_server([503, 500, 429]) as server:
        webhook(server.url, first_pause=0.001)({"n": 1})
    assert server.messages == [{"n": 1}] * 4


def test_it_gives_up_after_some_tries() -> None:
    with webhook_server([503] * 9) as server:
        with pytest.raises(NotSentError, match=r"127.0.0.1 answered 503, 3 times"):
            webhook(server.url, first_pause=0.001, tries=3)({})
        assert len(server.messages) == 3
    with pytest.raises(NotSentError, match=r"did not answer \(ConnectError\), 2 times"):
        webhook(server.url, first_pause=0.001, tries=2)({})


@pytest.mark.parametrize("code", [301, 307, 400, 404])
def test_refusals_and_redirects_are_final(code: int) -> None:
    with webhook_server([code]) as server:
        with pytest.raises(NotSentError, match=f"answered {code}"):
            webhook(server.url, first_pause=0.001)({})
        assert len(server.messages) == 1


@pytest.mark.parametrize(
    "url", ["ftp://host/x", "file:///etc/passwd", "host/x", "http://", "http://host:port/", ""]
)
def test_addresses_of_other_kinds_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="expected http://HOST/PATH"):
        check_webhook(url)
