"""The few pieces of HTML that the report is made of. Every text that comes in is escaped here, except where marked."""

import html
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deepblur.platform.report.numbers import bracketed, signed
from deepblur.platform.system.printable import printable

CSS = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1a1a1a; --soft: #5c5c5c; --rule: #d4d4d4 }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #e4e4e2; --soft: #a3a5a8; --rule: #3b3e43 } }
@media print { :root { color-scheme: light; --paper: #fff; --ink: #000; --soft: #444; --rule: #bbb } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 76rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: break-word }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .3rem; max-width: 44rem }
h2 { font-size: 1.15rem; margin: 2.8rem 0 .6rem; padding-top: .5rem; border-top: 1px solid var(--rule) }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem }
p, ul, dl, figcaption { max-width: 48rem } ul { padding-left: 1.2rem } li { margin: .25rem 0 }
.soft, figcaption { color: var(--soft) } figcaption { font-size: .875rem; line-height: 1.45 }
code { font-size: .875em; font-family: ui-monospace, monospace; overflow-wrap: anywhere }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.25rem; margin: 1rem 0 }
dt { color: var(--soft) } dd { margin: 0; min-width: 0 }
.wide { overflow-x: auto; margin: .4rem 0 }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; line-height: 1.35;
  border-top: 1.5px solid var(--ink); border-bottom: 1.5px solid var(--ink) }
th { font-weight: 600; text-align: left; vertical-align: bottom } thead th { border-bottom: 1px solid var(--ink) }
th, td { padding: .22rem .8rem .22rem 0; white-space: nowrap }
th.n { white-space: normal; min-width: 3.5rem } td.words { white-space: normal }
.n { text-align: right } td.n + td.i { padding-left: 0 } td.n:has(+ td.i) { padding-right: .4rem }
.i { color: var(--soft) } tr.first > * { border-top: 1px solid var(--rule) } tr.lead td:not(.i) { font-weight: 600 }
figure { margin: 1rem 0 } .plot { overflow-x: auto } .plot svg { min-width: 34rem; max-width: 100%; height: auto }
.strip { display: grid; grid-template-columns: repeat(var(--n), minmax(0, 1fr)); gap: .6rem; margin: .3rem 0 1.4rem }
.strip figure { margin: 0 } .strip img { width: 100%; display: block } .strip figcaption { margin-top: .2rem }
details { margin: 1rem 0 } summary { cursor: pointer }
@media (max-width: 44rem) { .strip { grid-template-columns: repeat(2, minmax(0, 1fr)) }
  dl { grid-template-columns: 1fr; gap: 0 } dd { margin-bottom: .5rem } }
@media print { body { max-width: none; padding: 0; font-size: 10pt } figure:has(svg), .strip, tr { break-inside: avoid }
  h2, h3 { break-after: avoid } .wide, .plot { overflow: visible } .plot svg { min-width: 0 }
  table { font-size: 6.5pt } }
"""


def escape(text: str) -> str:
    """The text as it is read, in HTML."""
    return html.escape(printable(text, keep="\n\t"))


def document(title: str, lead: str, opening: str, sections: Mapping[str, str]) -> str:
    """A whole page; `opening` and the values of `sections` (heading → content) are HTML, empty ones are left out."""
    body = "".join(f"<section><h2>{escape(head)}</h2>\n{text}</section>\n" for head, text in sections.items() if text)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style></head>\n<body>\n<h1>{escape(title)}</h1>\n"
        f'<p class="soft">{escape(lead)}</p>\n{opening}{body}</body>\n</html>\n'
    )


def paragraph(text: str) -> str:
    return f'<p class="soft">{escape(text)}</p>\n'


def code(text: str) -> str:
    return f"<p><code>{escape(text)}</code></p>\n"


def listed(sentences: Iterable[str]) -> str:
    return "<ul>\n" + "".join(f"<li>{escape(sentence)}</li>\n" for sentence in sentences) + "</ul>\n"


def pairs(values: Mapping[str, str]) -> str:
    """Names and what they are, one line each."""
    lines = (f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>\n" for name, text in values.items())
    return "<dl>\n" + "".join(lines) + "</dl>\n" if values else ""


def folded(summary: str, content: str) -> str:
    """`content` is HTML, shown when the reader asks for it."""
    return f"<details><summary>{escape(summary)}</summary>\n{content}</details>\n"


def figure(svg: str, caption: str) -> str:
    """`svg` is an <svg> or <img> element."""
    return f'<figure><div class="plot">{svg}</div><figcaption>{escape(caption)}</figcaption></figure>\n'


def embedded(content: bytes, kind: str, alt: str, width: str) -> str:
    """An <img> that holds its own file; kind is "png" or "svg", width a length of CSS."""
    media = {"png": "image/png", "svg": "image/svg+xml"}[kind]
    source = f"data:{media};base64,{b64encode(content).decode()}"
    return f'<img src="{source}" alt="{escape(alt)}" style="width: {width}; max-width: 100%">'


def strip(title: str, pictures: Sequence[tuple[str, bytes, str]]) -> str:
    """Pictures side by side under a heading: label, PNG, short caption."""
    html = f'<h3>{escape(title)}</h3>\n<div class="strip" style="--n: {len(pictures)}">\n'
    for label, png, note in pictures:
        text = escape(", ".join(part for part in (label, note) if part))
        source = f"data:image/png;base64,{b64encode(png).decode()}"
        html += f'<figure><img src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>\n'
    return html + "</div>\n"


def table(head: str, body: Iterable[tuple[str, str]], caption: str) -> str:
    """Head: its cells as HTML. Body: the cells of a row as HTML, and its class."""
    rows = "".join(f'<tr class="{kind}">{cells}</tr>\n' for cells, kind in body)
    title = f"<figcaption>{escape(caption)}</figcaption>\n" if caption else ""  # outside of what scrolls sideways
    inner = f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table>"
    return f'<figure>{title}<div class="wide">{inner}</div></figure>\n'


def headings(*labels: str, numeric: bool = True, span: int = 1) -> str:
    """Cells of a table's head above columns of numbers or of words; an estimate spans two columns."""
    return "".join(f'<th colspan="{span}"{" class=n" if numeric else ""}>{escape(label)}</th>' for label in labels)


def words(text: str, *, wrap: bool = False) -> str:
    return f'<td class="words">{escape(text)}</td>' if wrap else f"<td>{escape(text)}</td>"


def numbers(*texts: str) -> str:
    """Cells whose digits stand below each other, given equal decimals."""
    return "".join(f'<td class="n">{escape(text)}</td>' for text in texts)


def estimate(mean: float, low: float, high: float, decimals: int, sign: bool) -> str:
    """A mean and its interval in two cells."""
    value = signed(mean, decimals) if sign else f"{mean:.{decimals}f}"
    return numbers(value) + f'<td class="n i">{escape(bracketed(low, high, decimals, sign))}</td>'


def cost_section(cost):
    from deepblur.platform.report import page

    blocks: Any = page.cost_section(cost).blocks
    return blocks[0].html() + paragraph(blocks[1]) if blocks else ""
