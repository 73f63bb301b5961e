"""Are Icarus and OpenSTA installed where they are missing and that is possible, and is the rest said?"""

from pathlib import Path

import pytest

from tools import system_tools


class Machine:
    """What is on PATH, who we are, and what the package manager can do."""

    def __init__(self, monkeypatch, *, on_path: set[str], root: bool = True, lists_are_fresh: bool = True) -> None:
        self.on_path, self.lists_are_fresh, self.ran = on_path, lists_are_fresh, []
        monkeypatch.setattr(system_tools.shutil, "which", lambda name: name if name in self.on_path else None)
        monkeypatch.setattr(system_tools.os, "geteuid", lambda: 0 if root else 1000)
        monkeypatch.setattr(system_tools, "quiet", self.run)
        monkeypatch.setattr(system_tools, "ROOT", Path("/home/me/rtloom"))

    def run(self, command: list[str]) -> bool:
        self.ran.append(command)
        if command[-1] == "update":
            self.lists_are_fresh = True
        if "install" in command:
            if not self.lists_are_fresh:
                return False
            self.on_path |= {name for name, package in system_tools.PACKAGES.items() if package == command[-1]}
        return True


BUILD = {"g++", "make"}


def test_nothing_is_done_where_all_is_there(monkeypatch, capsys):
    machine = Machine(monkeypatch, on_path={"iverilog", "sta", "apt-get"})
    assert system_tools.main() == 0
    assert machine.ran == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("fresh", [True, False])
def test_root_installs_what_is_missing(monkeypatch, fresh):
    machine = Machine(monkeypatch, on_path={"sta", "apt-get"}, lists_are_fresh=fresh)
    assert system_tools.main() == 0
    assert [command[-1] for command in machine.ran] == (["iverilog"] if fresh else ["iverilog", "update", "iverilog"])
    assert all("DEBIAN_FRONTEND=noninteractive" in command for command in machine.ran)


def test_a_user_installs_by_sudo_only_where_it_asks_nothing(monkeypatch):
    machine = Machine(monkeypatch, on_path={"sta", "apt-get", "sudo"}, root=False)
    assert system_tools.main() == 0
    assert machine.ran[0] == ["sudo", "--non-interactive", "true"]
    assert machine.ran[1][:2] == ["sudo", "--non-interactive"]


def test_verilator_takes_the_place_of_icarus(monkeypatch, capsys):
    machine = Machine(monkeypatch, on_path={"sta", "apt-get", *BUILD}, root=False)
    assert system_tools.main() == 0
    assert machine.ran == []
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "apt-get install iverilog" in out


@pytest.mark.parametrize(
    ("on_path", "folder", "lacking"),
    [
        (BUILD, "/home/me/my rtloom", "a checkout without a space in its path"),
        ({"make"}, "/home/me/rtloom", "g++"),
        (set(), "/home/me/rtloom", "g++, make"),
    ],
)
def test_without_any_simulator_one_line_says_what_to_install(monkeypatch, capsys, on_path, folder, lacking):
    Machine(monkeypatch, on_path={"sta", *on_path})
    monkeypatch.setattr(system_tools, "ROOT", Path(folder))
    assert system_tools.main() == 1
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "apt-get install iverilog" in out
    assert out.endswith(f": {lacking}\n")


def test_opensta_is_not_required(monkeypatch, capsys):
    Machine(monkeypatch, on_path={"iverilog"})
    assert system_tools.main() == 0
    assert "apt-get install opensta" in capsys.readouterr().out
