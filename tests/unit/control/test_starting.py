"""What a client is told of a start that cannot be, with real logs."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.execution import exits
from tests.unit.control.api import open_api


async def test_a_container_whose_log_cannot_be_opened_does_not_start(tmp_path: Path) -> None:
    """ATTACKS 36: nor is what is in the log's place written to."""
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / "api").mkdir()
    async with open_api(tmp_path / "api", {("job",): exits(0, stdout=b"line\n")}) as api:
        host = {"LogConfig": {"Type": "json-file", "Config": {}}}
        made = await api.create("job", name="writes", HostConfig=host)
        directory = api.world.manager.find(made).directory
        (directory / f"{made}-json.log").symlink_to(victim)
        reply = await api.ask("POST", f"/containers/{made}/start")
        assert (reply.status, "open json-file log" in reply.message) == (500, True)
        assert api.world.execution.commands == []
        (directory / f"{made}-json.log").unlink()
        assert (await api.ask("POST", f"/containers/{made}/start")).status == 204
    assert victim.read_text() == "untouched"
