"""The drill of drill.py, shorter: its figures of time belong to a quiet machine, its counts hold on any."""

import drill


def test_one_of_three_in_trouble_under_a_steady_load():
    report = drill.run(rate=120, seconds=4, rest_s=6)
    assert [row["trouble"] for row in report] == ["kill", "black hole", "500s", "slow"]
    for row in report:
        assert row["failed"] == 0, row
        assert row["extra_share"] <= 0.2, row
    # Only what was under way in the black hole paid, an attempt's timeout at most.
    hole = report[1]
    assert hole["longest_ms"] < 4000, hole
