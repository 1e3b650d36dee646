"""Personal data is found where it is, and numbers of other kinds are left alone."""

import string
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedllm_bench.errors import FedLLMError
from fedllm_bench.examples import PreferenceExample, Turn
from fedllm_bench.extras import hint_of
from fedllm_bench.measure.privacy import KINDS, find, personal_data

FOUND = [
    ("secret", "AKIAIOSFODNN7ABCDEFG is the id"),
    ("secret", "export GITHUB=ghp_" + "a1B2" * 9),
    ("secret", "OPENAI_API_KEY is sk-proj-" + "Ab3_" * 8),
    ("secret", "-----BEGIN RSA PRIVATE KEY-----\nMIIE"),
    ("secret", "-----BEGIN PRIVATE KEY-----"),
    ("secret", "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlMTIz"),
    ("secret", 'db_password = "tr0ub4dor-and-three"'),
    ("secret", "{'api_key': '9f86d081884c7d659a2feaa0'}"),
    ("link with login", "clone https://ana:hunter2@git.company.com/x.git"),
    ("link with login", "postgres://admin:pw@10.0.0.5:5432/prod"),
    ("link with login", "ftp://maria@files.company.com/pub"),
    ("e-mail address", "Write to ana.maria+news@uni-koeln.de."),
    ("e-mail address", "<j_doe99@mail.co.uk>"),
    ("IBAN", "Pay to GB82 WEST 1234 5698 7654 32, please"),
    ("IBAN", "DE89370400440532013000"),
    ("payment card", "card 4111 1111 1111 1111, exp 12/27"),
    ("payment card", "378282246310005"),
    ("payment card", "5555-5555-5555-4444"),
    ("IP address", "from 91.198.174.192 port 22"),
    ("IP address", "http://93.184.215.14/index.html"),
    ("IP address", "2a00:1450:4001:81c::200e"),
    ("phone number", "Call (415) 555-2671 tomorrow"),
    ("phone number", "toll free 1-800-555-0199"),
    ("phone number", "+44 20 7946 0958"),
    ("phone number", "WhatsApp +62 812-3456-7890"),
    ("phone number", "my number:+919876543210"),
    ("phone number", "+7 (495) 123-45-67"),
]

NOTHING = [
    "",
    "Nothing to see here.",
    "version 1.2.3.4 and v10.20.30.40, build 10.0.19045.3803",
    "on 2023-11-24 at 12:30:45, or 24/11/2023, 11-24-2023, 2023.11.24 08:15",
    "from 1990-2000 to 2005-2015, and 2012 2013 2014 2015",
    "INT_MAX is 2147483647, the epoch 1700000000, the id 4155552671",
    "pi is 3.14159265358979, e is 2.718281828459045",
    "it costs $1,234,567.89 or 1 234 567 roubles",
    "ISBN 978-3-16-148410-0",
    "123e4567-e89b-12d3-a456-426614174000",
    "sha 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "card 4111 1111 1111 1112 has a wrong check digit",
    "GB83 WEST 1234 5698 7654 32 has wrong check digits",
    "16 digits without an issuer: 1234567812345670",
    "localhost 127.0.0.1, 192.168.0.1, 10.1.2.3, 0.0.0.0, 255.255.255.0, fe80::1, ::1",
    "for documentation 192.0.2.1, 203.0.113.9 and 2001:db8::1",
    "kernel 2.6.8.1, 2.3.1.31, [ 2492.912847] and [ 3108.204701], 4.3.7284.3916, servers 8.8.8.8 and 1.1.1.1",
    "1.2.3.4.5 and 999.1.1.1 and 12.5.3",
    "std::cout, a::b, Foo::Bar and 10:20:30",
    "someone@example.com, a@b.example, root@localhost, git@github.com:org/repo, ssh://git@host.com/x",
    "@handle and x @ y and a@b",
    "https://site.com:8080/path?x=1@2 and https://host.com/@name",
    "password = os.environ['DB_PASSWORD'] and token = tokenizer(text)",
    'api_key = "YOUR_API_KEY_1234567" and secret = "<insert 1 secret here>"',
    "ask-the-question-about-something-long, sk-learn-is-a-library-for-everything",
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11",
    "x = [415, 555, 2671]",
]


def hits(text: str) -> dict[str, list[str]]:
    return {kind: found for kind, found in find(text).items() if found}


@pytest.mark.parametrize(("kind", "text"), FOUND, ids=range(len(FOUND)))
def test_personal_data_is_found_once_and_as_what_it_is(kind: str, text: str) -> None:
    assert {kind: len(found) for kind, found in hits(text).items()} == {kind: 1}


@pytest.mark.parametrize("text", NOTHING, ids=range(len(NOTHING)))
def test_numbers_dates_versions_code_and_placeholders_are_no_personal_data(text: str) -> None:
    assert hits(text) == {}


def test_hits_are_counted_over_all_texts_of_an_example() -> None:
    prompt = (Turn("system", "Ask ana@firm.org"), Turn("user", "I am bob@firm.org"))
    example = PreferenceExample("1", prompt, "Call +44 20 7946 0958", "Write to eve@firm.org or +44 20 7946 0958")
    (counts,) = personal_data().compute([example])
    assert tuple(counts) == tuple(KINDS)
    assert {kind: count for kind, count in counts.items() if count} == {"e-mail address": 3, "phone number": 2}


@given(st.text(st.sampled_from(string.ascii_letters + string.digits + " .:-@/+()'\"=\n"), max_size=200))
def test_no_part_of_a_text_counts_twice(text: str) -> None:
    assert sum(len(hit) for found in find(text).values() for hit in found) <= len(text)


def test_a_hostile_text_takes_no_long_time() -> None:
    for piece in ("1 ", "a.", "a:", "a@", "-", "A1", "4 ", "sk-", 'password="', "x://a:", "1.", "a1b2@c3."):
        find(piece * (60_000 // len(piece)))


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("phonenumbers", "+44 20 7946 0958"),
        ("stdnum.iban", "GB82 WEST 1234 5698 7654 32"),
        ("stdnum.luhn", "4111 1111 1111 1111"),
    ],
)
def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch, module: str, text: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(FedLLMError, match=module) as caught:
        find(text)
    assert caught.value.hint == hint_of("analysis")
