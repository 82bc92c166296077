"""The store's policy: its file, its errors, its hours."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fedshelf.client.policy.policy import Policy, load_policy, policy_of, policy_template
from fedshelf.client.policy.schedule import (
    DAYS,
    parse_window,
    seconds_until,
    seconds_until_midnight,
)
from fedshelf.common.errors import ConfigError


@pytest.fixture
def berlin() -> Iterator[None]:
    """A place where clocks change, on 29 March and 25 October 2026."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    yield
    os.environ.pop("TZ")
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


def written(folder: Path, text: str) -> Path:
    path = folder / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_commented_file_is_the_default_and_explains_every_key(tmp_path: Path) -> None:
    path = written(tmp_path, policy_template())
    assert load_policy(path) == policy_of(tmp_path) == Policy()
    lines = path.read_text(encoding="utf-8").splitlines()
    for name, field in Policy.model_fields.items():
        place = next(number for number, line in enumerate(lines) if line.startswith(f"{name} = "))
        assert lines[place - 1] == f"# {field.description}"


def test_without_a_file_the_default_holds(tmp_path: Path) -> None:
    assert policy_of(tmp_path) == Policy()


def test_what_a_file_says_is_taken(tmp_path: Path) -> None:
    text = (
        'metrics = "accuracy"\nhours = ["sun 00:00-24:00", "22:00-06:00"]\ngpu_minutes_per_day ='
        ' 90\nmodels = ["cnn"]'
    )
    policy = load_policy(written(tmp_path, text))
    assert policy.changed_values() == {
        "metrics": "accuracy",
        "hours": ["sun 00:00-24:00", "22:00-06:00"],
        "gpu_minutes_per_day": 90.0,
        "models": ["cnn"],
    }
    assert (
        policy.sha256()
        != Policy().sha256()
        == load_policy(written(tmp_path, policy_template())).sha256()
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('metric = "accuracy"', "unknown key 'metric'. Did you mean metrics?"),
        ("walrus = 1", "unknown key 'walrus'. Keys are metrics, further_metrics, class_names"),
        (
            'metrics = "all"',
            (
                "metrics got 'all'; allowed: 'confusion' or 'accuracy'. It means: metrics that"
                " may leave"
            ),
        ),
        ("rounds_per_day = true", "rounds_per_day got True; allowed: valid integer"),
        ('rounds_per_day = "5"', "rounds_per_day got '5'; allowed: valid integer"),
        ("rounds_per_day = -1", "rounds_per_day got -1; allowed: greater than or equal to 0"),
        ("gpu_minutes_per_day = nan", "gpu_minutes_per_day got nan; allowed: finite number"),
        ("gpu_memory_share = 0", "gpu_memory_share got 0; allowed: greater than 0"),
        (
            "least_images_per_class = 0",
            "least_images_per_class got 0; allowed: greater than or equal to 1",
        ),
        ('hours = "22:00-06:00"', "hours got '22:00-06:00'; allowed: valid array"),
        ('hours = ["10pm"]', 'expected "22:00-06:00", with days in front'),
        ("hours = [22:00:00]", 'expected "22:00-06:00", with days in front'),
        ("class_names = false", 'class_names = false needs metrics = "accuracy"'),
        ("metrics = [", "is not valid TOML"),
    ],
)
def test_a_mistake_is_one_clear_sentence(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_policy(written(tmp_path, text))
    assert told in str(caught.value)
    assert str(tmp_path / "policy.toml") in str(caught.value)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_policy(tmp_path / "policy.toml")
    (tmp_path / "policy.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_policy(tmp_path / "policy.toml")


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_file_is_worse_than_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("policy") / "policy.toml"
    path.write_bytes(content)
    with suppress(ConfigError):  # and no other error
        load_policy(path)


def test_a_policy_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Policy().metrics = "accuracy"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        # 2026-11-20 is a Friday
        ("09:00-17:00", ["20 09:00", "20 16:59", "22 12:00"], ["20 08:59", "20 17:00"]),
        (
            "22:00-06:00",
            ["20 22:00", "20 23:59", "21 00:00", "21 05:59"],
            ["20 21:59", "21 06:00", "21 12:00"],
        ),
        ("00:00-24:00", ["20 00:00", "20 23:59"], []),
        ("22:00-00:00", ["20 23:59"], ["21 00:00"]),
        ("sat,sun 00:00-24:00", ["21 00:00", "22 23:59"], ["20 23:59", "23 00:00"]),
        ("fri 22:00-06:00", ["20 23:00", "21 05:00"], ["20 05:00", "21 22:00", "22 05:00"]),
        ("sun 22:00-06:00", ["22 22:00", "23 05:59"], ["22 05:59", "23 06:00"]),
        ("mon-fri 08:00-18:00", ["20 08:00", "23 09:00"], ["21 09:00", "22 09:00"]),
        (
            "fri-mon 08:00-18:00",
            ["20 09:00", "21 09:00", "22 09:00", "23 09:00"],
            ["24 09:00", "19 09:00"],
        ),
        (" SAT 08:00 - 18:00 ", ["21 09:00"], ["20 09:00"]),
    ],
)
def test_hours(window: str, inside: list[str], outside: list[str]) -> None:
    for texts, expected in ((inside, True), (outside, False)):
        for text in texts:
            moment = datetime.strptime(f"2026-11-{text}", "%Y-%m-%d %H:%M")
            assert parse_window(window).contains(moment) is expected, text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "22-06",
        "25:00-06:00",
        "24:01-06:00",
        "12:60-13:00",
        "08:00-08:00",
        "24:00-06:00",
        "abc 08:00-09:00",
        "mon- 08:00-09:00",
        ",mon 08:00-09:00",
        "08:00-09:00-10:00",
    ],
)
def test_no_hours(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_window(text)


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("now", "window", "hours"),
    [
        ("2026-11-20T21:30", "22:00-06:00", 0.5),
        ("2026-11-20T22:00", "22:00-06:00", 0),
        ("2026-11-20T06:00", "22:00-06:00", 16),
        ("2026-11-20T12:00", "sun 00:00-24:00", 36),
        ("2026-11-22T12:00", "fri 22:00-23:00", 5 * 24 + 10),
        ("2026-11-20T23:00", "fri 22:00-23:00", 7 * 24 - 1),
        ("2026-03-28T23:00", "04:00-05:00", 4),  # an hour is left out in this night
        ("2026-10-24T23:00", "04:00-05:00", 6),  # and one comes twice in this
    ],
)
def test_waiting_for_the_hours(now: str, window: str, hours: float) -> None:
    assert (
        seconds_until([parse_window(window)], datetime.fromisoformat(now).timestamp())
        == hours * 3600
    )


