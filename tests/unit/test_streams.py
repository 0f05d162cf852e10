"""Standard output is for results: whatever a method prints goes to standard error."""

import os
import subprocess

import pytest

from poisonbench.guard.stdout import stdout_as_stderr


def test_prints_of_python_and_of_programs_are_moved(capfd: pytest.CaptureFixture[str]) -> None:
    print("before")
    with stdout_as_stderr():
        print("python")
        os.write(1, b"native\n")
        subprocess.run(["echo", "program"], check=True)
    print("after", flush=True)
    os.write(1, b"native after\n")
    out, err = capfd.readouterr()
    assert out == "before\nafter\nnative after\n"
    assert sorted(err.split()) == ["native", "program", "python"]


def test_it_ends_with_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), stdout_as_stderr():
        _ = 1 / 0
    print("after")
    assert capfd.readouterr().out == "after\n"
