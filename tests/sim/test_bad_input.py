"""Bad input: does each fault end with a message that says where, what was wanted and what was got, the right exit code, and
nothing half-written under runs/?"""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_system import DESIGN, ENERGIES, entry

from sim.result import Result

HEADER = "arrival_s,prompt_tokens,output_tokens\n"
HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(autouse=True)
def nothing_half_written(folder: Path):
    """No test here may leave anything under runs/ but whole runs."""
    yield
    runs = folder / "runs"
    for run in runs.iterdir() if runs.exists() else ():
        assert not run.name.startswith("."), f"half-written: {run}"
        assert (run / "result.json").is_file()


def nothing_stored(folder: Path) -> bool:
    return not (folder / "runs").exists() or not list((folder / "runs").iterdir())


# traces


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("", ["trace.csv:1: wanted a trace", "got an empty file"]),
        ("arrival_s,prompt_tokens\n0,5\n", ["trace.csv:1", "output_tokens"]),
        (HEADER + "0,5,5\n1,-3,5\n", ["trace.csv:3", "-3"]),
        (HEADER + "0,5,5\n1,99999999999999999999,5\n", ["trace.csv:3", "99999999999999999999"]),
        (HEADER + "0,5,5\n1,20000000,5\n", ["trace.csv:3", "20000000"]),
        (HEADER + "0,5,5\n1,many,5\n", ["trace.csv:3", "many"]),
        (HEADER + "0,5,5\n1,0,5\n", ["trace.csv:3", "0"]),
        (HEADER + "1,5,5\n0.5,5,5\n", ["trace.csv:3"]),
        (HEADER + "nan,5,5\n", ["trace.csv:2", "nan"]),
        (HEADER, ["trace.csv"]),
        ("\xff\x00", ["trace.csv:1"]),
    ],
    ids=[
        "empty",
        "missing column",
        "negative",
        "huge",
        "too long",
        "no number",
        "zero",
        "unsorted",
        "no time",
        "no rows",
        "binary",
    ],
)
def test_a_faulty_trace_is_refused_with_its_line(rtloom, folder, text: str, messages: list[str]) -> None:
    (folder / "trace.csv").write_text(text, encoding="latin-1")
    done = rtloom("run", "experiment.toml", code=2)
    for message in messages:
        assert message in done.stderr
    assert done.stdout == ""
    assert nothing_stored(folder)


def test_a_trace_that_is_not_there_is_named(rtloom, folder) -> None:
    done = rtloom("run", "experiment.toml", "--trace", "none.csv", code=2)
    assert "none.csv: cannot read the trace: No such file or directory" in done.stderr


