"""Are the four formats read exactly, and is every corrupt row refused with file and line?"""

import json
import os

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workloads import readers
from workloads.readers import parse_trace, read_trace
from workloads.trace import Trace, TraceError

AZURE = b"TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 23:59:59.9999999,374,44\r\n2023-11-17 00:00:00.0000001,396,109"
VIDUR = b"request,arrived_at,num_prefill_tokens,num_decode_tokens\n0,0.25,10,20\n1,1e-05,1,2\n"
RTLOOM = b"arrival_s,prompt_tokens,output_tokens\n"
MOONCAKE = b'{"timestamp": 3, "input_length": 600, "output_length": 7, "hash_ids": [4, 5]}\n'


def test_azure_times_are_exact_to_100_ns_and_count_from_the_first_row():
    trace = parse_trace(AZURE, "a/conv.csv")
    assert (trace.name, trace.source) == ("conv", "Azure CSV")
    assert trace.arrival_ps.tolist() == [0, 200_000]
    assert (trace.prompt.tolist(), trace.output.tolist()) == ([374, 396], [44, 109])


def test_azure_time_zones_are_allowed_for():
    rows = b"2024-05-10 00:00:00.009930+00:00,10,5\n2024-05-10 02:00:01.009930+02:00,10,5\n"
    assert parse_trace(b"TIMESTAMP,ContextTokens,GeneratedTokens\n" + rows, "t").arrival_ps.tolist() == [0, 10**12]


def test_vidur_seconds_are_decimals_and_other_columns_ignored():
    rows = VIDUR.replace(b"1e-05", b"0.250000000001")
    assert parse_trace(rows, "v.csv").arrival_ps.tolist() == [250_000_000_000, 250_000_000_001]
    early = b"arrived_at,num_prefill_tokens,num_decode_tokens\n1e-05,1,2\n2.5e-1,3.0,4\n"
    assert parse_trace(early, "v.csv").arrival_ps.tolist() == [10_000_000, 250_000_000_000]


def test_mooncake_hashes_are_kept():
    trace = parse_trace(MOONCAKE + b"\n" + MOONCAKE, "m.jsonl")
    assert trace.arrival_ps.tolist() == [3 * 10**9] * 2
    assert (trace.prefix, trace.prefix_block) == ([(4, 5), (4, 5)], 512)
    assert parse_trace(b'{"timestamp": 3, "input_length": 6, "output_length": 7}', "m").prefix is None


