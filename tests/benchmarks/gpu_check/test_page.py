"""The page of a check shows what was measured, and what was not."""

from __future__ import annotations

from benchmarks.gpu_check.page import write_page


def test_the_page_has_a_row_a_batch_what_failed_and_the_model_beside_it() -> None:
    figures = {
        "ceiling, TFLOP a second": 700.0,
        "sd15, 8 rows: ours": 600.0,
        "sd15, 8 rows: eager": 500.0,
        "sd15, 8 rows: compiled": "not possible: no compiler",
        "sd15: engine": 550.0,
    }
    steps = {
        "machine": {"seconds": 3.0, "figures": {"device": "a card"}},
        "throughput": {"seconds": 60.0, "figures": figures},
        "mixture": {"seconds": 90.0, "failed": "took more than 90 seconds"},
    }
    page = write_page({"date": "2026-01-01T00:00+00:00", "dry_run": False, "seconds": 153.0, "steps": steps})
    assert "| sd15, 8 rows | 600 | 500 | not possible: no compiler |  |  |  |" in page
    assert "| sd15: engine | 550 |" in page
    assert "**Not done:** took more than 90 seconds" in page
    assert "| 8 | 600 | 301 | 1.99 |" in page