def test_a_trace_that_may_not_be_read_is_a_storage_error(rtloom, folder, monkeypatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("workloads.readers.read_trace", refuse)
    assert "trace.csv: cannot read the trace: Permission denied" in rtloom("run", "experiment.toml", code=4).stderr


# what does not fit


def test_a_model_that_does_not_fit_is_infeasible(rtloom, folder) -> None:
    done = rtloom("run", "experiment.toml", "--model", "llama-2-70b", code=3)
    assert "Small GPU: llama-2-70b does not fit: weights take 137.95 GB" in done.stderr
    assert "of 72.00 GB that memory 'hbm' gives (90 % of its capacity)" in done.stderr
    assert nothing_stored(folder)


def test_one_model_of_several_that_does_not_fit_stops_all_before_serving(rtloom, folder) -> None:
    more = '\n[[systems]]\ndesign = "small.toml"\nname = "large"\nmodel = "llama-2-70b"\n'
    (folder / "experiment.toml").write_text((folder / "experiment.toml").read_text() + more)
    assert "llama-2-70b does not fit" in rtloom("run", "experiment.toml", code=3).stderr
    assert nothing_stored(folder)


def overlong(folder: Path) -> None:
    (folder / "trace.csv").write_text(HEADER + "0,100,10\n1,5000,10\n2,100,10\n")


def test_a_request_beyond_the_context_is_counted_clipped_or_an_error(rtloom, folder) -> None:
    overlong(folder)

    def metrics(*options: str) -> dict:
        return rtloom("run", "experiment.toml", "--json", *options).json()["results"][0]["metrics"]

    rejected, clipped = metrics(), metrics("--overlong", "clip")
    assert (rejected["completed"], rejected["rejected_context"], rejected["clipped"]) == (2, 1, 0)
    assert (clipped["completed"], clipped["rejected_context"], clipped["clipped"]) == (3, 0, 1)
    done = rtloom("run", "experiment.toml", "--overlong", "error", code=2)
    assert "request 1: wanted prompt + output of at most 4096 tokens, got 5000 + 10" in done.stderr


def test_a_trace_of_overlong_requests_alone_is_infeasible(rtloom, folder) -> None:
    (folder / "trace.csv").write_text(HEADER + "0,5000,10\n")
    assert "exceed the context of llama-2-7b, 4096 tokens" in rtloom("run", "experiment.toml", code=3).stderr
    assert nothing_stored(folder)


def test_a_request_beyond_the_kv_cache_is_counted_or_infeasible(rtloom, folder) -> None:
    small = ("--set", "device.memories.hbm.capacity=15.1 GB")  # room for some two hundred tokens beside the weights
    (folder / "trace.csv").write_text(HEADER + "0,40,10\n1,2000,10\n")
    metrics = rtloom("run", "experiment.toml", "--json", *small).json()["results"][0]["metrics"]
    assert (metrics["completed"], metrics["rejected_kv_cache"]) == (1, 1)
    (folder / "trace.csv").write_text(HEADER + "1,2000,10\n")
    said = rtloom("run", "experiment.toml", *small, code=3).stderr
    assert "no request of trace fits the KV cache of 208 tokens beside the weights" in said


# designs and experiments


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"gpu_tensor_core"', '"gpu_tensor_cor"', "units.tensor: unknown unit 'gpu_tensor_cor'; did you mean 'gpu_tensor_core'?"),
        ('kind = "dram"', 'kind = "dramm"', "unknown memory 'dramm'; did you mean 'dram'?"),
        ('kind = "dram"\n', "", "memories.hbm: wanted the key 'kind' (memory: "),
        ('"1.41 GHz"', '"1.41 GB"', "clock: wanted a frequency with its unit, such as '1.41 GHz', got '1.41 GB'"),
        ('"1.41 GHz"', "1.41", "clock: wanted a frequency with its unit, such as '1.41 GHz', got the bare value 1.41"),
        ('"80 GB"', '"80 gb"', "memories.hbm.capacity: wanted a capacity with its unit, such as '80 GB', got '80 gb'"),
        ("cores = 108", "coers = 108", "coers: unknown key; did you mean 'cores'?"),
        ('linear = "tensor"', 'linear = "tensr"', "placement.linear: unknown unit 'tensr'; did you mean 'tensor'?"),
        ('memory = "hbm"', 'memory = "ddr"', "placement.weights: unknown memory 'ddr'"),
        ("count = 108", "count = 100", "units.tensor.count: wanted a multiple of the 108 cores, got 100"),
        ('standard = "hbm2e"', 'standard = "hbm2x"', "unknown"),
        ("[placement]", "[placement", "not TOML: "),
        ('calibration = "ideal"', 'calibration = "idael"', "did you mean 'ideal'?"),
    ],
)
def test_a_faulty_design_is_refused_with_its_key(rtloom, folder, old: str, new: str, message: str) -> None:
    text = (folder / "small.toml").read_text()
    assert old in text
    (folder / "small.toml").write_text(text.replace(old, new, 1))
    done = rtloom("run", "experiment.toml", code=2)
    assert "small.toml: " in done.stderr
    assert message in done.stderr
    assert nothing_stored(folder)


