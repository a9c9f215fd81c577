"""The verbs of Docker for images: images, load, import, tag, rmi; and what is about the host."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from typing import IO, Any

from supervisor.cli.client import API, Client, ClientError
from supervisor.cli.output import print_json, print_table, size_words, waiting_for


def add_parsers(verbs: Any) -> None:
    """Declare the verbs."""
    parser = verbs.add_parser("images", help="list images")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(act=images)
    parser = verbs.add_parser("load", help="take the images of an archive (docker save, OCI)")
    parser.add_argument("-i", "--input", metavar="FILE", help="default: standard input")
    parser.set_defaults(act=load)
    parser = verbs.add_parser("import", help="make an image of a tar of a root file system")
    parser.add_argument("file", help="a file, or - for standard input")
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("-c", "--change", action="append", default=[], metavar="INSTRUCTION")
    parser.add_argument("-m", "--message", default="")
    parser.set_defaults(act=import_image)
    parser = verbs.add_parser("tag", help="give an image another name")
    parser.add_argument("image")
    parser.add_argument("name")
    parser.set_defaults(act=tag)
    parser = verbs.add_parser("rmi", help="remove images")
    parser.add_argument("-f", "--force", action="store_true")
    parser.add_argument("names", nargs="+", metavar="IMAGE")
    parser.set_defaults(act=rmi)
    for verb, act, text in (
        ("info", info, "about the daemon and its host"),
        ("version", version, "versions of client and daemon"),
        ("doctor", doctor, "what works on this host, and why the rest does not"),
    ):
        parser = verbs.add_parser(verb, help=text)
        parser.add_argument("--json", action="store_true")
        parser.set_defaults(act=act)


def images(client: Client, options: argparse.Namespace) -> int:
    """List images."""
    found = client.call("GET", "/images/json")
    if options.json:
        print_json(found)
        return 0
    rows = []
    for image in found:
        for name in image["RepoTags"]:
            repository, _, tag_ = name.rpartition(":")
            created = time.strftime("%Y-%m-%d %H:%M", time.localtime(image["Created"]))
            short = image["Id"].removeprefix("sha256:")[:12]
            rows.append([repository, tag_, short, created, size_words(image["Size"])])
    print_table(["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"], rows)
    return 0


def _open(path: str | None) -> IO[bytes]:
    if path in (None, "-"):
        if sys.stdin.isatty():
            raise ClientError("no input: give a file with -i, or pipe an archive in")
        return sys.stdin.buffer
    try:
        return open(str(path), "rb")
    except OSError as error:
        raise ClientError(f"{path}: {(error.strerror or '').lower()}") from error


def load(client: Client, options: argparse.Namespace) -> int:
    """Load an archive."""
    with _open(options.input) as file, waiting_for("loading"):
        answer = client.open("POST", f"{API}/images/load", None, file, "application/x-tar")
        text = "".join(json.loads(line)["stream"] for line in answer)
    print(text, end="")
    return 0


def import_image(client: Client, options: argparse.Namespace) -> int:
    """Import a root file system."""
    query = {
        "fromSrc": "-",
        "repo": options.name,
        "changes": options.change,
        "message": options.message,
    }
    with _open(options.file) as file, waiting_for("importing"):
        answer = client.open("POST", f"{API}/images/create", query, file, "application/x-tar")
        print(json.loads(answer.read())["status"])
    return 0


def tag(client: Client, options: argparse.Namespace) -> int:
    """Tag an image."""
    client.call("POST", f"/images/{options.image}/tag", {"repo": options.name})
    return 0


def rmi(client: Client, options: argparse.Namespace) -> int:
    """Remove images."""
    for name in options.names:
        for done in client.call("DELETE", f"/images/{name}", {"force": options.force}):
            for word, what in done.items():
                print(f"{word}: {what}")
    return 0


def info(client: Client, options: argparse.Namespace) -> int:
    """About the daemon."""
    found = client.call("GET", "/info")
    if options.json:
        print_json(found)
        return 0
    for key, value in found.items():
        if isinstance(value, str | int) and value not in ("", None):
            print(f"{key}: {value}")
    return 0


def version(client: Client, options: argparse.Namespace) -> int:
    """Versions."""
    found = client.call("GET", "/version")
    if options.json:
        print_json(found)
    else:
        print(found["Version"])
    return 0


def doctor(client: Client, options: argparse.Namespace) -> int:
    """0 if every driver works; without a daemon the host is looked at from here."""
    try:
        with client.open("GET", "/creche/doctor") as answer:
            findings = json.loads(answer.read())
    except ClientError:
        findings = _examine_from_here()
    if options.json:
        print_json(findings)
    else:
        rows = [
            [f["kind"], f["name"], "yes" if f["works"] else "no", f.get("problem", "")]
            for f in findings
        ]
        print_table(["KIND", "NAME", "WORKS", "PROBLEM"], rows)
    return 0 if all(f["works"] for f in findings) else 1


def _examine_from_here() -> Any:
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-m", "supervisor.daemon", "--doctor"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode:
        raise ClientError(done.stderr.strip().removeprefix("creched: error: "))
    return json.loads(done.stdout)
