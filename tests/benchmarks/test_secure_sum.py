"""The measurement of a secure sum counts all bytes; it checks the sum itself."""

from tests.helpers.benchmark_command import play


def test_a_small_sum_is_measured() -> None:
    printed, _ = play("secure_sum", "4", "1000", "1")
    *_, line = printed.splitlines()
    stores, parameters, dropped, *_, up, plain, times = line.split()
    assert (stores, parameters, dropped, plain) == ("4", "1,000", "1", "4,000")
    # keys 256 bytes with the certificate, 82 for each other store, 34 for each holder
    assert 4000 + 256 + 3 * 82 + 4 * 34 < int(up.replace(",", "")) < 6000
    assert float(times) == round(int(up.replace(",", "")) / 4000, 4)
