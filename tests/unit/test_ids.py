"""Ids that sort by time."""

from datetime import UTC, datetime, timedelta

from somaagent.tenancy.fields import first_id, uuid7


def test_rows_since_a_moment_have_its_first_id_or_a_greater_one():
    before, made, after = datetime.now(UTC), uuid7(), datetime.now(UTC)

    assert first_id(before) <= made < first_id(after + timedelta(milliseconds=1))
    assert first_id(before).version == 7
