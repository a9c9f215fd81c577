"""Whether and when an ended container starts again."""

from __future__ import annotations

import random

from supervisor.spec import RestartPolicy


def wants_restart(policy: RestartPolicy, *, exit_code: int, was_ready: bool, failures: int) -> bool:
    """Whether the policy starts a container again that ended by itself with `exit_code`.

    Ending before it was ready is a failure whatever the code. `failures` counts the ends in a
    row without a long enough run between, this one included.
    """
    if policy.name == "no" or gave_up(policy, failures=failures):
        return False
    return policy.name != "on-failure" or exit_code != 0 or not was_ready


def gave_up(policy: RestartPolicy, *, failures: int) -> bool:
    """Whether it has failed more often than the policy puts up with."""
    return policy.give_up_after is not None and failures > policy.give_up_after


def count_failures(policy: RestartPolicy, *, earlier: int, ran_s: float) -> int:
    """The failures in a row after an end, having run for `ran_s` seconds."""
    return 1 if ran_s >= policy.reset_after_s else earlier + 1


def next_delay_s(policy: RestartPolicy, *, failures: int, rng: random.Random) -> float:
    """Seconds to wait before the restart after so many failures in a row (1 or more)."""
    exponent = min(failures - 1, 64)  # far past any maximum, and far from overflow
    delay_s = min(policy.delay_min_s * policy.factor**exponent, policy.delay_max_s)
    return delay_s * (1 + policy.jitter * rng.uniform(-1, 1))
