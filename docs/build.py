"""Build the study edition: docs/pages/NAME.md gives docs/study/NAME.html.

    python docs/build.py            builds every page
    python docs/build.py gan ...    builds the pages named

A page is Markdown with equations in dollars. Under `## ` and a path in a code span, the page
shows that file: the notes stand left, the code right. Each `### ` there quotes the source line
beside which its note begins. A quote that is no line of the source any more stops the build, so
that the note is read again. The extra `docs` in setup.cfg names the libraries.
"""

import argparse
import ast
import html
import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from py_mini_racer import JSEvalException, MiniRacer
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

ROOT = Path(__file__).parents[1]
PAGES = {       # the order of reading, and the names in the navigation
    "index": "Index",
    "algorithm-1": "Algorithm 1",
    "objectives": "Objectives",
    "backpropagation": "Backpropagation",
    "optimizers": "Optimizers",
    "theorems": "Theorems",
    "gradient-checking": "Gradient checking",
    "divergences": "Divergences",
    "hardness": "Why training is hard",
    "backend": "One backend, two devices",
    "break-it": "Break it",
}
PATH = re.compile(r"(?:npgan|examples|benchmarks|docs|tests)/[\w/.-]+\.\w+")


class PageError(Exception):
    """A page that cannot be built. The message is one sentence for its writer."""


class Anchor(NamedTuple):
    quote: str          # a line of the source, stripped
    occurrence: int     # 1: the first such line
    line: int           # where the page's Markdown says so


def place(source, anchors):
    """The line index of each anchor, checked: the quoted line exists once, and in order.

    Raises PageError(sentence) with the anchor as its second argument.
    """
    lines = [line.strip() for line in source.splitlines()]
    at = []
    for anchor in anchors:
        found = [i for i, line in enumerate(lines) if line == anchor.quote]
        if len(found) < anchor.occurrence:
            raise PageError(f"the source has no line `{anchor.quote}`"
                            + (f" ({anchor.occurrence})" if anchor.occurrence > 1 else "")
                            + ": read the note again and quote the line as it is now", anchor)
        if len(found) > 1 and anchor.occurrence == 0:
            raise PageError(f"the source has {len(found)} lines `{anchor.quote}`: write which one, "
                            f"(1) to ({len(found)}), after the quote", anchor)
        i = found[max(anchor.occurrence, 1) - 1]
        if at and i <= at[-1]:
            raise PageError(f"`{anchor.quote}` is line {i + 1} of the source, not after line {at[-1] + 1} of the "
                            "anchor above: put the anchors in the order of the source", anchor)
        at.append(i)
    return at


