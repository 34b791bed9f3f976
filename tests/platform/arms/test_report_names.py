"""A name comes out of a report as itself, in every form, whatever signs it holds."""

import csv
import dataclasses
import html
import io
import re
import textwrap

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from made_up_methods import ARMS, table
from made_up_methods import result as comparison
from test_report import parse, study
from test_search_report import search
from test_uncertainty import made_up as uncertainty

from deepblur.platform.arms.methods import report as methods
from deepblur.platform.arms.methods.text import comparison_text
from deepblur.platform.arms.search import report as searches
from deepblur.platform.arms.search.text import search_text
from deepblur.platform.arms.trained import report as trained
from deepblur.platform.arms.trained.text import text_summary
from deepblur.platform.arms.tuning import report as tuning
from deepblur.platform.arms.tuning.result import Tuned, TuningResult
from deepblur.platform.arms.uncertainty import report as uncertainties
from deepblur.platform.evaluation.levels import NoiseLevel
from deepblur.platform.experiment.result import block, table_and_sentences
from deepblur.platform.report.page import Code, Folded, Link, Picture, Section, Strip, page
from deepblur.platform.report.style import png, rendered
from deepblur.platform.report.table import Column, Row, Table
from deepblur.platform.system.printable import markdown

NAMES = ["<b>a|b</b>", "$x_1$ & y", "a`b``c", "\"it's\"", "*so* _it_ ~is~", "back\\slash \\*", "[a](http://b) ![c]",
         "&amp; &lt;", "# no heading", "- no item"]  # fmt: skip
SNAKE = Table(
    [Column("name"), Column("value", 2, sign=True, interval=True), Column("count", 0)],
    [Row([name, (-1.5, -2.0, 0.0), 1234]) for name in NAMES],
)


def networks(names):
    result = study(arms=names, images=2, draws=1, etas=(0.1,), noises=names[:1], one_psf=False)
    return dataclasses.replace(result, contrast=names, title=names[0], command=names[1], facts={names[0]: names[1]})


def methods_of(names):
    arms = dict.fromkeys(names, ARMS["l0_gradient"])
    items = table(arms=arms, etas=(0.1,), images=3, noises={names[0]: 0.02})
    return comparison(items, reference=names[0], contrast=names, pictures=(), informed=(names[1],), curves={})


def tuned(names):
    trial = {"settings": {}, "psnr_gain_db": 1.0, "psf_snr_db": 0.0, "failed": 0, "seconds_per_image": 1.0}
    trial |= {"gains_db": [[0, 1.0], [1, 1.5]]}
    found = [Tuned(name, NoiseLevel(names[0], 0.0, 0.01), trial, trial, [trial]) for name in names]
    return TuningResult(name="t", title=names[0], preset="p", command="c", searches=tuple(found), contrast=names)


