"""The hospital's page: its commands are few, exist, and lead from nothing to a node that doctor finds well."""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path

import click
import pytest
import typer
from loopback import open_door

from medquorum import cli
from medquorum.client.operations import service
from medquorum.privacy.identity import Identity, fingerprint

PAGE = (Path(__file__).parents[3] / "docs" / "hospital-it.md").read_text(encoding="utf-8")
VENV = "/var/lib/medquorum/venv/bin/medquorum"
NODE = "/var/lib/medquorum/node"


def journey() -> list[str]:
    """The commands of the page's first block."""
    section = PAGE.partition("## From nothing to a running node")[2]
    block = section.partition("```sh\n")[2].partition("```")[0]
    return [line for line in block.splitlines() if line.strip()]


def test_it_takes_at_most_eight_commands() -> None:
    commands = journey()
    assert 1 <= len(commands) <= 8
    assert all(line.startswith("sudo ") and not re.search(r"[;&|\\]", line) for line in commands)
    root = [line for line in commands if "sudo -u medquorum" not in line]
    assert [line.split()[1] for line in root] == ["useradd", VENV], "root makes the user and the unit, and nothing else"


@pytest.mark.slow
def test_they_lead_to_a_node_that_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All but the making of a user and of a Python environment, and with a folder of ours in place of systemd's."""
    other = Identity.create()
    monkeypatch.setattr("sys.stdin", io.StringIO(" ".join(fingerprint(other.public)) + "\n"))
    monkeypatch.setattr(service, "_require_owner", lambda unit: None)
    ours = [line.partition(VENV)[2] for line in journey() if VENV in line and "pip install" not in line]
    with open_door(tmp_path / "door", listed={"south": other}) as door:
        stands_for = {
            "SITE": "north",
            "HOST:PORT": door.address,
            "authority.pem": str(door.authority),
            NODE: str(tmp_path / "node"),
        }
        names: list[str] = []
        for line in ours:
            words = [stands_for.get(word, word) for word in shlex.split(line)]
            if "--start" in words:
                words[words.index("--start") :] = [
                    *words[words.index("--start") + 1 :],
                    "--out",
                    str(tmp_path / "units"),
                ]
            names.append(words[1])
            assert cli.main(words) == 0, capsys.readouterr()
        assert names == ["init", "enrol", "trust", "doctor", "service"]
    assert cli.main(["node", "roster", "--folder", str(tmp_path / "node")]) == 0
    said = capsys.readouterr().out
    assert "south is on this node's roster" in said and said.count("Read these six words") == 1
    assert "failed" not in said
    assert (tmp_path / "units" / "medquorum-node.service").is_file()


def commands(group: click.Group, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], click.Command]:
    found: dict[tuple[str, ...], click.Command] = {}
    for name, one in group.commands.items():
        found[*path, name] = one
        if isinstance(one, click.Group):
            found |= commands(one, (*path, name))
    return found


def test_every_command_that_the_page_speaks_of_exists_with_its_options() -> None:
    root = typer.main.get_command(cli.app)
    assert isinstance(root, click.Group)
    known = commands(root)
    spoken = re.findall(r"(?:`medquorum |venv/bin/medquorum )(node [^`\n]+)", PAGE)
    assert len(spoken) > 15
    for said in spoken:
        words = said.split()
        path = tuple(words[:2])
        if len(words) > 2 and (*path, words[2]) in known:
            path = (*path, words[2])
        assert path in known, said
        options = {option for parameter in known[path].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, said
