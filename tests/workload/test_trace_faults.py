"""Bad traces: each ends in an InputError that names file and line."""

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bros_sim.core.errors import InputError
from bros_sim.workload.readers.base import Policy
from bros_sim.workload.traces import read_trace

C = "arrival_s,prompt_tokens,output_tokens\n"
A = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
M = '{"timestamp": 0, "input_length": 5, "output_length": 5, "hash_ids": [1]}\n'
BAD = {
    "empty": ("", ":1: the file is empty"),
    "blank": ("\n \n", ":1: the file is empty"),
    "header alone": (C, ":1: the trace has no rows"),
    "text for a number": (C + "0,1,1\nsoon,1,1\n", ":3: arrival_s: must be a number, not soon"),
    "blank length": (C + "0,,1\n", ":2: prompt_tokens: must be a number, not nothing"),
    "NaN": (C + "0,nan,1\n", ":2: prompt_tokens: must be a finite number, not nan"),
    "infinite": (C + "inf,1,1\n", ":2: arrival_s: must be a finite number, not inf"),
    "negative time": (C + "-1,1,1\n", ":2: arrival_s: must not be negative, but is -1"),
    "negative length": (C + "0,1,-4\n", ":2: output_tokens: must not be negative, but is -4"),
    "fraction": (C + "0,1.5,1\n", ":2: prompt_tokens: must be a whole number of tokens, not 1.5"),
    "huge length": (C + "0,1e10,1\n", ":2: prompt_tokens: is more than 10**9 tokens: 1e10"),
    "huge time": (C + "0,1,1\n5e6,1,1\n", ":3: arrives at 5e+06 s, beyond the clock's"),
    "vast time": (C + "1e300,1,1\n", ":2: arrival_s: is too large for a time: 1e300"),
    "row too short": (C + "0,1\n", ":2: row: has 2 columns where the header has 3"),
    "arrival blank in part": (C + "0,1,1\n,1,1\n", ":3: arrival_s: is blank, while other rows"),
    "missing column": ("TIMESTAMP,ContextTokens\n1,2\n", "nearest is azure, which needs Gener"),
    "column twice": (
        "prompt_tokens,output_tokens,prompt_tokens\n1,2,3\n",
        ":1: prompt_tokens: the column stands twice in the header",
    ),
    "unknown format": ("a,b\n1,2\n", ":1: an unknown trace format; known are azure, nanoflow"),
    "bad class": (
        "prompt_tokens,output_tokens,class\n1,2,fast\n",
        ":2: class: must be rt or be, not fast",
    ),
    "cap of zero": (
        "prompt_tokens,output_tokens,max_tokens\n1,2,0\n",
        ":2: max_tokens: must be at least 1, but is 0",
    ),
    "hash block unclear": (
        "prompt_tokens,output_tokens,hash_ids\n5,1,1\n",
        ":1: hash_block_tokens: state the tokens per prefix block in this column",
    ),
    "hash no number": (
        "prompt_tokens,output_tokens,prefix_hashes,hash_block_tokens\n5,1,x,16\n",
        ":2: prefix_hashes: must be a list of whole numbers below 2**63",
    ),
    "bad time stamp": (A + "yesterday,1,2\n", ":2: TIMESTAMP: must be a time such as"),
    "bad date": (A + "2023-13-45 00:00:00,1,2\n", ":2: TIMESTAMP: is not a date: 2023-13-45"),
    "zones mixed": (
        A + "2023-11-16 18:17:03,1,2\n2023-11-16 18:17:03Z,1,2\n",
        ":3: TIMESTAMP: mixes times with and without a time zone",
    ),
    "NanoFlow mixed": (
        A + "2023-11-16 18:17:03,1,2\nXXX,1,2\n",
        ":3: TIMESTAMP: must be a time such as",
    ),
    "not JSON": (M + "{oops\n", ":2: not JSON:"),
    "JSON list": (M + "[1, 2]\n", ":2: every line must be a JSON object"),
    "JSON text for a number": (
        M + M.replace(" 5,", ' "5",', 1),
        ":2: input_length: must be a number, not 5",
    ),
    "JSON null": (
        M + M.replace(" 5,", " null,", 1),
        ":2: input_length: must be a number, not None",
    ),
    "JSON true": (M.replace(" 5,", " true,", 1), ":1: input_length: must be a number, not True"),
    "JSON NaN": (M + M.replace(" 5,", " NaN,", 1), ":2: input_length: must be a finite number"),
    "JSON huge": (M.replace(" 5,", f" 1{'0' * 400},", 1), ":1: input_length: is too large"),
    "JSON key missing": (M + '{"timestamp": 3}\n', ":2: input_length: the key is missing"),
    "JSON hashes": (M.replace("[1]", '["a"]'), ":1: hash_ids: must be a list of whole numbers"),
    "JSON hashes no list": (M.replace("[1]", "7"), ":1: hash_ids: must be a list of whole numbers"),
    "JSON deep": (M + "[" * 100_000, ":2: not JSON:"),
    "sub-requests": (
        '{"arrival_time_ns": 5, "sub_requests": 3}\n',
        ":1: sub_requests: must be a list of objects",
    ),
    "tool time": (
        '{"arrival_time_ns": 5, "sub_requests": [{"input_toks": 1, "output_toks": 1, '
        '"tool_duration_ns": "x"}]}\n',
        ":1: arrival_time_ns, tool_duration_ns: must be numbers >= 0",
    ),
    "window falls": ("0,1,1,Gamma,1,1\n0,1,1,Gamma,1,1\n", ":2: window_start_s: must rise"),
    "window shape": ("0,1,1,Gamma,0,1\n", ":1: shape: must lie in 0.001..1e6, is 0"),
    "window pattern": ("0,1,1,Gamma,1,1\n9,1,1,Pareto,1,1\n", ":2: row: must be window_start_s"),
    "window too busy": ("0,1e9,1,Gamma,1,1\n600,0,0,,0,0\n", ":1: holds 6e+11 requests"),
    "lengths not a dictionary": (
        '{"0": {"input_tokens": "__import__(\'os\')", "output_tokens": "{1: 1.0}"}}',
        ":1: window 0: input_tokens: must be the text of {length: probability}",
    ),
    "lengths negative": (
        '{"0": {"input_tokens": "{1: -1.0}", "output_tokens": "{1: 1.0}"}}',
        ":1: window 0: input_tokens: lengths must be",
    ),
    "lengths empty": (
        '{"0": {"input_tokens": "{}", "output_tokens": "{}"}}',
        ":1: no window states both",
    ),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_bad_text(tmp_path, text, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_trace(path)
    assert caught.value.lines[0].startswith(str(path))
    assert message in caught.value.lines[0]


def test_bad_files(tmp_path):
    path = tmp_path / "t"
    whole = gzip.compress((C + "0,1,1\n" * 5000).encode())
    for content, message in [
        (whole[:-20], "damaged or truncated gzip data"),
        (whole[:40] + b"\0" * 40 + whole[80:], "damaged or truncated gzip data"),
        (C.encode() + b"0,1,1\n0,\xff,1\n", ":3: not UTF-8 text"),
        (C.encode("utf-16"), ":1: not UTF-8 text"),
        (b"\x00\x01\x02\x03", ":1: an unknown trace format"),
        (b"PAR1 nothing", "damaged Parquet file"),
    ]:
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_trace(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_trace(tmp_path)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_trace(tmp_path / "none")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"prompt_tokens": [1]}, "the column output_tokens is missing"),
        ({"prompt_tokens": [1, -2], "output_tokens": [1, 1]}, ":3: prompt_tokens: must not be neg"),
        ({"prompt_tokens": ["1"], "output_tokens": [1]}, ":2: prompt_tokens: must be a number"),
        ({"prompt_tokens": [None], "output_tokens": [1]}, ":2: prompt_tokens: must be a number"),
    ],
)
def test_bad_parquet(tmp_path, columns, message):
    path = tmp_path / "t.csv"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(InputError, match=message):
        read_trace(path)


def test_many_faults_are_reported_together_but_not_all(tmp_path):
    path = tmp_path / "t"
    path.write_text(C + "0,x,1\n" * 50)
    with pytest.raises(InputError) as caught:
        read_trace(path)
    assert len(caught.value.lines) == 11
    assert "and 40 more" in caught.value.lines[-1]


def test_no_row_in_the_window(tmp_path):
    path = tmp_path / "t"
    path.write_text(C + "0,1,1\n")
    with pytest.raises(InputError, match="no request lies in the chosen window"):
        read_trace(path, Policy(start_s=5))
    path.write_text(C + "0,0,1\n")
    with pytest.raises(InputError, match="every row has a length of zero"):
        read_trace(path, Policy(zero_tokens="drop"))
    assert np.isfinite(read_trace(path).arrival_s).all()
