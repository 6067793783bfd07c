import pytest

from unface.engine import Progress, progress


@pytest.mark.parametrize("seconds", [-1, 10])
def test_the_last_line_is_printed_once_and_tells_all(capsys, monkeypatch, seconds):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", seconds)
    shown = Progress()
    for name, images in (("detect", 30), ("verify", 10), ("nothing", 0)):
        with shown.stage(name, images):
            for _ in range(images // 10):
                shown.advance(10, 3, 1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == (5 if seconds < 0 else 3)
    last = [line for line in lines if line.startswith("detect: 30 of 30 images") and "9 faces, 3 failed" in line]
    assert len(last) == 1
    assert sum(line.startswith("verify: 10 of 10 images") for line in lines) == 1
    assert lines[-1].startswith("nothing: 0 of 0 images")
