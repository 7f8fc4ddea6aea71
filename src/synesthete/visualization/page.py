"""The neuron card as a web page of its own: it opens offline, in light and dark, at any width."""

from __future__ import annotations

import base64
import math

from synesthete.visualization.card import draw, summary_sentence, title
from synesthete.visualization.drawing import DARK, FONTS, LIGHT, STACK, escape, font_bytes, style
from synesthete.visualization.facts import CardFacts

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; font-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<figure aria-label="{title}">
{card}
</figure>
<details>
<summary>The same in numbers</summary>
<p>{sentence}</p>
<table>
<thead><tr><th>modality</th><th>AUC</th><th>images of the concept</th><th>images</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</details>
</main>
</body>
</html>
"""


def card_page(facts: CardFacts) -> str:
    """A self-contained HTML page of a neuron card.

    Nothing is loaded from elsewhere and no script runs: the page's own policy forbids both.
    """
    rows = "\n".join(
        f"<tr><th>{escape(row.modality or 'no modality')}</th>"
        f"<td>{'not tested' if math.isnan(row.auc) else f'{row.auc:.3f}'}</td>"
        f"<td>{row.positives:,}</td><td>{row.images:,}</td></tr>"
        for row in facts.rows
    )
    return _PAGE.format(
        title=escape(title(facts)),
        style=_style(),
        card=draw(facts),
        sentence=escape(summary_sentence(facts)),
        rows=rows,
    )


def _style() -> str:
    faces = "".join(
        "@font-face{"
        f"font-family:'{'Inter Display' if 'Display' in name else 'Inter'}';"
        f"font-weight:{600 if name.endswith('SemiBold') else 400};"
        "src:url(data:font/otf;base64,"
        f"{base64.b64encode(font_bytes(name)).decode()}) format('opentype')}}"
        for name in FONTS
    )
    return (
        f"{faces}"
        f"body{{margin:0;font:15px/1.5 {STACK};background:{LIGHT['ground']};color:{LIGHT['ink']}}}"
        "main{max-width:1072px;margin:0 auto;padding:0 0 48px}"
        "figure{margin:0}svg{display:block;width:100%;height:auto;font-variant-numeric:tabular-nums}"
        "details{margin:8px 4.1%}summary{cursor:pointer}"
        "table{border-collapse:collapse}"
        "td,th{padding:4px 20px 4px 0;text-align:right;font-weight:400}th:first-child{text-align:left}"
        f"thead th{{border-bottom:1px solid {LIGHT['line']}}}"
        f"{style(dark=False)}"
        f"@media(prefers-color-scheme:dark){{body{{background:{DARK['ground']};color:{DARK['ink']}}}"
        f"thead th{{border-color:{DARK['line']}}}{style(dark=True)}}}"
    )