KINDS = {
    "trained": (networks, trained, text_summary),
    "methods": (methods_of, methods, comparison_text),
    "tuning": (tuned, tuning, tuning.tuning_text),
    "uncertainty": (uncertainty, uncertainties, uncertainties.uncertainty_text),
    "search": (lambda names: search(arms=names, trials=3), searches, search_text),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("names", list(zip(NAMES[::2], NAMES[1::2], strict=True)))
def test_every_kind_of_result_shows_names_as_they_are(kind, names, monkeypatch):
    make, report, text = KINDS[kind]
    if kind in ("methods", "search"):
        monkeypatch.setattr(report, "FIGURES", {})
    result = make(names)
    read = parse(page(result, report.sections(result)))
    assert not {"b", "a", "em", "script"} & set(read.tags)
    words = " ".join(read.text)
    assert [name for name in names if name not in words] == []
    log = " ".join(text(result).split())
    assert [name for name in names if name not in log] == []
    saved = "\n".join(frame.to_csv(index=False) for frame in report.tables(result).values())
    cells = {cell for row in csv.reader(io.StringIO(saved)) for cell in row}
    assert [name for name in names if name not in cells] == []


def test_a_table_gives_names_as_they_are_in_every_form():
    assert [text for text in parse(SNAKE.html()).text if text in NAMES] == NAMES
    assert [line[: len(name)] for line, name in zip(SNAKE.text().splitlines()[1:], NAMES, strict=True)] == NAMES
    rows = list(csv.reader(io.StringIO(SNAKE.csv())))
    assert rows[0] == ["name", "value", "value low", "value high", "count"]
    assert [row[0] for row in rows[1:]] == NAMES
    assert rows[1][1:] == ["-1.5", "-2.0", "0.0", "1234"]
    lines = SNAKE.markdown().splitlines()[2:]
    assert [unescaped(re.split(r"(?<!\\)(?:\\\\)*\|", line)[1].strip()) for line in lines] == NAMES


def unescaped(text):
    """Markdown that holds nothing but escaped signs, as a reader sees it."""
    bare = re.sub(r"\\.", "", text)
    assert not re.search(r"[\\`*_~\[\]<>|!]|^#|^[-+] ", bare), f"{text} has a meaning in Markdown"
    return html.unescape(re.sub(r"\\(.)", r"\1", text))


@pytest.mark.parametrize("name", NAMES)
def test_markdown_has_no_meaning_in_a_name(name):
    assert unescaped(markdown(name)) == name
    assert name in block(name).splitlines()[1]
    longest = max(map(len, re.findall("`+", name)), default=0)
    assert len(block(name).splitlines()[0]) > longest
    said = table_and_sentences(SNAKE, [name]).splitlines()[-1]
    assert unescaped(said.removeprefix("- ")) == name


def test_every_block_of_a_page_escapes_what_it_is_given():
    grey = png(np.zeros((2, 2)), side_px=2)
    for name in NAMES:
        blocks = [name, [name], {name: name}, Code(name), Link(name, f"final/{name}"), Folded(name, [name])]
        blocks += [Section(name, [Strip([Picture(name, grey, name)])]), dataclasses.replace(SNAKE, caption=name)]
        read = parse(page(networks(("a", "b")), [Section(name, blocks)]))
        assert sum(name in text for text in read.text) >= 11
        assert f"final/{name}" in read.addresses


def test_a_figure_writes_names_as_they_are():
    figure = trained.psf_snr_distribution(networks((NAMES[1], NAMES[0])))
    words = {text.get_text() for text in figure.findobj(mpl.text.Text)}
    assert {NAMES[0], NAMES[1], f"noise {NAMES[1]}"} <= words
    drawn = rendered(figure, ["svg"])["svg"].decode()
    assert f"<!-- {html.escape(NAMES[1], quote=False)} -->" in drawn or NAMES[1] in drawn


def test_minus_zero_and_what_is_unknown_read_the_same_everywhere():
    column = Column("x", 2, sign=True)
    assert [column.texts(value)[0] for value in (-1.0, -0.001, 0.0, 1.0, np.nan)] == [
        "−1.00",
        "0.00",
        "0.00",
        "+1.00",
        "—",
    ]
    assert Column("x", 2, interval=True).texts((-1.0, np.nan, np.nan)) == ("−1.00", "[no interval]")
    assert Column("x", 2, interval=True).texts((np.nan, np.nan, np.nan)) == ("—", "")


def test_a_log_cuts_words_where_it_may_and_figures_never():
    long = "a name that goes on and on " * 6
    rows = [Row([long, 123456.789]), Row(["short", 1.0])]
    cut = Table([Column("name", least=20), Column("value", 3)], rows).text(width=40).splitlines()
    assert max(map(len, cut)) == 40
    assert cut[1].endswith("…  123,456.789")
    assert len(Table([Column("name"), Column("value", 3)], rows).text(width=40).splitlines()[1]) > 40


def test_rows_that_share_a_group_say_it_once():
    frame = pd.DataFrame({"level": ["one", "one", "two"], "arm": ["a", "b", "a"], "x": [1, 2, 3]})
    columns = {"level": Column("level", group=True), "arm": Column("arm"), "x": Column("x", 0)}
    grouped = Table.of(frame, columns, bold=[True, False, False])
    assert grouped.text() == textwrap.dedent("""\
             x
        one
          a  1
          b  2
        two
          a  3""")
    html_text = grouped.html()
    assert html_text.count("one") == 1
    assert html_text.count('class="first') == 2
    assert html_text.count('lead"') == 1
