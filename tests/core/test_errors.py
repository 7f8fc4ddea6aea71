"""A message is one line that any terminal can show, whatever it quotes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from synesthete.errors import SynestheteError


def test_control_characters_are_shown_and_not_done() -> None:
    error = SynestheteError("no 'a\nb\x1b[2J\ud800'", hint="see\u2028there")
    assert str(error) == "no 'a b\ufffd[2J\ufffd' (see there)"
    assert error.args == (error.message,)


def test_what_is_text_stays() -> None:
    text = "é\u00a0‘x’ 👩\u200d🔬 ٣"
    assert str(SynestheteError(text)) == text


@given(st.text(st.characters()), st.text(st.characters()))
def test_any_message_is_one_line_of_utf_8(message: str, hint: str) -> None:
    text = str(SynestheteError(message, hint=hint))
    assert len(text.splitlines()) <= 1
    text.encode()