def test_columns_may_come_in_any_order_after_a_byte_order_mark():
    text = "\ufeffGeneratedTokens, TIMESTAMP ,ContextTokens\n5,2023-11-16 00:00:00,9\n"
    trace = parse_trace(text.encode(), "t")
    assert (trace.prompt.tolist(), trace.output.tolist()) == ([9], [5])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"t.csv:1: wanted a trace \(Azure: .*got an empty file"),
        (b"\n \n", "t.csv:1: .*got an empty file"),
        (RTLOOM, "t.csv:2: wanted at least one request, got none"),
        (b"a,b,c\n1,2,3\n", "t.csv:1: wanted the header of a known format .*got a,b,c"),
        (AZURE.replace(b"ContextTokens", b"ContextToken"), "t.csv:1: wanted the column 'ContextTokens' .*spelt 'ContextToken'"),
        (b"arrival_s,prompt_tokens\n0,1\n", "t.csv:1: wanted the column 'output_tokens' of the rtloom format"),
        (b"arrival_s,prompt_tokens,output_tokens,output_tokens\n", "t.csv:1: wanted one column 'output_tokens', got 2"),
        (RTLOOM + b"0,1,2\n1,-5,2\n", "t.csv:3: wanted a prompt of 1 to 10000000 tokens, got -5"),
        (RTLOOM + b"0,0,2\n", "t.csv:2: wanted a prompt of 1 to 10000000 tokens, got 0"),
        (RTLOOM + b"0,1,0\n", "t.csv:2: wanted an output of 1 to 10000000 tokens, got 0"),
        (RTLOOM + b"0,10000001,1\n", "t.csv:2: wanted a prompt of 1 to 10000000 tokens, got 10000001"),
        (RTLOOM + b"0," + b"9" * 5000 + b",1\n", "t.csv:2: wanted a prompt of 1 to 10000000 tokens, got 999"),
        (RTLOOM + b"0,many,1\n", "t.csv:2: wanted a whole number of tokens in 'prompt_tokens', got many"),
        (RTLOOM + b"0,nan,1\n", "t.csv:2: wanted a whole number of tokens in 'prompt_tokens', got nan"),
        (RTLOOM + b"0,1.5,1\n", "t.csv:2: wanted a whole number of tokens in 'prompt_tokens', got 1.5"),
        (RTLOOM + b"0,,1\n", "t.csv:2: wanted a whole number of tokens in 'prompt_tokens', got ''"),
        (RTLOOM + b"nan,1,1\n", "t.csv:2: wanted a time such as 12.5 in 'arrival_s', got nan"),
        (RTLOOM + b"-1,1,1\n", "t.csv:2: wanted a time such as 12.5 in 'arrival_s', got -1"),
        (RTLOOM + b"1e99,1,1\n", "t.csv: wanted times within 9000000 s"),
        (RTLOOM + b"2,1,1\n\n1,1,1\n", "t.csv:4: wanted a time not before that of the row above, got 1"),
        (RTLOOM + b"0,1\n", "t.csv:2: wanted 3 fields, as in the header, got 2: 0,1"),
        (RTLOOM + b"0,1,1,1\n", "t.csv:2: wanted 3 fields, as in the header, got 4"),
        (RTLOOM + b'0,"1,1\n', "t.csv:2: wanted comma-separated values"),
        (RTLOOM + b"0,1,1\n0,\xe9,1\n", "t.csv:3: wanted UTF-8 text, got the byte 0xe9"),
        (RTLOOM.decode().encode("utf-16"), "t.csv:1: wanted UTF-8 text, got the byte 0xff"),
        (AZURE.replace(b"-17 00:", b"-17 25:"), "t.csv:3: wanted a time such as 2023-11-16 .*got 2023-11-17 25:"),
        (AZURE.replace(b"2023-11-17", b"2023-02-30"), "t.csv:3: wanted a time such as"),
        (AZURE.replace(b"2023-11-17", b"2023-11-15"), "t.csv:3: wanted a time not before that of the row above"),
        (MOONCAKE + b"{\n", "t.csv:2: wanted one JSON object per line"),
        (MOONCAKE + b"[1]\n", "t.csv:2: wanted a JSON object, got "),
        (MOONCAKE.replace(b"input_length", b"inputlength"), "t.csv:1: wanted the key 'input_length'.*did you mean 'inputlength'"),
        (MOONCAKE.replace(b"600", b"NaN"), "t.csv:1: wanted one JSON object per line.*NaN"),
        (MOONCAKE.replace(b"600", b"true"), "t.csv:1: wanted a whole number in 'input_length', got True"),
        (MOONCAKE.replace(b"600", b"1e999"), "t.csv:1: wanted a whole number in 'input_length', got inf"),
        (MOONCAKE.replace(b": 3", b": -3"), "t.csv:1: wanted a timestamp of 0 to"),
        (MOONCAKE.replace(b"[4, 5]", b"[4, -5]"), "t.csv:1: wanted a list of non-negative integers in 'hash_ids'"),
        (MOONCAKE.replace(b"[4, 5]", b"[4, 5, 6]"), "t.csv:1: wanted at most 2 hash_ids"),
        (b'{"a":' + b"[" * 100_000, "t.csv:1: wanted one JSON object per line"),
    ],
)
def test_what_cannot_be_right_is_refused_with_its_line(data, message):
    with pytest.raises(TraceError, match=message):
        parse_trace(data, "t.csv")


def test_a_file_beyond_the_limit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MAX_BYTES", 10)
    path = tmp_path / "t.csv"
    path.write_bytes(RTLOOM)
    with pytest.raises(TraceError, match="at most 10 bytes"):
        read_trace(path)


def test_a_file_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_trace(tmp_path / "none.csv")


def test_a_hostile_name_stays_on_one_printable_line():
    with pytest.raises(TraceError) as error:
        parse_trace(RTLOOM + b'0,"\x1b[31m\n</script>",1\n', "t.csv")
    assert str(error.value).isprintable()


# --- properties -----------------------------------------------------------------------------------------------------------

tokens = st.integers(1, 10**7)
requests = st.lists(st.tuples(st.integers(0, 9 * 10**18), tokens, tokens), min_size=1, max_size=20).map(sorted)


