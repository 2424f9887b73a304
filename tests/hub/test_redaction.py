from __future__ import annotations

import pytest

from promethios_hub.redaction import redacted
from tests.hub.conftest import MakeHub
from tests.hub.documents import review_record


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to ann.lee+x@example.co.uk.", "Write to [e-mail]."),
        ("Card 4111 1111 1111 1111, please.", "Card [card], please."),
        ("Order 4111 1111 1111 1112, 555-1234-99", "Order 4111 1111 1111 1112, 555-1234-99"),
        ("IBAN DE89 3704 0044 0532 0130 00!", "IBAN [IBAN]!"),
        ("Call +49 30 901820 or (030) 123-4567.", "Call [phone] or [phone]."),
        ("From 192.168.0.17 at noon", "From [IP address] at noon"),
        ("In 2026, 12.5 mg on 3 of 10 days; section 14.2", "In 2026, 12.5 mg on 3 of 10 days; section 14.2"),
    ],
)
def test_what_identifies_a_person_is_replaced_and_nothing_else(text: str, expected: str) -> None:
    assert redacted(text) == expected


def test_nothing_of_it_is_stored(make_hub: MakeHub) -> None:
    hub = make_hub(redact=True)
    messages = [{"role": "user", "content": "I am ann@example.com, may I?"}]
    hub.post("/v1/reviews", json={"reviews": [review_record(0, messages=messages, response="Yes, ann@example.com")]})
    assert "ann@" not in hub.get("/v1/reviews/gov-000000000000").text
    assert hub.get("/v1/reviews", params={"q": "ann@example.com"}).json()["data"] == []
