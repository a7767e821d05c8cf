"""When schedules are due, on ordinary days and on those when clocks change."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from apps.chat.schedules.timing import Timing, timing_of
from somaagent.errors import SomaError

BERLIN = ZoneInfo("Europe/Berlin")


def local_runs(cron: str, after: datetime, count: int, zone: str = "Europe/Berlin") -> list[str]:
    return [run.isoformat() for run in Timing(cron, zone).coming(count, after)]


def test_eight_in_the_morning_stays_eight_in_the_morning_when_summer_begins():
    timing = Timing("0 8 * * *", "Europe/Berlin")
    before = timing.next_after(datetime(2026, 3, 27, 12, tzinfo=UTC))
    on_the_day = timing.next_after(before)
    assert before == datetime(2026, 3, 28, 7, tzinfo=UTC)
    assert on_the_day == datetime(2026, 3, 29, 6, tzinfo=UTC)


def test_a_time_that_the_clocks_skip_comes_right_after_the_gap():
    assert local_runs("30 2 * * *", datetime(2026, 3, 28, 12, tzinfo=BERLIN), 2) == [
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]


def test_a_time_that_the_clocks_repeat_comes_once_the_first_time():
    assert local_runs("30 2 * * *", datetime(2026, 10, 24, 12, tzinfo=BERLIN), 2) == [
        "2026-10-25T02:30:00+02:00",
        "2026-10-26T02:30:00+01:00",
    ]


def test_who_asks_in_the_repeated_hour_is_not_told_a_time_that_is_over():
    in_the_second_pass = datetime(2026, 10, 25, 2, 10, tzinfo=BERLIN, fold=1)
    assert local_runs("15,45 2 * * *", in_the_second_pass, 1) == ["2026-10-26T02:15:00+01:00"]


def test_what_is_due_each_half_hour_goes_on_each_half_hour():
    skipped = local_runs("*/30 * * * *", datetime(2026, 3, 29, 1, 10, tzinfo=BERLIN), 2)
    assert skipped == ["2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00"]
    repeated = local_runs("*/30 * * * *", datetime(2026, 10, 25, 2, 10, tzinfo=BERLIN), 4)
    assert repeated == [
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T02:30:00+01:00",
        "2026-10-25T03:00:00+01:00",
    ]


def test_within_one_hour_what_is_skipped_is_not_run_and_what_comes_twice_is_run_twice():
    skipped = local_runs("*/30 2 * * *", datetime(2026, 3, 28, 12, tzinfo=BERLIN), 1)
    assert skipped == ["2026-03-30T02:00:00+02:00"]
    assert local_runs("*/30 2 * * *", datetime(2026, 10, 24, 12, tzinfo=BERLIN), 4) == [
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T02:30:00+01:00",
    ]


def test_clocks_that_change_by_half_an_hour():
    day = datetime(2026, 10, 3, 12, tzinfo=ZoneInfo("Australia/Lord_Howe"))
    assert local_runs("15 2 * * *", day, 2, "Australia/Lord_Howe") == [
        "2026-10-04T02:30:00+11:00",
        "2026-10-05T02:15:00+11:00",
    ]


def test_the_last_working_day_and_the_second_tuesday():
    day = datetime(2026, 1, 1, tzinfo=UTC)
    assert local_runs("0 17 LW * *", day, 2, "UTC") == [
        "2026-01-30T17:00:00+00:00",
        "2026-02-27T17:00:00+00:00",
    ]
    assert local_runs("0 9 * * TUE#2", day, 1, "UTC") == ["2026-01-13T09:00:00+00:00"]


def test_spaces_do_not_matter():
    assert timing_of(cron="  0   8 * *\tmon-fri ", time_zone="UTC") == Timing("0 8 * * mon-fri", "UTC")


@pytest.mark.parametrize(
    ("cron", "says"),
    [
        ("", "five fields"),
        ("every day", "five fields"),
        ("* * * * * *", "five fields"),
        ("*/5 * * * * 2026", "five fields"),
        ("@daily", "five fields"),
        ("61 * * * *", "minute"),
        ("0 25 * * *", "hour"),
        ("0 0 32 * *", "day-of-month"),
        ("0 0 * 13 *", "month"),
        ("0 0 * * 9", "day-of-week"),
        ("*/0 * * * *", "minute"),
        ("٣ * * * *", "minute"),
        ("0 0 30 2 *", "day-of-month"),
    ],
)
def test_a_cron_expression_that_is_none(cron, says):
    with pytest.raises(SomaError) as refused:
        timing_of(cron=cron, time_zone="UTC")
    assert (refused.value.code, refused.value.field) == ("cron_invalid", "body.cron")
    assert says in refused.value.message


@pytest.mark.parametrize("zone", ["", "Europe", "Mars/Phobos", "../../etc/passwd", "europe/berlin", "+01:00"])
def test_a_time_zone_that_is_none(zone):
    with pytest.raises(SomaError) as refused:
        timing_of(cron="0 8 * * *", time_zone=zone, place="query")
    assert (refused.value.code, refused.value.field) == ("time_zone_unknown", "query.time_zone")