class Page:
    """One page: its Markdown as tokens, and how each piece of it becomes HTML."""

    def __init__(self, site, name):
        self.site, self.name = site, name
        self.path = site.root / "docs" / "pages" / f"{name}.md"
        self.text = self.path.read_text(encoding="utf-8")
        self.markdown = MarkdownIt("commonmark", {"highlight": code}).enable("table")
        self.markdown.use(dollarmath_plugin, allow_space=False, allow_digits=False, allow_labels=False,
                          double_inline=True, renderer=self.math)
        for rule in (self.code_inline, self.image, self.link_open):
            self.markdown.add_render_rule(rule.__name__, rule_of(rule))
        self.tokens = self.markdown.parse(self.text)

    def error(self, line, message):
        return PageError(f"{self.path.relative_to(self.site.root)}, line {line}: {message}")

    def line_of(self, piece):
        """The first line of the page that holds a piece of text."""
        return self.text[:self.text.find(piece)].count("\n") + 1

    # The pieces of a paragraph

    def math(self, tex, options):
        """An equation as HTML; the TeX is its alternative text."""
        display = options["display_mode"]
        try:
            shown = self.site.katex.call("katex.renderToString", tex.strip(), {
                "displayMode": display, "output": "html", "throwOnError": True, "strict": "error"})
        except JSEvalException as error:
            why = re.search(r"KaTeX parse error: (.*)", str(error))
            raise self.error(self.line_of(tex), f"the equation {' '.join(tex.split())} is not TeX that KaTeX knows: "
                             f"{why[1] if why else error}") from None
        alt = html.escape(" ".join(tex.split()))
        return f'<span class="{"display" if display else "inline"}" role="img" aria-label="{alt}">{shown}</span>'

    def code_inline(self, token):
        """A code span. `path`, `path::name` and `path: piece of a line` are checked and linked."""
        text, inner = token.content, html.escape(token.content)
        if not PATH.match(text):
            return f"<code>{inner}</code>"
        try:
            href = self.site.reference(text)
        except PageError as error:
            raise self.error(self.line_of(text), error.args[0]) from None
        return f'<code><a href="{html.escape(href)}">{inner}</a></code>' if href else f"<code>{inner}</code>"

    def image(self, token):
        src, alt = token.attrs["src"], html.escape(token.content)
        path = self.site.root / "docs" / "study" / src
        if not path.is_file():
            raise self.error(self.line_of(src), f"there is no picture docs/study/{src}: make it, or correct its name")
        if path.suffix != ".svg":
            return f'<img src="{html.escape(src)}" alt="{alt}">'
        svg = re.sub(r"^.*?(?=<svg)", "", path.read_text(encoding="utf-8"), flags=re.S).strip()
        return svg.replace("<svg", f'<svg class="picture" role="img" aria-label="{alt}"', 1)

    def link_open(self, token):
        href = re.sub(r"^([\w-]+)\.md(?=#|$)", r"\1.html", token.attrs["href"])
        return f'<a href="{html.escape(href)}">'

    # The pieces of a page

    def render(self, tokens):
        return self.markdown.renderer.render(tokens, self.markdown.options, {})

    def headings(self):
        """[(level, inline token, line, the tokens from this heading to the next)]"""
        starts = [i for i, token in enumerate(self.tokens) if token.type == "heading_open"]
        return [(int(self.tokens[i].tag[1]), self.tokens[i + 1], self.tokens[i].map[0] + 1, self.tokens[i + 3:end])
                for i, end in zip(starts, starts[1:] + [len(self.tokens)])]

    def html(self):
        headings = self.headings()
        if [level for level, *_ in headings].count(1) != 1 or headings[0][0] != 1 or self.tokens[0].tag != "h1":
            raise self.error(1, "begin the page with `# ` and its title, and give it no second one")
        title = headings[0][1].content
        parts, path, notes, answer = [self.render(headings[0][3])], None, [], False
        for level, inline, line, body in headings[1:]:
            if level < 4 and answer:
                parts.append("</details>")
                answer = False
            if level == 2 and path:
                parts.append(self.listing(path, notes))
                path, notes = None, []
            children = inline.children
            if level == 2 and children[0].type == "code_inline" and PATH.fullmatch(children[0].content):
                path = children[0].content
                parts.append(f"<h2>{self.render([inline])}</h2>\n{self.render(body)}")
            elif path:
                found = re.fullmatch(r"`{1,2} ?(.+?) ?`{1,2}(?: \((\d+)\))?", inline.content)
                if level != 3 or not found:
                    raise self.error(line, "below a file, write each heading as `### ` and a source line in backquotes")
                notes.append((Anchor(found[1], int(found[2] or 0), line), body))
            elif level == 4 and inline.content == "Answer":
                parts.append(f"<details><summary>Answer</summary>\n{self.render(body)}")
                answer = True
            else:
                slug = re.sub(r"\W+", "-", inline.content.lower()).strip("-")
                parts.append(f'<h{level} id="{slug}">{self.render([inline])}</h{level}>\n{self.render(body)}')
        if path:
            parts.append(self.listing(path, notes))
        if answer:
            parts.append("</details>")
        return self.site.frame(self.name, title, "\n".join(parts))

    def listing(self, path, notes):
        """A whole file: its lines from one anchor to the next, each beside its note."""
        source, stem = self.site.source(path), Path(path).stem
        try:
            at = place(source, [anchor for anchor, _ in notes])
        except PageError as error:
            raise self.error(error.args[1].line, f"{path}: {error.args[0]}") from None
        lines = code(source, "python").split("\n")
        lines = lines[:-1] if source.endswith("\n") else lines
        rows = [(None, [], 0, at[0] if at else len(lines))] if not at or at[0] else []
        rows += [(anchor, body, a, b) for (anchor, body), a, b in zip(notes, at, at[1:] + [len(lines)])]
        out = []
        for anchor, body, a, b in rows:
            note = ""
            if anchor:
                note = (f'<h3><a href="#{stem}-{a + 1}">{a + 1}</a> <code>{html.escape(anchor.quote)}</code></h3>\n'
                        + self.render(body))
            shown = "".join(f'<a id="{stem}-{i + 1}" href="#{stem}-{i + 1}" data-n="{i + 1}" tabindex="-1" '
                            f'aria-hidden="true"></a>{lines[i]}\n' for i in range(a, b))
            out.append(f'<div class="row">\n<div class="note"><div>\n{note}</div></div>\n'
                       f'<pre class="code" tabindex="0" aria-label="{path}, lines {a + 1} to {b}">{shown}</pre>\n</div>')
        return f'<section class="listing" aria-label="{path}">\n' + "\n".join(out) + "\n</section>"

    def exercises(self):
        """[(line, program, what it prints, tests named)]: one for each Answer. Raises PageError if it has none."""
        found = []
        for level, inline, line, body in self.headings():
            if level == 4 and inline.content == "Answer":
                fences = [(token.info.strip(), token.content) for token in body if token.type == "fence"]
                programs = [(text, after[1]) for (kind, text), after in zip(fences, fences[1:] + [("", "")])
                            if kind == "python" and after[0] == "text"]
                tests = re.findall(r"`(tests/[\w/.]+::\w+)`", "\n".join(
                    token.content for token in body if token.type == "inline"))
                if not programs and not tests:
                    raise self.error(line, "give the answer a `python` block and the `text` block that it prints, "
                                     "or name a test as `tests/test_x.py::test_name`")
                found.append((line, programs, tests))
        return found