@pytest.mark.usefixtures("berlin")
def test_a_day_is_as_long_as_its_clock_says() -> None:
    lengths = {day: seconds_until_midnight(datetime.fromisoformat(day).timestamp()) / 3600
               for day in ("2026-03-29", "2026-06-01", "2026-10-25")}  # fmt: skip
    assert lengths == {"2026-03-29": 23, "2026-06-01": 24, "2026-10-25": 25}


times = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1))
windows = st.builds(
    lambda days, begin,
    end: f"{','.join(days)} {begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}",
    st.lists(st.sampled_from(DAYS), min_size=1, unique=True), st.integers(0, 1439),
    st.integers(0, 1439),
).filter(lambda text: text[-11:-6] != text[-5:])  # fmt: skip


@pytest.mark.usefixtures("berlin")
@given(times, st.lists(windows, min_size=1, max_size=3))
def test_after_waiting_it_is_time_and_not_a_minute_before(
    moment: datetime, texts: list[str]
) -> None:
    read = [parse_window(text) for text in texts]
    now = moment.timestamp()
    wait = seconds_until(read, now)
    assert 0 <= wait <= 8 * 86_400
    assert seconds_until(read, now + wait) == 0 or _clocks_change(now, now + wait)
    if wait:
        before = now + max(wait - 60, 0)
        assert seconds_until(read, before) > 0 or _clocks_change(now, now + wait)


def _clocks_change(begin: float, end: float) -> bool:
    """Tell whether local time jumps in between, so that a window's begin may not exist or comes
    twice.
    """
    return (
        datetime.fromtimestamp(begin).astimezone().utcoffset()
        != (datetime.fromtimestamp(end) + timedelta(hours=1)).astimezone().utcoffset()
    )
