"""Errors cross process boundaries: each survives pickling, and says whether to try again."""

from __future__ import annotations

import pickle

import pytest

from storage import errors
from storage.errors import ERROR_KINDS, RETRYABLE_KINDS, MediamillError, Permanent, Transient


def _classes(root: type[BaseException]) -> list[type[BaseException]]:
    return [root, *(c for sub in root.__subclasses__() for c in _classes(sub))]


# Of that room alone: other rooms add their own below its classes.
TREE = [c for c in _classes(MediamillError) if c.__module__ == "storage.errors"]


def test_the_tree_is_what_the_room_defines() -> None:
    defined = {v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)}
    assert set(TREE) == defined
    assert len(TREE) == 19
    for error in TREE:
        assert error.__name__ in (errors.__doc__ or "") or error is MediamillError


@pytest.mark.parametrize("error", TREE, ids=lambda c: c.__name__)
def test_every_class_survives_pickling(error: type[BaseException]) -> None:
    fields = ("corrupt", "row 7: broken") if error is errors.RowError else ("what, where, and how",)
    before = error(*fields)
    before.add_note("seen elsewhere")
    after = pickle.loads(pickle.dumps(before))
    assert type(after) is error
    assert str(after) == str(before)
    assert after.args == before.args
    assert vars(after) == vars(before)


@pytest.mark.parametrize("error", TREE, ids=lambda c: c.__name__)
def test_a_class_is_transient_or_permanent_and_never_both(error: type[BaseException]) -> None:
    assert not (issubclass(error, Transient) and issubclass(error, Permanent))
    if error not in (MediamillError, errors.RowError):
        assert issubclass(error, (Transient, Permanent))


@pytest.mark.parametrize("kind", ERROR_KINDS)
def test_a_row_error_says_its_kind_and_whether_another_day_may_help(kind: errors.ErrorKind) -> None:
    error = errors.RowError(kind, "a.png: so it is")
    assert str(error) == f"{kind}: a.png: so it is"
    assert error.retryable == (kind in RETRYABLE_KINDS)


def test_what_may_be_retried_is_a_kind() -> None:
    assert set(ERROR_KINDS) > RETRYABLE_KINDS
