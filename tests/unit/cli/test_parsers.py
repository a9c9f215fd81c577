"""The command line: every verb has a handler, near misses are named, Docker's words are taken."""

from __future__ import annotations

import argparse
import importlib
import re
from pathlib import Path

import pytest

from supervisor.cli.parsers.root import build, verbs_of

COMPLETIONS = Path(__file__).parents[3] / "contrib" / "completions"


def _verb_parsers() -> dict[str, argparse.ArgumentParser]:
    for action in build()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("no verbs")


@pytest.mark.parametrize("verb", sorted(_verb_parsers()))
def test_every_verb_names_a_function_that_is_there(verb: str) -> None:
    module, _, function = _verb_parsers()[verb].get_default("handler").partition(":")
    assert callable(getattr(importlib.import_module(f"supervisor.cli.{module}"), function))


@pytest.mark.parametrize("file", ["crechectl.bash", "_crechectl", "crechectl.fish"])
def test_completions_know_exactly_the_verbs_that_are_shown(file: str) -> None:
    text = (COMPLETIONS / file).read_text()
    if file == "_crechectl":
        found = re.findall(r"""['"]([a-z]+):[^'"]""", text)
        found += re.findall(r'"(tail):', text)
    else:
        listed = re.search(r"_verbs[ =]\"?(.*?)\n\n", text, re.DOTALL)
        assert listed is not None
        found = re.findall(r"[a-z]+", listed[1])
    assert set(found) == set(verbs_of(build()))


def test_a_wrong_verb_is_told_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        build().parse_args(["sttus"])
    assert ended.value.code == 2
    assert "unknown verb 'sttus', did you mean status?" in capsys.readouterr().err


def test_a_wrong_option_is_told_by_the_verb_with_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        build().parse_args(["run", "--nmae", "x", "image"])
    assert ended.value.code == 125  # as docker run
    assert "did you mean --name?" in capsys.readouterr().err


def test_what_follows_the_image_belongs_to_the_command() -> None:
    args = build().parse_args(["run", "-di", "-e", "A=1", "--rm", "busybox", "sh", "-c", "--rm"])
    assert (args.detach, args.interactive, args.rm, args.env) == (True, True, True, ["A=1"])
    assert (args.image, args.command) == ("busybox", ["sh", "-c", "--rm"])


def test_h_is_the_hostname_of_run() -> None:
    assert build().parse_args(["run", "-h", "web", "busybox"]).hostname == "web"


def test_options_are_not_guessed_from_their_beginning() -> None:
    with pytest.raises(SystemExit):
        build().parse_args(["ps", "--al"])
