"""A registry that many use: other people's models and tags do not keep anybody from deepblur's."""

import json
from dataclasses import asdict

import pytest
from micro_registry import copy_of

from deepblur.cli import main
from deepblur.platform.models.card import render
from deepblur.platform.registry.champion import CLAIM, HISTORY, ChampionAlias, Claim
from deepblur.platform.registry.versions import best_of_study
from deepblur.platform.tracking.connection import connect, pages

SETTINGS = (HISTORY, CLAIM + "1")
DAMAGED = ["", "x", "[", "[" * 4000, "{}", "[1]", "null", '{"a": 1}', '[{"version": 3, "at": "", "how": ""}]',
           '[{"version": "2"}]', json.dumps(asdict(Claim("1", None, "2", (), "host", -1, 0.0))),
           json.dumps({**asdict(Claim("1", None, "2", (), "host", 1, 0.0)), "born": "x"}),
           json.dumps({**asdict(Claim("1", None, "2", (), "host", 1, 0.0)), "pid": 10**30}),
           json.dumps({**asdict(Claim("1", None, "2", (), "host", 1, 0.0)), "after": 3, "born": 10**400})]  # fmt: skip
GATE = ("gate.gain_db", "gate.gain_low_db", "gate.reason", "gate.decision", "gate.at", "study", "validated_psnr_db")


@pytest.fixture(scope="module")
def registry(base, tmp_path_factory):
    """A copy of the registry with the versions 1 to 3: its client and its URI."""
    uri = copy_of(base, tmp_path_factory.mktemp("shared") / "copy")
    return connect(uri), uri


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_history_or_claim_is_none(registry, text):
    client, uri = registry
    client.set_registered_model_alias("deepblur", "champion", "2")
    for tag in SETTINGS:
        client.set_registered_model_tag("deepblur", tag, text)
    alias = ChampionAlias(client, "deepblur", uri)
    assert (alias.read().history, alias.read().claims) == ((), ())
    assert alias.settle() == []
    alias.move("3", expected="2", how="promote")
    alias.back("2", expected="3")
    assert [reign.version for reign in alias.read().history] == ["2"]
    for tag in SETTINGS:
        client.delete_registered_model_tag("deepblur", tag)


@pytest.mark.parametrize("text", ["n/a", "", "nan", "1e999", "\x1b[31mred\nline", "[" * 4000])
def test_tags_by_hand_are_shown_and_never_a_traceback(registry, text, capsys):
    client, uri = registry
    for tag in GATE:
        client.set_model_version_tag("deepblur", "1", tag, text)
    for words in (["list"], ["show", "1"], ["list", "--json"]):
        assert main(["models", *words, "--tracking-uri", uri]) == 0
        shown = capsys.readouterr().out
        assert "\x1b" not in shown
    assert best_of_study(client, "deepblur", "micro").version == "3"
    for tag in GATE:
        client.delete_model_version_tag("deepblur", "1", tag)
        client.set_model_version_tag("deepblur", "1", "gate.note", "by hand")
    assert main(["models", "show", "1", "--tracking-uri", uri]) == 0
    assert "?, ?: ?. On ?." in capsys.readouterr().out


def test_a_hundred_models_of_others_do_not_hide_ours(registry, capsys):
    client, uri = registry
    for number in range(101):
        client.create_registered_model(f"a-model-of-somebody-else-{number:03d}")
    assert main(["models", "list", "--tracking-uri", uri]) == 0
    capsys.readouterr()
    assert main(["models", "list", "--tracking-uri", uri, "--name", "deepblurr"]) == 5
    told = capsys.readouterr().err
    assert "it has deepblur, a-model" in told
    assert "and 92 more" in told


def test_all_pages_of_a_search_are_read():
    answers = {None: ([1, 2], "a"), "a": ([], "b"), "b": ([3], None)}

    def search(query, page_token=None):
        found, token = answers[page_token]
        return type("Page", (list,), {"token": token})(found if query == "all" else [])

    assert list(pages(search, "all")) == [1, 2, 3]


@pytest.mark.parametrize(
    "card",
    [{"trained": 3}, {"trained": {"eta_waves": "x"}}, {"trained": {"gain": [1]}}, {"test_means": {"ssim": None}},
     {"test_means": 1}, {"test_means": {"ssim": 1}, "test_grid": {"a": 1}}, {"limits": 3},
     {"licence": 1, "data_licences": 2}, {"trained": {"noll": 3}}],
)  # fmt: skip
def test_a_card_of_another_shape_is_said_to_be_one(card):
    assert render(card, "deepblur") == (
        "# deepblur\n\nThe card in model.json is not as deepblur writes it, so nothing of it is shown.\n"
    )
