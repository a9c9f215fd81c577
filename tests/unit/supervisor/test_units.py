"""Unit files and settings: what they say, and how they say that they are wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from drivers.errors import ConfigError
from supervisor.config import parse_arguments
from supervisor.spec import Bind, ResourceLimits, Tmpfs
from supervisor.units import compare, load_units, parse_units

WEB = """
[container.web]
image = "web:3"
command = "gunicorn app --bind '0.0.0.0:80'"
env = { A = "1", DEBUG = true, N = 3 }
group = "shop"
replicas = 2
requires = ["db"]
volumes = ["/srv/data:/data:ro"]
tmpfs = ["/run"]
limits = { memory = "512MiB", cpus = 1.5, pids = 200 }
stop = { signal = "SIGINT", grace_s = 30 }
log = [{ driver = "json-file", max-size = "10m" }]

[container.db]
rootfs = "/srv/db"
command = ["postgres"]
"""


def test_a_unit_becomes_a_spec_for_each_replica() -> None:
    web, db = parse_units(WEB, "w.toml")
    first, second = web.specs
    assert (first.name, second.name, web.group) == ("web_00", "web_01", "shop")
    assert first.argv == ("gunicorn", "app", "--bind", "0.0.0.0:80")
    assert first.env == ("A=1", "DEBUG=true", "N=3")
    bind = Bind(source="/srv/data", target="/data", read_only=True, make_source=True)
    assert first.mounts == (bind, Tmpfs(target="/run"))
    wanted = ResourceLimits(memory_bytes=512 * 1024**2, nano_cpus=1_500_000_000, pids=200)
    assert first.limits == wanted
    assert (first.stop_signal, first.stop_grace_s) == ("SIGINT", 30)
    assert first.log[0].options == {"max-size": "10m"}
    assert first.isolation.no_new_privs
    assert first.restart.name == "on-failure"
    assert (db.specs[0].name, db.specs[0].rootfs, db.group) == ("db", "/srv/db", "db")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[container.aa]\nimage = "x"\ncomand = "y"',
            'u.toml:3: container.aa.comand: unknown key, did you mean "command"?',
        ),
        (
            '[container.aa]\nimage = "x"\nlimits = { memry = 1 }',
            "u.toml:3: container.aa.limits.memry: unknown key",
        ),
        ('[container.aa.limits]\ncpus = 1\nmemry = 1\n[container.aa]\nimage="x"', "u.toml:"),
        ("[container.aa]\nimage = 3", "u.toml:2: container.aa.image: expected `str`, got `int`"),
        (
            '[container.aa]\nimage = "x"\nreplicas = 0',
            "u.toml:3: container.aa.replicas: must be 1 to 1000",
        ),
        ('[container.aa]\nimage = "x"\nlimits = { memory = "5 apples" }', "is not a size"),
        (
            '[container.aa]\nimage = "x"\nstop = { signal = "SIGNOPE" }',
            "container.aa.stop.signal: invalid signal 'SIGNOPE'",
        ),
        (
            '[container.aa]\nimage = "x"\nrestart = { policy = "sometimes" }',
            "container.aa.restart.policy: invalid enum value 'sometimes', known are always, no",
        ),
        (
            '[container.aa]\nimage = "x"\nstop = { grace_s = -1 }',
            "u.toml:3: container.aa.stop.grace_s: cannot be negative",
        ),
        ('[container.aa]\nimage = "BAD//"', "u.toml:2: container.aa.image: invalid reference"),
        (
            '[container.aa]\nimage = "x"\nenv = { "" = "y" }',
            "u.toml:3: container.aa.env: '' is not a name",
        ),
        (
            '[container.aa]\nimage = "x"\nenv = ["=y"]',
            "u.toml:3: container.aa.env: '=y' is not NAME=value",
        ),
        (
            '[container.aa]\nimage = "x"\nvolumes = ["named:/x"]',
            "a named volume (named) is not implemented yet",
        ),
        ('[container.aa]\nimage = "x"\nrootfs = "/y"', "give either image or rootfs"),
        ("[container.aa]\n", "give either image or rootfs"),
        ('[container."a b"]\nimage = "x"', "u.toml:1: container.a b: names have"),
        (
            '[contaner.aa]\nimage = "x"',
            'u.toml:1: contaner: unknown key, did you mean "container"?',
        ),
        ('[container.aa]\nimage = "x', "u.toml:2: "),
        ("x = " + "[" * 5000, "u.toml: nested too deeply"),
        ("# " + "x" * 2_000_000, "u.toml: larger than"),
    ],
)
def test_an_error_names_file_line_key_and_the_way_out(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_units(text, "u.toml")
    assert said in str(caught.value)


ISOLATED = """
[container.aa]
image = "x"
cap_add = ["net_admin"]
cap_drop = ["ALL"]
seccomp = "unconfined"
system_paths = true
devices = ["/dev/fuse", "/dev/net:/dev/n:r", "/dev/null:rw"]
device_cgroup_rules = ["c 42:* rmw"]
sysctls = { "net.ipv4.ip_forward" = 1 }
init = true
pid = "container:bb"
ipc = "shareable"
cgroupns = "host"
group_add = ["wheel", 5]
oom_score_adj = 7
[container.aa.ulimits]
nofile = 1024
nproc = { soft = 10, hard = 20 }
"""


def test_the_keys_of_isolation_are_those_of_docker_run() -> None:
    found = parse_units(ISOLATED, "u")[0].specs[0].isolation
    assert (found.cap_add, found.cap_drop) == (("net_admin",), ("ALL",))
    assert (found.seccomp, found.masked_paths, found.readonly_paths) == ("unconfined", (), ())
    assert [(d.source, d.target, d.access) for d in found.devices] == [
        ("/dev/fuse", "/dev/fuse", "rwm"),
        ("/dev/net", "/dev/n", "r"),
        ("/dev/null", "/dev/null", "rw"),
    ]
    assert [(u.name, u.soft, u.hard) for u in found.ulimits] == [
        ("nofile", 1024, 1024),
        ("nproc", 10, 20),
    ]
    assert found.sysctls == {"net.ipv4.ip_forward": "1"}
    assert (found.init, found.pid_mode, found.ipc_mode) == (True, "container:bb", "shareable")
    assert (found.cgroupns_mode, found.group_add) == ("host", ("wheel", "5"))
    assert (found.no_new_privs, found.privileged) == (True, False)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('cap_drop = ["FOO"]', 'cap_drop: invalid CapDrop: unknown capability: "CAP_FOO"'),
        ('ipc = "foo"', "ipc: invalid IPC mode: foo"),
        ('seccomp = "/nowhere"', "seccomp: /nowhere cannot be read: "),
        ('seccomp = "x"', "seccomp: 'x' is neither builtin, unconfined nor the absolute path"),
        ('userns = "yes"', "userns: invalid userns mode: yes"),
        ('userns = "map:uid=0:-1:1"', "userns: invalid userns map 'uid=0:-1:1'"),
        ("ulimits = { foo = 1 }", "ulimits: invalid ulimit type: foo"),
        ("ulimits = { core = { soft = 1, hrad = 2 } }", "unknown key, did you mean"),
        ("oom_score_adj = 2000", "oom_score_adj: Invalid value 2000"),
        ('device_cgroup_rules = ["a"]', "device_cgroup_rules: invalid device cgroup rule"),
        ('sysctls = { "vm.x" = 1 }', 'sysctls: sysctl "vm.x" is not in a separate'),
        ('devices = ["/a:b:c:d"]', "devices: '/a:b:c:d' is not HOST[:CONTAINER[:ACCESS]]"),
        ('uts = "host"\nhostname = "x"', "hostname: conflicting options"),
        ('cap_ad = ["x"]', 'cap_ad: unknown key, did you mean "cap_add"?'),
    ],
)
def test_a_wrong_key_of_isolation_is_told_with_its_place(line: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_units(f'[container.aa]\nimage = "x"\n{line}\n', "u.toml")
    assert str(caught.value).startswith("u.toml:")
    assert f"container.aa.{said}" in str(caught.value) or said in str(caught.value)


def test_a_profile_is_part_of_the_units_definition(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    digests = []
    for action in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG"):
        file.write_text(f'{{"defaultAction": "{action}"}}')
        spec = parse_units(f'[container.aa]\nimage = "x"\nseccomp = "{file}"\n', "u")[0].specs[0]
        assert spec.isolation.seccomp == file.read_text()
        assert spec.unit is not None
        digests.append(spec.unit.digest)
    assert digests[0] != digests[1]
    file.write_text('{"defaultAction": "SCMP_ACT_NOPE"}')
    with pytest.raises(ConfigError, match=r"u:3: container\.aa\.seccomp: invalid seccomp profile"):
        parse_units(f'[container.aa]\nimage = "x"\nseccomp = "{file}"\n', "u")


def write(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        (directory / f"{name}.toml").write_text(text)
    return directory


def test_a_circle_is_named(tmp_path: Path) -> None:
    text = "".join(
        f'[container.{a}{a}]\nimage = "x"\nrequires = ["{b}{b}"]\n' for a, b in ("ab", "bc", "ca")
    )
    with pytest.raises(
        ConfigError,
        match=r"u.toml:[369]: container\...\.requires: goes in a circle: (aa|bb|cc) -> .* -> ",
    ):
        load_units(write(tmp_path, u=text))


def test_a_required_unit_must_be_there(tmp_path: Path) -> None:
    text = '[container.aaa]\nimage = "x"\nrequires = ["aab"]\n'
    said = "u.toml:3: container.aaa.requires: there is no unit 'aab', did you mean \"aaa\"?"
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_units(write(tmp_path, u=text))


def test_a_name_is_defined_once_over_all_files(tmp_path: Path) -> None:
    unit = '[container.aa]\nimage = "x"\n'
    with pytest.raises(
        ConfigError, match=r"b\.toml:1: container\.aa: defined already in .*a\.toml"
    ):
        load_units(write(tmp_path, a=unit, b=unit))
    for file in tmp_path.iterdir():
        file.unlink()
    replicas = '[container.aa]\nimage = "x"\nreplicas = 2\n'
    with pytest.raises(ConfigError, match=r"b\.toml:1: .* a replica is named aa_01"):
        load_units(write(tmp_path, a=replicas, b='[container.aa_01]\nimage = "x"\n'))


def test_the_difference_tells_added_changed_and_removed_groups() -> None:
    one, two = frozenset({"1"}), frozenset({"2"})
    found = compare(
        {"same": one, "changed": one, "gone": one}, {"same": one, "changed": two, "new": one}
    )
    assert (found.added, found.changed, found.removed) == (["new"], ["changed"], ["gone"])


def test_a_changed_definition_has_another_digest() -> None:
    before, after = (parse_units(t, "w")[0].specs[0] for t in (WEB, WEB.replace("web:3", "web:4")))
    again = parse_units("# a comment\n" + WEB, "w")[0].specs[0]
    assert before.unit is not None
    assert after.unit is not None
    assert again.unit is not None
    assert before.unit.digest == again.unit.digest != after.unit.digest


def test_options_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "creche.toml"
    file.write_text('root = "/from-file"\nlog-driver = "none"\nlog-opt = { a = "b" }\n')
    config = parse_arguments(["--config", str(file), "--root", "/from-option"]).config
    assert (config.root, config.log_driver, config.log_opt) == ("/from-option", "none", {"a": "b"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rot = 1", 'c.toml:1: rot: unknown key, did you mean "root"?'),
        ("\nroot = 1", "c.toml:2: root: expected `str`, got `int`"),
        ('log-level = "loud"', "c.toml:1: log-level: invalid enum value 'loud'"),
    ],
)
def test_wrong_settings_are_told_in_the_same_form(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        parse_arguments(["--config", str(tmp_path / "c.toml")])
    assert said in str(caught.value)


def test_the_examples_are_right() -> None:
    examples = Path(__file__).parents[3] / "contrib" / "examples"
    assert {"db", "web", "redis"} <= load_units(examples).keys()
