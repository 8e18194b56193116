"""Filters of the command line as they are typed."""

from __future__ import annotations

import pytest

from memfold_consumers.cli.errors import UsageError
from memfold_consumers.cli.filters import MessageFilters


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_that_utc_cannot_tell_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="--since is outside the years 1 to 9999"):
        MessageFilters(since=text).arguments()
    with pytest.raises(UsageError, match="--until is outside"):
        MessageFilters(until=text).arguments()