@given(requests)
@example([(0, 1, 1), (1, 1, 1), (10**12, 1, 1), (9 * 10**18, 10**7, 10**7)])
def test_what_is_written_is_read_back(tmp_path_factory, rows):
    arrival, prompt, output = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    trace = Trace(arrival_ps=arrival, prompt=prompt, output=output)
    path = tmp_path_factory.mktemp("trace") / "t.csv"
    trace.write(path)
    assert Trace.read(path).digest() == trace.digest()
    assert os.listdir(path.parent) == ["t.csv"]


@given(requests)
def test_azure_rows_are_read_back(rows):
    text = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    ticks = [(ps // 10**5 % (86400 * 10**7), prompt, output) for ps, prompt, output in rows]  # within one day, in 100 ns
    for tick, prompt, output in sorted(ticks):
        second, fraction = divmod(tick, 10**7)
        text += f"2023-11-16 {second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.{fraction:07},{prompt},{output}\n"
    trace = parse_trace(text.encode(), "t")
    first = min(ticks)[0]
    assert trace.arrival_ps.tolist() == [(tick - first) * 10**5 for tick, _, _ in sorted(ticks)]


@given(requests, st.data())
def test_mooncake_rows_are_read_back(rows, data):
    rows = [(ps // 10**9, prompt, output) for ps, prompt, output in rows]
    hashes = [data.draw(st.lists(st.integers(0, 2**63 - 1), max_size=min(4, -(-prompt // 512)))) for _, prompt, _ in rows]
    names = ("timestamp", "input_length", "output_length")
    lines = [json.dumps(dict(zip(names, row, strict=True)) | {"hash_ids": ids}) for row, ids in zip(rows, hashes, strict=True)]
    trace = parse_trace("\n".join(lines).encode(), "t")
    assert trace.arrival_ps.tolist() == [ms * 10**9 for ms, _, _ in rows]
    assert trace.prefix == [tuple(ids) for ids in hashes]


@given(
    st.sampled_from([AZURE, VIDUR, RTLOOM + b"0,1,1\n", MOONCAKE * 3]),
    st.lists(st.tuples(st.integers(0, 250), st.integers(0, 3), st.binary(max_size=6)), max_size=4),
)
def test_corrupt_bytes_raise_nothing_but_a_trace_error(data, edits):
    for position, removed, inserted in edits:
        data = data[:position] + inserted + data[position + removed :]
    message = "t.csv"
    try:
        assert len(parse_trace(data, "t.csv")) >= 1
    except TraceError as error:
        message = str(error)
    assert message.startswith("t.csv")


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_a_trace_error(data):
    with pytest.raises(TraceError):
        parse_trace(data, "t.csv")


# --- writing --------------------------------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file_and_no_part(tmp_path, monkeypatch):
    path = tmp_path / "t.csv"
    path.write_text("old")
    trace = parse_trace(AZURE, "t")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        trace.write(path)
    assert os.listdir(tmp_path) == ["t.csv"]
    assert path.read_text() == "old"


def test_prefix_hashes_are_not_lost_silently(tmp_path):
    trace = parse_trace(MOONCAKE, "m")
    with pytest.raises(TraceError, match="no place for prefix hashes"):
        trace.write(tmp_path / "t.csv")
    trace.without_prefix().write(tmp_path / "t.csv")
    assert Trace.read(tmp_path / "t.csv").prompt.tolist() == [600]


# --- the real ones --------------------------------------------------------------------------------------------------------


def test_the_azure_and_mooncake_traces_are_read_whole(shared):
    """Request counts and medians: facts and README of the shared folder."""
    import time

    started = time.process_time()
    conversation = read_trace(shared / "traces" / "AzureLLMInferenceTrace_conv.csv")
    assert time.process_time() - started < 0.5  # some 0.07 on a quiet machine
    assert len(conversation) == 19_366
    assert (np.median(conversation.prompt), np.median(conversation.output)) == (1020, 129)
    assert conversation.arrival_ps[:2].tolist() == [0, 4_314_579_000_000]
    code = read_trace(shared / "traces" / "AzureLLMInferenceTrace_code.csv")
    assert len(code) == 8_819
    assert np.median(code.output) == 13
    assert np.median(code.prompt) == pytest.approx(1500, rel=0.03)  # published rounded
    mooncake = read_trace(shared / "traces" / "mooncake_conversation_trace.jsonl")
    assert len(mooncake) == 12_031
    assert all(len(r.prefix) == -(-r.prompt // 512) for r in mooncake.head(1000).requests())