class Site:
    """All pages, what each of them shows, and the frame around every page."""

    def __init__(self, root=ROOT):
        self.root = Path(root)
        self.katex = MiniRacer()
        self.katex.eval((self.root / "docs" / "study" / "katex" / "katex.min.js").read_text(encoding="utf-8"))
        self.names = [name for name in PAGES if (self.root / "docs" / "pages" / f"{name}.md").is_file()]
        self.shown = {}         # {path of a source file: the page that shows it}
        for name in self.names:
            text = (self.root / "docs" / "pages" / f"{name}.md").read_text(encoding="utf-8")
            self.shown.update(dict.fromkeys(re.findall(r"^## `([^`\n]+)`$", text, re.M), name))

    def source(self, path):
        file = self.root / path
        if not file.is_file():
            raise PageError(f"there is no file {path}: correct the path")
        return file.read_bytes().decode("utf-8")

    def reference(self, text):
        """The link of a code span that names a file, a definition or a line in it; None without a page.

        `path`, `path::name` (a function, class or Class.method) or `path: piece` (of exactly one line).
        """
        path, colons, rest = re.fullmatch(r"([^:]+)(::|: |)(.*)", text, re.S).groups()
        source, line = self.source(path), None
        if colons == "::":
            line = definitions(source).get(rest)
            if line is None:
                raise PageError(f"{path} defines no {rest}: correct the name")
        elif colons:
            lines = [i + 1 for i, each in enumerate(source.splitlines()) if rest in each]
            if len(lines) != 1:
                raise PageError(f"{len(lines)} lines of {path} hold `{rest}`: quote a piece of exactly one line")
            line = lines[0]
        if path not in self.shown:
            return None
        return f"{self.shown[path]}.html" + (f"#{Path(path).stem}-{line}" if line else "")

    def frame(self, name, title, body):
        """The whole HTML of a page: head, navigation, body, the pages before and after it."""
        links = "\n".join(f'<li><a href="{each}.html"{" aria-current=" + chr(34) + "page" + chr(34) if each == name else ""}>'
                          f'{label}</a></li>' for each, label in PAGES.items())
        order, i = list(PAGES), list(PAGES).index(name)
        turn = "".join(f'<a rel="{rel}" href="{each}.html">{arrow.format(PAGES[each])}</a>\n' for rel, each, arrow in [
            ("prev", order[i - 1] if i else None, "← {}"),
            ("next", order[i + 1] if i + 1 < len(order) else None, "{} →")] if each)
        return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{html.escape(re.sub(r"[`$]", "", title))} · npgan, the study edition</title>
<link rel="stylesheet" href="katex/katex.min.css">
<link rel="stylesheet" href="study.css">
</head>
<body>
<a class="skip" href="#main">Skip to the text</a>
<nav aria-label="Pages"><ul>
{links}
</ul></nav>
<main id="main">
<h1>{self_title(title)}</h1>
{body}
</main>
<nav class="turn" aria-label="Previous and next page">
{turn}</nav>
</body>
</html>
"""


def self_title(title):
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(title))


def rule_of(method):
    """markdown-it calls a rule with (renderer, tokens, index, ...); ours need the token only."""
    return lambda renderer, tokens, index, options, env: method(tokens[index])


def code(text, language, attributes=""):
    """Source as HTML, highlighted. Without its tags it is the source, byte for byte."""
    lexer = get_lexer_by_name(language or "text", stripnl=False, stripall=False, ensurenl=False)
    shown = highlight(text, lexer, HtmlFormatter(nowrap=True))
    shown = shown if text.endswith("\n") else shown.removesuffix("\n")
    assert html.unescape(re.sub(r"<[^>]+>", "", shown)) == text, "the highlighter changed the source"
    return shown


def definitions(source):
    """{name: line}: the functions and classes of a source, methods as Class.method."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found[node.name] = node.lineno
            for inner in node.body if isinstance(node, ast.ClassDef) else []:
                if isinstance(inner, (ast.FunctionDef, ast.ClassDef)):
                    found[f"{node.name}.{inner.name}"] = inner.lineno
        elif isinstance(node, ast.Assign):
            found.update({target.id: node.lineno for target in node.targets if isinstance(target, ast.Name)})
    return found


def build(root, out, names=None):
    """Write the pages named, or all, into the folder out."""
    site = Site(root)
    for name in names or site.names:
        if name not in site.names:
            raise PageError(f"there is no page {name}: the pages are {', '.join(site.names)}")
        page = Page(site, name)
        page.exercises()
        file = Path(out) / f"{name}.html"
        temporary = file.with_suffix(".tmp")
        temporary.write_bytes(page.html().encode("utf-8"))
        os.replace(temporary, file)


def main(argv=None):
    parser = argparse.ArgumentParser(description="Build docs/study/NAME.html from docs/pages/NAME.md.")
    parser.add_argument("page", nargs="*", help="the pages to build, e.g. algorithm-1 (default: all)")
    args = parser.parse_args(argv)
    try:
        build(ROOT, ROOT / "docs" / "study", args.page)
    except PageError as error:
        print(f"build.py: {error.args[0]}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
