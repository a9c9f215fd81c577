"""Restart policies as Docker's options write them."""

from __future__ import annotations

from drivers.errors import InvalidRequest
from supervisor.control.docker.body import RestartPolicyBody
from supervisor.spec import RestartPolicy


def restart_of(asked: RestartPolicyBody | None) -> RestartPolicy:
    """The policy that is asked for. Raises InvalidRequest in Docker's words."""
    if asked is None:
        return RestartPolicy()
    if asked.name not in ("", "no", "always", "on-failure", "unless-stopped"):
        raise InvalidRequest(
            f"invalid restart policy: unknown policy '{asked.name}'; use one of 'no', 'always', "
            "'on-failure', or 'unless-stopped'",
            field="RestartPolicy",
        )
    if asked.maximum_retry_count < 0 or (asked.maximum_retry_count and asked.name != "on-failure"):
        raise InvalidRequest(
            "invalid restart policy: maximum retry count can only be used with 'on-failure' "
            "and cannot be negative",
            field="RestartPolicy",
        )
    if asked.name in ("", "no"):
        return RestartPolicy()
    return RestartPolicy(name=asked.name, give_up_after=asked.maximum_retry_count or None)  # type: ignore[arg-type]
