"""What a call is refused with, for tests that hold one refusal for many callers and list those that miss it."""

import re

import pytest

from tasksel import UserError


def refusal(call):
    """The message of the `UserError` that a call ends in, or None where nothing is refused."""
    try:
        call()
    except UserError as error:
        return str(error)
    return None


def refused_line(call, *arguments, **options):
    """The one line that a call is refused with; fails where nothing is refused, or in several lines."""
    with pytest.raises(UserError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def not_refused(calls, pattern):
    """Of calls by name, those that are not refused with a message that matches a pattern: name and what was said instead."""
    said = {name: refusal(call) for name, call in calls.items()}
    return {name: message for name, message in said.items() if message is None or not re.search(pattern, message)}
