"""Files of claims: ours, and a user's, whatever is in them."""

import random
import re
import tomllib

import pytest

from metabench.errors import UserError
from metabench.report.claims.reading import BUILTIN, MOST_BYTES, read_claims

MSE = {"rule": "interval", "metric": "mse", "claimed": 0.4, "of": {"algorithm": "maml"}}


def test_ours_hold_what_was_published():
    claims = {claim.id: claim for claim in read_claims(BUILTIN)}
    assert len(claims) == len(tomllib.loads(BUILTIN.read_text(encoding="utf-8"))["claim"]) > 100
    maml = claims["maml-20-way-1-shot"]
    assert (maml.low, maml.high, maml.plus_minus, maml.mark) == (95.8, 95.8, 0.3, "V")
    assert maml.of == {"algorithm": ("maml",), "task": ("omniglot",), "ways": (20,), "shots": (1,), **maml.of}
    assert claims["relation-20-way-5-shot"].mark == claims["meta-curvature-20-way-1-shot"].mark == "M"
    assert claims["relation-5-way-5-shot"].mark == "S"
    assert {claims[f"{name}-time-5-way-5-shot"].low for name in ("fomaml", "reptile")} == {0.72, 0.62}
    for claim in claims.values():  # the sentence says the figure
        if claim.rule == "interval" and claim.low == claim.high:
            assert re.search(rf"\b{claim.low:g}", claim.says), claim.id


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"rule": "ratoi"}, "claim 1 (one): unknown rule 'ratoi': did you mean 'ratio'?"),
        ({"metric": "acuracy"}, "unknown metric 'acuracy': did you mean 'accuracy'?"),
        ({"sorce": "x"}, "unknown name 'sorce': did you mean 'source'?"),
        ({"of": {"algoritm": "maml"}}, "unknown axis 'algoritm': did you mean 'algorithm'?"),
        ({"mark": "X"}, "unknown mark 'X': choose one of M, S, V"),
        ({"claimed": "much"}, "'claimed[0]': expected a number, got a text"),
        ({"claimed": [2, 1]}, "starts above its end"),
        ({"claimed": float("nan")}, "'claimed[0]': expected a number"),
        ({"claimed": [1, 2, 3]}, "'claimed': expected a list of length <= 2"),
        ({"allowance": -1}, "'allowance': expected a number >= 0.0"),
        ({"after": -1}, "'after': expected a whole number >= 0"),
        ({"after": True}, "'after': expected a whole number or nothing, got true or false"),
        ({"says": "x" * 501}, "'says': expected a text of length <= 500"),
        ({"source": " "}, "'source': expected a text that is not blank"),
        ({"rule": "ratio", "against": {"ways": 5}}, "is for time and memory"),
        ({"rule": "ratio", "figure": "time"}, "needs 'against'"),
        ({"rule": "exponent", "figure": "time"}, "needs 'along'"),
        ({"rule": "one-sided"}, "needs 'at_least' or 'at_most'"),
        ({"figure": "time"}, "is for quality"),
        ({"of": {}}, "it needs 'of'"),
        ({"of": "maml"}, "'of': expected a table, got a text"),
        ({"of": {"ways": []}}, "a value of the axis 'ways': expected a list of length >= 1"),
        ({"of": {"ways": {"x": 1}}}, "a value of the axis 'ways': '[0]': expected true or false or a whole number"),
        ({"of": {"parameters": 5}}, "two numbers"),
        ({"setting": {"iterations": "many"}}, "'iterations' are given as one number"),
        ({"id": "../x"}, "its id is not of small letters"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_claim(claim_of, changes, sentence):
    with pytest.raises(UserError) as raised:
        claim_of(**{**MSE, **changes})
    assert sentence in str(raised.value) and "\n" not in str(raised.value)


def test_files_that_are_none(tmp_path):
    file = tmp_path / "claims.toml"
    with pytest.raises(UserError, match="there is no file of claims"):
        read_claims(file)
    for text, sentence in (
        ("[[claim]", "not valid TOML"),
        ("", "has no claims"),
        ("claim = 3", "has no claims"),
        ("[[clam]]\nid = 1", "did you mean 'claim'"),
        ("[[claim]]\nid = 1", "'id': expected a text"),
        ("#" * (MOST_BYTES + 1), "too large"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=sentence):
            read_claims(file)


def test_two_claims_of_one_id(tmp_path):
    file = tmp_path / "claims.toml"
    first = BUILTIN.read_text(encoding="utf-8").split("\n\n")[2]
    file.write_text(f"{first}\n\n{first}\n", encoding="utf-8")
    with pytest.raises(UserError, match="claim 2 .*another claim has the same id"):
        read_claims(file)


def test_damaged_files_end_in_a_sentence_or_in_claims(tmp_path):
    chance, refused = random.Random("claims"), 0
    blocks = BUILTIN.read_text(encoding="utf-8").split("\n\n")
    hostile = (
        "[",
        "]",
        "nan",
        "inf",
        "-1",
        "1e999",
        '""',
        "{}",
        "[[]]",
        "true",
        '"\\u001b[2J"',
        "9" * 400,
        "{ ways = 1 }",
    )
    for number in range(300):
        text = "\n\n".join(chance.sample(blocks[2:], 3))
        for _ in range(chance.choice((1, 2))):
            values = list(re.finditer(r"= (.*)", text))
            one = chance.choice(values)
            text = text[: one.start(1)] + chance.choice(hostile) + text[one.end(1) :]
        file = tmp_path / f"{number}.toml"
        file.write_text(text, encoding="utf-8")
        try:
            assert read_claims(file)
        except UserError as error:
            refused += 1
            assert str(error).isprintable()
    assert 100 < refused < 300
