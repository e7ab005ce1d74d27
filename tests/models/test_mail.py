"""What a letter looks like, whatever people are called."""

from __future__ import annotations

from email import message_from_bytes
from email.policy import SMTPUTF8, default

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.mail import EmailSettings, composed, is_address

ODD = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ADDRESSES = st.emails() | st.builds("{}@{}".format, ODD, ODD)
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)


@given(ADDRESSES, NAMES, ODD)
@example("a..b@c", "", "")
@example(".a@b", "Djinn <x@y>", "")
@example("ada@example.org", "", "<script>\r\nBcc: x@y")
def test_whatever_is_an_address_makes_a_letter_to_it_alone(email: str, name: str, text: str):
    if not is_address(email):
        return
    sender = EmailSettings(from_email=email, from_name=name)
    sent = composed(sender, "mail_1", email, ("Hello", text)).as_bytes(policy=SMTPUTF8)
    read = message_from_bytes(sent, policy=default)
    (recipient,) = read["To"].addresses
    assert recipient.addr_spec.encode(errors="surrogateescape") == email.encode()
    assert (read["Bcc"], read["Cc"], read["Subject"]) == (None, None, "Hello")
    assert "<script>" not in read.get_body(("html",)).get_content()


@pytest.mark.parametrize(
    "text", ["ada@example.org", "ada+x@b", "o'neil@b.example", "ada@exämple.org"]
)
def test_these_are_addresses(text: str):
    assert is_address(text)


def test_the_same_letter_has_the_same_name_at_every_try():
    sender = EmailSettings(from_email="djinn@example.org")
    tries = [composed(sender, "mail_1", "a@b", ("Hello", "x"))["Message-ID"] for _ in range(2)]
    assert tries == ["<mail_1@example.org>"] * 2