def test_a_faulty_system_is_not_said_to_be_missing_as_well(rtloom, folder) -> None:
    (line,) = rtloom("run", "experiment.toml", "--set", "systems.0.replicas=0", code=2).stderr.splitlines()
    assert line.startswith("rtloom: experiment.toml: systems.0.replicas: ")


def test_all_faults_of_a_design_are_said_at_once_one_per_line(rtloom, folder) -> None:
    text = (folder / "small.toml").read_text()
    for old, new in (('"1.41 GHz"', '"1.41 V"'), ('"80 GB"', "80"), ("cores = 108", 'cores = "many"'), ("lanes", "lanes")):
        text = text.replace(old, new, 1)
    (folder / "small.toml").write_text(text + "\n[nonsense]\n")
    lines = rtloom("run", "experiment.toml", code=2).stderr.splitlines()
    assert len(lines) == 4
    for key in ("units.tensor", "memories.hbm.capacity", "cores", "nonsense"):
        assert any(f"small.toml: {key}" in line for line in lines), key


def test_every_missing_energy_is_named_before_anything_is_served(rtloom, folder) -> None:
    (folder / "small.toml").write_text(DESIGN + "".join(entry(*e) for e in ENERGIES if e[1] not in ("write_byte", "lane_op")))
    done = rtloom("run", "experiment.toml", code=2)
    assert "Small GPU: no energy entry in technology none for: " in done.stderr
    assert "hbm (dram) event 'write_byte'" in done.stderr
    assert "vector (gpu_vector_unit) event 'lane_op'" in done.stderr
    assert "read_byte" not in done.stderr
    assert nothing_stored(folder)


def test_a_design_that_cannot_execute_an_op_says_which(rtloom, folder) -> None:
    done = rtloom("run", "experiment.toml", "--precision", "weights=ternary,activations=int8", code=2)
    assert "units.tensor cannot execute linear" in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('file = "trace.csv"', "", "trace: wanted one of 'file' (a trace), 'profile'"),
        ('file = "trace.csv"', 'profile = "azure_conv"', "trace.profile: "),
        ('file = "trace.csv"', 'file = "trace.csv"\nrate = 4.0', "trace: wanted 'rate' and 'arrivals' with a 'profile' alone"),
        ('kind = "chunked_prefill"', 'kind = "chunked"', "policy: unknown policy 'chunked'; did you mean 'chunked_prefill'?"),
        ('design = "small.toml"', 'design = "smal"', "unknown design 'smal'"),
        ('model = "llama-2-7b"\n', "", "systems.0.model: missing; wanted a model here or at the top level"),
        ('name = "small"', 'nmae = "small"', "nmae: unknown key; did you mean 'name'?"),
        ('name = "small"', "name = 3", "name: "),
        ('name = "small"', 'name = "small"\nseed = -1', "seed: "),
        ('design = "small.toml"', 'design = "small.toml"\n[[systems]]\ndesign = "small.toml"', "wanted distinct names"),
        ('design = "small.toml"', 'design = "small.toml"\nreplicas = 0', "systems.0.replicas: "),
    ],
)
def test_a_faulty_experiment_is_refused_with_its_key(rtloom, folder, old: str, new: str, message: str) -> None:
    text = (folder / "experiment.toml").read_text()
    assert old in text
    (folder / "experiment.toml").write_text(text.replace(old, new, 1))
    assert message in rtloom("run", "experiment.toml", code=2).stderr
    assert nothing_stored(folder)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bitnet_lt"], "unknown experiment or design 'bitnet_lt'; did you mean 'bitnet_lut'?"),
        (["none.toml"], "none.toml: cannot read the experiment: No such file or directory"),
        (["small.toml"], "--model: missing; wanted the model that the designs serve"),
        (["small.toml", "--model", "llama-2-7b"], "--trace: missing; wanted a trace file, or --profile"),
        (["experiment.toml", "--policy", "fcf"], "unknown policy 'fcf'; did you mean 'fcfs'?"),
        (
            ["experiment.toml", "--rate", "4"],
            "trace: wanted 'rate' and 'arrivals' with a 'profile' alone, got them with a 'file'",
        ),
        (["experiment.toml", "--model", "."], "config.json: cannot read the model: No such file or directory"),
        (["experiment.toml", "--set", "systems.0.set=3", "--set", "device.cores=1"], "systems.0.set: "),
        (["/dev/zero"], "/dev/zero: wanted a file of at most 1000000 bytes, got a larger one"),
        (["experiment.toml", "--set", "trace"], "--set: wanted key.path=value, got 'trace'"),
        (["experiment.toml", "--set", "device.nonsense=3"], "nonsense: unknown key"),
        (["experiment.toml", "--overlong", "drop"], "drop"),
        (["experiment.toml", "--requests", "0"], "Invalid value for '--requests'"),
        (["experiment.toml", "--profile", "azure_conversation", "--rate", "0"], "rate"),
    ],
)
def test_wrong_words_on_the_command_line_are_answered(rtloom, folder, words: list[str], message: str) -> None:
    assert message in rtloom("run", *words, code=2).stderr
    assert nothing_stored(folder)


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 2_000 + "]" * 2_000, ".".join("a" * 2_000) + " = 1", "a = " + "9" * 5000],
    ids=["arrays", "tables", "integer"],
)
def test_a_file_that_no_parser_can_take_is_refused(rtloom, folder, text: str) -> None:
    wanted = "wanted integers of at most 4000 digits and at most 50 levels"
    (folder / "deep.toml").write_text(text)
    assert f"deep.toml: {wanted}" in rtloom("run", "deep.toml", code=2).stderr
    assert f"deep.toml: {wanted}" in rtloom("price", "deep.toml", "--model", "llama-2-7b", "--decode", "1x1", code=2).stderr
    said = rtloom("run", "experiment.toml", "--set", text.replace(" = ", "=", 1), code=2).stderr
    assert wanted in said


