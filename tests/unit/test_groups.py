"""Requests go into an engine by groups, all of them, in order, and none waits without a reason."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.groups import WITHIN_S, Groups


def held(count: int, *, size: int = 4, most: int = 10, at: float = 0.0) -> Groups[int]:
    groups: Groups[int] = Groups(size, most)
    for number in range(count):
        groups.put(str(number), number, at)
    return groups


def numbers(groups: Groups[int], running: int, now: float = 0.0) -> list[int]:
    return [item for _, item in groups.take(running, now)]


def test_a_group_goes_in_together() -> None:
    groups = held(3)
    assert numbers(groups, 0) == []
    groups.put("3", 3, 0.0)
    assert numbers(groups, 0) == [0, 1, 2, 3]
    assert groups.wait_s(0.0) is None


def test_fewer_wait_for_others_no_longer_than_a_moment() -> None:
    groups = held(3)
    assert groups.wait_s(0.05) == WITHIN_S - 0.05
    assert numbers(groups, 0, WITHIN_S - 0.01) == []
    assert numbers(groups, 0, WITHIN_S) == [0, 1, 2]


def test_where_it_is_nearly_full_a_group_waits_until_a_group_has_ended() -> None:
    groups = held(6)
    assert numbers(groups, 7, 5.0) == []
    assert numbers(groups, 6, 5.0) == [0, 1, 2, 3], "and no more than there is room for"
    assert numbers(groups, 10, 5.0) == []
    assert numbers(groups, 9, 5.0) == [], "two are held, and there is room for one"
    assert numbers(groups, 8, 5.0) == [4, 5]


def test_by_ones_each_goes_in_as_it_comes() -> None:
    assert numbers(held(5, size=1), 7) == [0, 1, 2]


def test_what_is_dropped_does_not_go_in() -> None:
    groups = held(5)
    assert groups.drop("1")
    assert not groups.drop("1")
    assert numbers(groups, 0) == [0, 2, 3, 4]
    assert not groups.drop("0")


@given(
    size=st.integers(1, 20),
    most=st.integers(1, 20),
    happens=st.lists(st.sampled_from(["put", "end", "wait"]), max_size=200),
)
def test_all_go_in_once_in_order_and_never_too_many_run(
    size: int, most: int, happens: list[str]
) -> None:
    groups: Groups[int] = Groups(size, most)
    now, put, running = 0.0, 0, 0
    seen: list[int] = []
    for what in (*happens, *["wait", "end"] * 200):
        match what:
            case "put":
                groups.put(str(put), put, now)
                put += 1
            case "end":
                running -= min(running, 1)
            case "wait":
                now += WITHIN_S
        came = numbers(groups, running, now)
        running += len(came)
        seen += came
        assert running <= most
        waiting = put - len(seen)
        if what == "wait" and waiting:
            # Only room can be what they wait for, and that of a group at most.
            assert most - running < min(waiting, size)
    assert seen == list(range(put))
