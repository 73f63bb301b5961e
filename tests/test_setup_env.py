"""Is .venv made once, kept while it fits the checkout, added to, and made anew when it does not?"""

import json
import os
import shutil
import sys
import threading
import tomllib
from pathlib import Path

import pytest

from tools import setup_env
from tools.setup_env import SetupError


@pytest.fixture
def checkout(root, tmp_path, monkeypatch) -> Path:
    """A checkout, in a path with a space, that holds what the set-up reads."""
    folder = tmp_path / "a checkout"
    folder.mkdir()
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(root / name, folder)
    monkeypatch.setattr(setup_env, "ROOT", folder)
    return folder


@pytest.fixture
def commands(checkout, monkeypatch) -> list[tuple[str, ...]]:
    """The commands that the set-up runs, recorded; the one that makes an environment makes its folder anew."""
    ran: list[tuple[str, ...]] = []

    def record(what: str, *command: str) -> None:
        ran.append(command)
        if command[1:3] == ("-m", "venv"):
            shutil.rmtree(setup_env.ROOT / ".venv", ignore_errors=True)
            (setup_env.ROOT / ".venv").mkdir()

    monkeypatch.setattr(setup_env, "call", record)
    return ran


def project(checkout: Path) -> dict:
    return tomllib.loads((checkout / "pyproject.toml").read_text())["project"]


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_first_makes_the_environment_then_installs_base_then_the_project(checkout, commands):
    setup_env.set_up(set())
    make, base, itself = commands
    assert make == (setup_env.base_python(), "-m", "venv", "--clear", ".venv")
    assert base[base.index("-c") :] == ("-c", "constraints.txt", "hatchling>=1.27", *project(checkout)["dependencies"])
    assert itself[-4:] == ("--no-build-isolation", "--no-deps", "--editable", ".")
    assert not any("torch" in word or "cocotb" in word for command in commands for word in command)


def test_a_second_time_nothing_is_done(commands):
    for _ in range(2):
        setup_env.set_up({"dev"})
        setup_env.set_up(set())
        assert len(commands) == 3


def test_extras_are_added_without_touching_the_rest(checkout, commands):
    setup_env.set_up({"dev"})
    commands.clear()
    setup_env.set_up({"rtl", "dev"})
    (added,) = commands
    assert added[added.index("constraints.txt") + 1 :] == tuple(project(checkout)["optional-dependencies"]["rtl"])
    assert setup_env.read_stamp(checkout / ".venv")["extras"] == ["dev", "rtl"]


def test_a_moved_checkout_is_set_up_anew(checkout, commands, monkeypatch, capsys):
    setup_env.set_up({"dev"})
    commands.clear()
    monkeypatch.setattr(setup_env, "ROOT", checkout.rename(checkout.with_name("moved")))
    setup_env.set_up(set())
    assert len(commands) == 3
    assert "the checkout has moved" in capsys.readouterr().out
    assert setup_env.read_stamp(setup_env.ROOT / ".venv")["extras"] == []


def test_another_python_means_anew(commands, monkeypatch, capsys):
    setup_env.set_up(set())
    monkeypatch.setattr(setup_env, "base_python", lambda: "/opt/another/python3")
    setup_env.set_up(set())
    assert len(commands) == 6
    assert "Python has changed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("pyproject.toml", "simpy>=4.1.2", "simpy>=4.1.3"),
        ("pyproject.toml", "sim.cli:main", "sim.cli:other"),
        ("constraints.txt", "simpy==4.1.2", "simpy==4.1.3"),
    ],
)
def test_changed_requirements_mean_anew(checkout, commands, capsys, file, old, new):
    setup_env.set_up(set())
    edit(checkout / file, old, new)
    setup_env.set_up(set())
    assert len(commands) == 6
    assert "the requirements have changed" in capsys.readouterr().out


def test_changed_linter_settings_do_not(checkout, commands):
    setup_env.set_up(set())
    edit(checkout / "pyproject.toml", "line-length = 130", "line-length = 100")
    setup_env.set_up(set())
    assert len(commands) == 3


@pytest.mark.parametrize("extras_before", [set(), {"dev"}])
def test_an_interrupted_set_up_starts_over(checkout, commands, monkeypatch, extras_before):
    setup_env.set_up(extras_before)

    def interrupt(what, *command):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(setup_env, "call", interrupt)
        assert setup_env.main(["rtl"]) == 130
    commands.clear()
    setup_env.set_up(set())
    assert commands[0][1:3] == ("-m", "venv")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"extras": []}', '{"origin": 1, "extras": []}', '{"origin": {}, "extras": []}']
)
def test_a_stamp_that_says_nothing_means_anew(checkout, commands, text):
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / setup_env.STAMP).write_text(text)
    setup_env.set_up(set())
    assert len(commands) == 3
    assert json.loads((checkout / ".venv" / setup_env.STAMP).read_text())["origin"]["root"] == str(checkout)


def test_a_failed_command_stops_the_set_up_in_one_line(checkout, monkeypatch, capfd):
    monkeypatch.setattr(setup_env, "base_python", lambda: "false")
    assert setup_env.main([]) == 1
    err = capfd.readouterr().err
    assert err == "set-up: could not make .venv: the command above ended with status 1\n"
    assert setup_env.read_stamp(checkout / ".venv") is None


def test_commands_run_in_the_checkout_without_settings_that_mislead_pip(checkout, monkeypatch):
    for name in setup_env.MISLEADING:
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.setenv("PIP_RETRIES", "7")
    tell = "import json, os; json.dump([os.getcwd(), dict(os.environ)], open('seen', 'w'))"
    setup_env.call("look around", sys.executable, "-c", tell)
    folder, seen = json.loads((checkout / "seen").read_text())
    assert folder == os.path.realpath(checkout)
    assert seen.keys().isdisjoint(setup_env.MISLEADING)
    assert seen["PIP_RETRIES"] == "7"


def test_without_debians_python3_venv_one_line_says_what_to_install(checkout, monkeypatch, capsys):
    monkeypatch.setattr(setup_env.importlib.util, "find_spec", lambda name: None)
    assert setup_env.main([]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "apt-get install python3-venv" in err


def test_an_old_python_is_told_so_in_one_line(checkout, monkeypatch, capsys):
    monkeypatch.setattr(setup_env.sys, "version_info", (3, 9, 2))
    assert setup_env.main([]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "needs Python 3.11 or later" in err


def test_an_unknown_extra_is_named(checkout, capsys):
    assert setup_env.main(["rlt"]) == 1
    assert "unknown extra rlt; pyproject.toml declares calibrate, dev, rtl, sweep" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_is_no_folder_is_not_replaced(checkout, commands, kind):
    venv = checkout / ".venv"
    venv.symlink_to(checkout) if kind == "link" else venv.touch()
    with pytest.raises(SetupError, match="move it away"):
        setup_env.set_up(set())
    assert commands == []


def test_a_second_set_up_waits_for_the_first(checkout, capsys):
    order = []

    def second() -> None:
        with setup_env.only_one(checkout / ".venv.lock"):
            order.append("second")

    thread = threading.Thread(target=second)
    with setup_env.only_one(checkout / ".venv.lock"):
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert "waiting for another set-up" in capsys.readouterr().out