def test_a_file_that_is_too_large_or_no_text_is_refused(rtloom, folder) -> None:
    (folder / "small.toml").write_bytes(b"#" * 1_000_001)
    assert (
        "small.toml: wanted a file of at most 1000000 bytes, got a larger one" in rtloom("run", "experiment.toml", code=2).stderr
    )
    (folder / "small.toml").write_bytes(b"name = '\xff'")
    assert "small.toml: wanted UTF-8 text" in rtloom("run", "experiment.toml", code=2).stderr


# interrupts and disks


def command(root: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    return [sys.executable, "-m", "sim.cli", *arguments], os.environ | {"PYTHONPATH": str(root)}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(folder, root, number: signal.Signals) -> None:
    many = ("--profile", "azure_conversation", "--requests", "300000", "--rate", "50")
    words, environment = command(root, "run", "experiment.toml", *many)
    run = subprocess.Popen(words, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (folder / "runs").exists() and time.monotonic() < deadline:  # created once serving is about to begin
        time.sleep(0.02)
    time.sleep(0.2)
    run.send_signal(number)
    stdout, stderr = run.communicate(timeout=60)
    assert run.returncode == 130, stderr
    assert stderr == "rtloom: interrupted; nothing half-written was kept\n"
    assert stdout == ""
    assert nothing_stored(folder)


def test_a_disk_that_is_full_is_a_storage_error(rtloom, folder, monkeypatch) -> None:
    def full(self: Result, path: Path) -> None:
        path.write_bytes(b"PAR1 half of a")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Result, "write_requests", full)
        done = rtloom("run", "experiment.toml", code=4)
    assert "cannot write it: No space left on device; nothing was stored there" in done.stderr
    assert nothing_stored(folder)
    rtloom("run", "experiment.toml")


def test_a_file_that_may_grow_no_further_is_a_storage_error(folder, root) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    words, environment = command(root, "run", "experiment.toml")
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    done = subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 4, done.stderr
    assert "cannot write it: File too large; nothing was stored there" in done.stderr
    assert nothing_stored(folder)


def test_a_full_stdout_is_a_storage_error(folder, root) -> None:
    words, environment = command(root, "price", "small.toml", "--model", "llama-2-7b", "--prefill", "8", "--json")
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, env=environment, cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 4
    assert done.stderr == "rtloom: No space left on device\n"


def test_a_reader_that_goes_away_is_no_error(folder, root) -> None:
    words, environment = command(root, "list", "models", "--json")
    run = subprocess.Popen(words, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert run.stderr is not None
    run.stdout.close()
    assert run.stderr.read() == ""
    run.stderr.close()
    assert run.wait() == 0


def test_a_store_that_cannot_be_made_is_said_at_once(rtloom, folder) -> None:
    (folder / "runs").write_text("in the way")
    assert "runs: cannot write it: File exists" in rtloom("run", "experiment.toml", code=4).stderr
    (folder / "runs").unlink()


# names


def test_a_hostile_name_stays_a_name(rtloom, folder) -> None:
    hostile = HOSTILE + "\x1b[31m[red]"
    done = rtloom("run", "experiment.toml", "--set", f"systems.0.name={hostile}")
    assert "\x1b" not in done.stdout + done.stderr
    assert HOSTILE + "\\x1b[31m[red]" in done.stdout
    listed = rtloom("run", "experiment.toml", "--set", f"systems.0.name={hostile}", "--json").json()
    assert listed["results"][0]["name"] == hostile


def test_a_hostile_name_does_nothing_in_a_report(rtloom, folder) -> None:
    rtloom("compare", "experiment.toml", "--set", f"systems.0.name={HOSTILE}", "--set", f"name={HOSTILE}", "--out", "out")
    html, markdown = (folder / "out" / "report.html").read_text(), (folder / "out" / "report.md").read_text()
    for text in (html, markdown):
        assert "<img src=x" not in text
    assert HOSTILE.partition("<img")[0] + "<img" not in html


def test_a_design_named_by_markup_is_only_text(rtloom, folder) -> None:
    (folder / "small.toml").write_text((folder / "small.toml").read_text().replace("Small GPU", "[bold]x[/bold]"))
    assert "[bold]x[/bold]" in rtloom("run", "experiment.toml").stdout


def test_all_faults_of_a_design_come_at_once_those_between_keys_included(rtloom, folder) -> None:
    text = DESIGN.replace('linear = "tensor"', 'linear = "tensr"').replace("count = 108", "count = 107", 1)
    (folder / "wrong.toml").write_text(text.replace('clock = "1.41 GHz"', "clock = 3", 1))
    said = rtloom("price", "wrong.toml", "--model", "llama-2-7b", "--decode", "1x10", code=2).stderr
    for message in (
        "wrong.toml: units.tensor.clock: wanted a frequency with its unit",
        "wrong.toml: placement.linear: unknown unit 'tensr'; did you mean 'tensor'?",
        "wrong.toml: units.tensor.count: wanted a multiple of the 108 cores, got 107",
    ):
        assert message in said


def test_a_named_pipe_is_no_design(rtloom, folder) -> None:
    os.mkfifo(folder / "pipe.toml")
    assert "pipe.toml: wanted a file" in rtloom("price", "pipe.toml", "--model", "llama-2-7b", "--decode", "1x1", code=2).stderr


def test_a_bench_without_the_trace_it_was_given_fails(rtloom) -> None:
    said = rtloom("bench", "azure_4rep_cpu_s", "--trace", "nowhere.csv", code=2).stderr
    assert "--trace: wanted a file, got 'nowhere.csv'" in said
