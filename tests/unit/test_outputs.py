"""Output is read whole and once, across rotation and by readers that are made anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.outputs import Output, Position, last_lines


class Printed:
    """A process' folder as its holder keeps it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.newer = folder / "output.log"

    def write(self, data: str | bytes) -> None:
        with self.newer.open("ab") as file:
            file.write(data if isinstance(data, bytes) else data.encode())

    def rotate(self) -> None:
        self.newer.replace(self.folder / "output.log.1")
        self.newer.touch()


@pytest.fixture
def printed(tmp_path: Path) -> Printed:
    return Printed(tmp_path)


def rest(output: Output) -> str:
    text = ""
    while piece := output.read(7):
        text += ("<gap>" if piece.gap else "") + piece.text
    return text


def opened(printed: Printed, lines: int = 100) -> Output:
    output = Output(printed.folder)
    assert output.open_last(lines)
    return output


@pytest.mark.parametrize(
    ("lines", "expected"),
    [(0, (8, 0)), (1, (6, 0)), (2, (3, 0)), (3, (0, 0)), (5, (0, 2))],
)
def test_the_last_lines_of_a_text_are_found(lines: int, expected: tuple[int, int]) -> None:
    assert last_lines(b"aa\nbb\nc\n", lines) == expected


def test_a_last_line_without_its_end_is_a_line() -> None:
    assert (last_lines(b"aa\nbb", 1), last_lines(b"", 3)) == ((3, 0), (0, 3))


def test_there_is_nothing_to_open_before_the_first_output(printed: Printed) -> None:
    output = Output(printed.folder)
    assert not output.open_last(10)
    assert not output.open_at(Position(1, 2))
    assert output.read(10) is None


def test_lines_are_taken_from_the_rotated_file_when_the_newer_has_too_few(printed: Printed) -> None:
    printed.write("1\n2\n3\n")
    printed.rotate()
    printed.write("4\n")
    assert [rest(opened(printed, lines)) for lines in (1, 2, 3, 100)] == ["4\n", "3\n4\n", "2\n3\n4\n", "1\n2\n3\n4\n"]
    assert rest(opened(printed, 0)) == ""


def test_rotation_loses_and_doubles_nothing(printed: Printed) -> None:
    printed.write("1\n")
    output = opened(printed)
    assert rest(output) == "1\n"
    printed.write("2\n")
    printed.rotate()
    printed.write("3\n")
    assert rest(output) == "2\n3\n"
    assert rest(output) == ""
    printed.write("4\n")
    printed.rotate()
    assert rest(output) == "4\n"


def test_more_than_one_rotation_between_two_looks_is_told_as_a_gap(printed: Printed) -> None:
    printed.write("1\n")
    output = opened(printed)
    assert rest(output) == "1\n"
    for number in (2, 3):
        printed.rotate()
        printed.write(f"{number}\n")
    assert rest(output) == "<gap>2\n3\n"


def test_a_new_reader_goes_on_where_the_last_one_was(printed: Printed) -> None:
    printed.write("1\n2\n")
    first = opened(printed)
    piece = first.read(2)
    assert piece is not None
    printed.rotate()
    printed.write("3\n")
    second = Output(printed.folder)
    assert second.open_at(piece.end)
    assert rest(second) == "2\n3\n"


def test_a_position_that_is_gone_is_told_as_a_gap(printed: Printed) -> None:
    printed.write("1\n")
    second = Output(printed.folder)
    assert second.open_at(Position(printed.newer.stat().st_ino, 1000))
    assert rest(second) == "<gap>1\n"


def test_a_character_is_not_cut_in_two(printed: Printed) -> None:
    half, other = "é".encode()[:1], "é".encode()[1:]
    printed.write(b"caf" + half)
    output = opened(printed)
    piece = output.read(100)
    assert piece is not None
    assert (piece.text, piece.end.offset) == ("caf", 3)
    printed.write(other + b"\n")
    assert rest(output) == "é\n"
    printed.write(b"x" + half)
    printed.rotate()
    printed.write("y\n")
    assert rest(output) == "x�y\n"
