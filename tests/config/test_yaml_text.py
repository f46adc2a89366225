"""Reading YAML: every kind of broken file is one line with its place."""

import pytest

from bros_sim.config import override, parse, read_yaml
from bros_sim.core.errors import InputError

DEEP = "[" * 200 + "]" * 200
BOMB = "a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]\n" for n in range(1, 9)
)


def faults(call, *args):
    with pytest.raises(InputError) as caught:
        call(*args)
    return caught.value.lines


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "e.yaml:1:1: the file is empty"),
        ("# only a comment\n", "e.yaml:1:1: the file is empty"),
        ("- 1\n- 2\n", "e.yaml:1:1: must be a mapping of keys to values"),
        ("just text\n", "e.yaml:1:1: must be a mapping of keys to values"),
        ("a: 1\nb: 2\na: 3\n", "e.yaml:3:1: a: duplicate key; it is first set in line 1"),
        ("a: {b: 1, b: 2}\n", "e.yaml:1:11: a.b: duplicate key; it is first set in line 1"),
        ("a: [1, 2\n", "e.yaml:2:1: not YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: 'x\n", "e.yaml:2:1: not YAML: found unexpected end of stream"),
        ("a: b: c\n", "e.yaml:1:5: not YAML: mapping values are not allowed here"),
        (
            "a: 1\n\tb: 2\n",
            "e.yaml:2:1: not YAML: found character '\\t' that cannot start any token",
        ),
        ("a: *b\n", "e.yaml:1:4: not YAML: found undefined alias 'b'"),
        ("a: 1\n---\nb: 1\n", "e.yaml:2:1: not YAML: but found another document"),
        ("a: \x01\n", "e.yaml:1:1: not YAML: special characters are not allowed"),
        (
            "a: !!python/object:os.system x\n",
            "a: the tag tag:yaml.org,2002:python/object:os.system",
        ),
        ("a: !mine 3\n", "e.yaml:1:4: a: the tag !mine is not supported"),
        ("1: x\n", "e.yaml:1:1: a key must be text, not 1; put it in quotes"),
        ("? [a]\n: x\n", "e.yaml:1:3: a key must be text, not a list or mapping; put it in quotes"),
        ("a: &x [*x]\n", "nested too deeply (do anchors and aliases form a loop?)"),
        ("a: " + DEEP, "nested too deeply"),
        ("a: " + "[" * 800, "nested too deeply"),
        (BOMB, "too many values (do anchors and aliases form a loop?)"),
        ("a: " + "9" * 5_000, "e.yaml:1:4: a: a number of 5000 digits is too large"),
        ("a: !!int many\n", "e.yaml:1:4: a: many is not a valid int"),
    ],
)
def test_broken_text_is_one_line_with_its_place(text, line):
    (fault,) = faults(parse, text, "e.yaml")
    assert line in fault
    assert fault.startswith("e.yaml:")


def test_all_duplicate_keys_are_reported_at_once():
    assert len(faults(parse, "a: 1\na: 2\nb: 1\nb: 2\n", "e.yaml")) == 2


def test_numbers_follow_yaml_1_2():
    text = "{a: 1e-3, b: off, c: 0o17, d: 010, e: 12:30:00, f: 2026-01-01, g: yes, h: .inf, i: ~}"
    assert parse(text, "e.yaml").data == {
        "a": 0.001, "b": "off", "c": 15, "d": 10, "e": "12:30:00", "f": "2026-01-01", "g": "yes",
        "h": float("inf"), "i": None,
    }  # fmt: skip


def test_anchors_and_byte_order_marks_are_fine(tmp_path):
    path = tmp_path / "e.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: &x {b: 1}\nc: *x\n")
    assert read_yaml(path).data == {"a": {"b": 1}, "c": {"b": 1}}


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("a: 1\nb: caf\xe9\n".encode("latin-1"))
    (tmp_path / "utf16.yaml").write_bytes("a: 1\n".encode("utf-16"))
    missing = tmp_path / "no.yaml"
    assert faults(read_yaml, missing) == (f"{missing}: cannot be read: No such file or directory",)
    assert faults(read_yaml, tmp_path) == (f"{tmp_path}: cannot be read: Is a directory",)
    (fault,) = faults(read_yaml, tmp_path / "latin.yaml")
    assert fault.endswith("latin.yaml:2:7: byte 0xe9 is not UTF-8 text")
    (fault,) = faults(read_yaml, tmp_path / "utf16.yaml")
    assert fault.endswith("utf16.yaml:1:1: byte 0xff is not UTF-8 text")
    (fault,) = faults(read_yaml, "/dev/zero")
    assert fault == "/dev/zero: more than 4 MB; bulk data belongs into CSV, JSON or Parquet"
    (fault,) = faults(read_yaml, "nul\0byte")
    assert "not a file name" in fault


DOCUMENT = "seed: 1\nworkload:\n  a.b: {rate_rps: [1, 2]}\n"


@pytest.mark.parametrize(
    ("assignment", "line"),
    [
        ("seed", "--set seed: write it as path=value, as in seed=3"),
        ("=3", "--set =3: write it as path=value, as in seed=3"),
        ("a..b=3", "--set a..b=3: write it as path=value, as in seed=3"),
        ("seed=[", "--set seed: not YAML: expected the node content, but found '<stream end>'"),
        ("seed={a: 1, a: 2}", "--set seed: duplicate key; it is first set in line 1"),
        (
            "workload.a.bb.rate_rps=3",
            "--set workload.a.bb.rate_rps: names nothing: workload has no",
        ),
        ("seed.x=3", "--set seed.x: names nothing: seed holds no keys"),
        ("workload.a.b.rate_rps.7.x=3", "names nothing: workload.a.b.rate_rps has no '7'"),
        ("workload.a.b.rate_rps.7=3", "names nothing: workload.a.b.rate_rps has no '7'"),
        ("seed.x.y=3", "--set seed.x.y: names nothing: seed holds no keys"),
    ],
)
def test_bad_overrides(assignment, line):
    (fault,) = faults(override, parse(DOCUMENT, "e.yaml"), assignment)
    assert line in fault


def test_overrides_follow_yaml_and_say_where_they_come_from():
    document = parse(DOCUMENT, "e.yaml")
    for assignment in ("seed=1e3", "workload.a.b.rate_rps.1=off", "sweep.seeds=2"):
        document = override(document, assignment)
    assert document.data == {
        "seed": 1000.0,
        "workload": {"a.b": {"rate_rps": [1, "off"]}},
        "sweep": {"seeds": 2},
    }
    path = document.path_of("workload.a.b.rate_rps.1")
    assert str(document.fault(path, "wrong")) == "--set workload.a.b.rate_rps.1: wrong"
    assert str(document.fault(path[:-1], "wrong")) == "e.yaml:3:19: workload.a.b.rate_rps: wrong"
