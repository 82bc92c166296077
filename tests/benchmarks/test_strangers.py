"""The measurement of strangers: its verdicts, and that each crowd can be named."""

import socket
import ssl

from benchmarks import strange_clients, strangers


def test_a_crowd_is_judged_by_the_ratio_within_a_turn() -> None:
    samples = {
        strangers.ALONE: [{"round": 1.0}, {"round": 2.0}, {"round": 4.0}],
        "calm": [{"round": 1.4}, {"round": 3.0}, {"round": 6.4}],  # 1.4, 1.5 and 1.6 times
        "wild": [{"round": 1.6}, {"round": 3.2}, {"round": 1.0}],
    }
    assert strangers.verdicts(samples) == [
        ("calm: 1.50 times as long as undisturbed, at most 1.5", True),
        ("wild: 1.60 times as long as undisturbed, MORE than 1.5", False),
    ]


def test_each_kind_of_stranger_has_a_name() -> None:
    assert strangers.NAMES.keys() == strange_clients.KINDS.keys()


def test_a_connection_that_the_server_ended_is_found_and_no_other() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        crowd = strange_clients.Strangers(listener.getsockname()[1], ssl.create_default_context())
        with crowd:
            crowd.silent(3)
            accepted = [listener.accept()[0] for _ in range(3)]
            assert crowd.forget_ended() == 0
            accepted[1].close()
            assert crowd.forget_ended() == 1
            assert [each.getsockname() for each in crowd.connections] == [
                accepted[number].getpeername() for number in (0, 2)
            ]
            for number in (0, 2):
                accepted[number].close()
