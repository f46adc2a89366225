"""Short names of sweep paths."""

from bros_sim.core.labels import short_names


def test_a_name_is_the_shortest_ending_that_is_unique():
    paths = ["system", "workload.chat.rate_rps", "workload.batch.rate_rps", "a.system", "x.clients"]
    assert list(short_names(paths).values()) == [
        "system", "chat.rate_rps", "batch.rate_rps", "a.system", "clients",
    ]  # fmt: skip


def test_a_path_that_ends_another_keeps_its_whole_name():
    assert short_names(["b.c", "a.b.c"]) == {"b.c": "b.c", "a.b.c": "a.b.c"}
