"""Build the study edition: docs/pages/NAME.md gives docs/study/NAME.html.

    python docs/build.py                    build every page
    python docs/build.py algorithm-1 ...    build the pages named

A page is Markdown, with equations between dollars. It has these forms of its own:

    ## `npgan/gan.py`       a heading that is a path: the page shows this whole file
    ### `class Players:`    a heading below: the line of the file at which this note begins.
                            (1 of 2) behind it says which, if the file has two such lines
    `npgan/gan.py::train`   a code span that is a path, a definition in a file, or a piece of
    `npgan/gan.py: end for` one line: checked, and linked to the page that shows the file
    #### Answer             the answer of an exercise, folded. A `python` block and a `text`
                            block behind it: a test runs the program, which prints the text

If a note quotes a line that the file does not have any more, the build stops, so that somebody
reads the note again. The extra `docs` has the libraries. Node runs KaTeX, a copy of which is in
docs/study/katex.
"""

import argparse
import ast
import functools
import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

try:
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name
except ImportError as error:
    print(f'build.py: {error}: install what builds the pages, pip install -e ".[docs]"', file=sys.stderr)
    sys.exit(2)

ROOT = Path(__file__).parents[1]
PAGES = {       # in the order of reading, with the names in the navigation
    "index": "Index",
    "algorithm-1": "Algorithm 1",
    "objectives": "Objectives",
    "backpropagation": "Backpropagation",
    "optimizers": "Optimizers",
    "gradient-checking": "Gradient checking",
    "theorems": "Theorems",
    "divergences": "Divergences",
    "hardness": "Why training is hard",
    "backend": "One backend, two devices",
    "break-it": "Break it",
}
PATH = r"(?:npgan|examples|benchmarks|docs|tests)/[\w/.-]+\.\w+"
KATEX = """
const katex = require(process.argv[1]), equations = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(equations.map(([tex, displayMode]) => {
  try { return [katex.renderToString(tex, {displayMode, output: "html", strict: "error"}), null]; }
  catch (error) { return [null, error.rawMessage || error.message]; }
})));
"""
FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} - npgan, the study edition</title>
<link rel="stylesheet" href="katex/katex.min.css">
<link rel="stylesheet" href="study.css">
</head>
<body>
<a class="skip" href="#main">Skip to the text</a>
<nav aria-label="Pages"><ul>
{links}
</ul></nav>
<main id="main" class="{name}">
{body}
</main>
<nav class="turn" aria-label="Previous and next page">
{turn}
</nav>
</body>
</html>
"""


class PageError(Exception):
    """A page that cannot be built. Its text is one sentence that says where, and what to do."""


class Note(NamedTuple):
    """A note beside a source file: the line that it quotes, and its tokens of Markdown."""

    quote: str          # a line of the source, stripped
    which: int          # 2 of 3: the second of three such lines
    of: int
    line: int           # the line of the page
    body: list


def find_quote(source, note, after=-1):
    """The index of the line that a note quotes; PageError unless it comes behind `after`."""
    found = [i for i, line in enumerate(source.splitlines()) if line.strip() == note.quote]
    if len(found) != note.of:
        advice = f"; write which one it is, (1 of {len(found)}), behind the quote" if len(found) > 1 else ""
        raise PageError(f"the source has {len(found)} lines `{note.quote}`, not {note.of}: "
                        f"read the note again, and quote the line as it is now{advice}")
    at = found[note.which - 1]
    if at <= after:
        raise PageError(f"`{note.quote}` is line {at + 1}, but the note above is at line {after + 1}: "
                        "put the notes in the order of the source")
    return at


class Site:
    """What the pages share: the source files, and which page shows each."""

    def __init__(self, root=ROOT):
        self.root = Path(root)
        self.pages = [name for name in PAGES if (self.root / f"docs/pages/{name}.md").is_file()]
        self.shown = {path: name for name in self.pages         # the page that shows a file
                      for path in re.findall(f"(?m)^## `({PATH})`$", self.read(f"docs/pages/{name}.md"))}

    def read(self, path):
        """The text of a file, byte for byte."""
        try:
            return (self.root / path).read_bytes().decode("utf-8")
        except OSError:
            raise PageError(f"there is no file {path}: correct the path") from None

    def katex(self, equations):
        """[(HTML, None) or (None, what is wrong)] for equations [(TeX, displayed?)]."""
        command = ["node", "-e", KATEX, str(self.root / "docs/study/katex/katex.min.js")]
        try:
            done = subprocess.run(command, input=json.dumps(equations), capture_output=True, text=True,
                                  encoding="utf-8", check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise PageError(f"Node cannot run KaTeX ({error}): install Node") from None
        return json.loads(done.stdout)

    def link(self, reference):
        """The address of `path`, `path::name` or `path: piece of a line`; "" without a page."""
        path, kind, what = re.fullmatch(r"([^:]+)(::|: |)(.*)", reference).groups()
        source = self.read(path)
        places = [1]
        if kind == "::":
            places = [line for name, line in definitions(source) if name == what]
        elif kind:
            places = [number for number, line in enumerate(source.splitlines(), 1) if what in line]
        if len(places) != 1:
            raise PageError(f"{path} has {len(places)} places {what}: name what is there exactly once")
        if path not in self.shown:
            return ""
        return f"{self.shown[path]}.html" + (f"#{Path(path).stem}-{places[0]}" if kind else "")


class Page:
    """One page: its Markdown, and how each kind of piece becomes HTML."""

    def __init__(self, site, name):
        self.site, self.name = site, name
        self.text = site.read(f"docs/pages/{name}.md")
        self.markdown = MarkdownIt("commonmark", {"highlight": highlighted}).enable("table")
        self.markdown.use(dollarmath_plugin, renderer=self.math, allow_space=False, allow_digits=False,
                          allow_labels=False, double_inline=True)
        self.markdown.renderer.rules.update(
            {rule.__name__: only_token(rule) for rule in (self.code_inline, self.image, self.link_open)})
        tokens = self.markdown.parse(self.text)
        every = [*tokens, *(child for token in tokens for child in token.children or [])]
        self.equations = [(token.content.strip(), token.type != "math_inline")      # (TeX, displayed?)
                          for token in every if token.type.startswith("math_")]
        self.typeset = {}           # the HTML of each
        starts = [i for i, token in enumerate(tokens) if token.type == "heading_open"]
        # A section: the level of its heading, the heading, its line, and the tokens below it.
        self.sections = [(int(tokens[a].tag[1]), tokens[a + 1], tokens[a].map[0] + 1, tokens[a + 3:b])
                         for a, b in zip(starts, starts[1:] + [len(tokens)])]
        if not starts or starts[0] or [level for level, *_ in self.sections].count(1) != 1:
            raise self.error(1, "begin the page with its title, `# ` and text, and give it no other")

    def error(self, line, message):
        return PageError(f"docs/pages/{self.name}.md, line {line}: {message}")

    def error_at(self, piece, message):
        """The error of a piece of text, at the line where the page has it first."""
        return self.error(self.text[:self.text.find(piece)].count("\n") + 1, message)

    def math(self, tex, options):
        """An equation. Its TeX is the alternative text."""
        kind = "display" if options["display_mode"] else "inline"
        alt, shown = html.escape(" ".join(tex.split())), self.typeset[tex.strip(), kind == "display"]
        return f'<span class="{kind}" role="img" aria-label="{alt}">{shown}</span>'

    def code_inline(self, token):
        """A code span. If it names a file of the repository, the name is checked and linked."""
        shown = html.escape(token.content)
        if not re.match(f"{PATH}(:|$)", token.content):
            return "<code>" + re.sub(r"(?<= )-\S+", r'<span class="option">\g<0></span>', shown) + "</code>"
        shown = "<code>" + re.sub("(::|_|/)", r"\1<wbr>", shown) + "</code>"       # where a line may end
        try:
            address = self.site.link(token.content).removeprefix(f"{self.name}.html")
        except PageError as error:
            raise self.error_at(token.content, error) from None
        return f'<a href="{html.escape(address)}">{shown}</a>' if address else shown

    def image(self, token):
        """A picture. An SVG becomes a part of the page, so that it takes the page's colours."""
        source, alt = token.attrs["src"], html.escape(token.content)
        if not (self.site.root / "docs/study" / source).is_file():
            raise self.error_at(source, f"there is no picture docs/study/{source}: correct its path")
        if not source.endswith(".svg"):
            return f'<img src="{html.escape(source)}" alt="{alt}">'
        _, svg = self.site.read(f"docs/study/{source}").split("<svg", 1)
        return f'<svg class="picture" role="img" aria-label="{alt}"{svg.strip()}'

    def link_open(self, token):
        address = re.sub(r"^([\w-]+)\.md(?=#|$)", r"\1.html", token.attrs["href"])
        return f'<a href="{html.escape(address)}">'

    def render(self, tokens):
        return self.markdown.renderer.render(tokens, self.markdown.options, {})

    def html(self):
        """The whole page."""
        parts, path, notes, answer = [], None, [], False
        for level, heading, line, body in self.sections:
            if answer and level < 4:
                parts.append("</details>")
                answer = False
            if path and level < 3:
                parts.append(self.listing(path, notes))
                path, notes = None, []
            first, *others = heading.children
            if path:
                number = re.fullmatch(r" \(([1-9]) of ([1-9])\)|", "".join(each.content for each in others))
                if level != 3 or first.type != "code_inline" or not number:
                    raise self.error(line, "below a file, write a heading as `### ` and a source line in a "
                                           "code span, with (1 of 2) behind it if there are two such lines")
                which, of = int(number[1] or 1), int(number[2] or 1)
                notes.append(Note(first.content.strip(), which, of, line, body))
            elif level == 4 and heading.content == "Answer":
                parts.append(f"<details>\n<summary>Answer</summary>\n{self.render(body)}")
                answer = True
            else:
                name = re.sub(r"\W+", "-", heading.content.lower()).strip("-")
                title = self.render([heading])
                parts.append(f'<h{level} id="{name}">{title}</h{level}>\n{self.render(body)}')
                if level == 2 and heading.content.strip("`") in self.site.shown:
                    path = first.content
        parts += [self.listing(path, notes)] if path else ["</details>"] if answer else []
        names = list(PAGES)
        before, after = names[:names.index(self.name)][-1:], names[names.index(self.name) + 1:][:1]
        return FRAME.format(
            title=html.escape(re.sub("[`$]", "", self.sections[0][1].content)),
            name=self.name, body="\n".join(parts),
            links="\n".join(f'<li><a href="{name}.html"{current(name == self.name)}>{PAGES[name]}</a></li>'
                            for name in names),
            turn="\n".join([f'<a rel="prev" href="{name}.html">Before: {PAGES[name]}</a>' for name in before]
                           + [f'<a rel="next" href="{name}.html">Next: {PAGES[name]}</a>' for name in after]))

    def listing(self, path, notes):
        """A whole file, cut at the lines that the notes quote, each piece beside its note."""
        source, stem = self.site.read(path), Path(path).stem
        lines = highlighted(source, "python").splitlines()
        starts = []
        for note in notes:
            try:
                starts.append(find_quote(source, note, *starts[-1:]))
            except PageError as error:
                raise self.error(note.line, f"{path}: {error}") from None
        if starts[:1] != [0]:
            starts, notes = [0, *starts], [None, *notes]
        rows = []
        for note, a, b in zip(notes, starts, starts[1:] + [len(lines)]):
            text = note and (f'<h3><a href="#{stem}-{a + 1}">{a + 1}</a> '
                             f'<code>{html.escape(note.quote)}</code></h3>\n{self.render(note.body)}')
            code = "".join(f'<a id="{stem}-{i + 1}" href="#{stem}-{i + 1}" data-n="{i + 1}" tabindex="-1" '
                           f'aria-hidden="true"></a>{lines[i]}\n' for i in range(a, b))
            rows.append(f'<div class="row">\n<div class="note"><div>{text or ""}</div></div>\n'
                        f'<pre class="code" tabindex="0">{code}</pre>\n</div>')
        return f'<section class="listing" aria-label="{path}">\n' + "\n".join(rows) + "\n</section>"

    def answers(self):
        """[(line, programs, tests)] of the exercises: a program is (source, what it prints)."""
        found = []
        for level, heading, line, body in self.sections:
            if level == 4 and heading.content == "Answer":
                fences = [(token.info.strip(), token.content) for token in body if token.type == "fence"]
                programs = [(source, printed) for (language, source), (after, printed)
                            in zip(fences, fences[1:]) if (language, after) == ("python", "text")]
                tests = re.findall(r"`(tests/\w+\.py::\w+)`", "".join(token.content for token in body))
                if not programs and not tests:
                    raise self.error(line, "give the answer a `python` block with the `text` block that it "
                                           "prints, or name a test, `tests/test_x.py::test_name`")
                found.append((line, programs, tests))
        return found


def load(site, names):
    """{name: Page}, with the equations of all these pages typeset by one run of Node."""
    pages = {name: Page(site, name) for name in names}
    equations = [(page, equation) for page in pages.values() for equation in page.equations]
    for (page, equation), (shown, wrong) in zip(equations, site.katex([each for _, each in equations])):
        if wrong:
            raise page.error_at(equation[0], f"correct the equation, of which KaTeX says: {wrong}")
        page.typeset[equation] = shown
    return pages


def only_token(method):
    """A rule of markdown-it, from a method that needs the token only."""
    return lambda tokens, index, options, env: method(tokens[index])


def current(here):
    return ' aria-current="page"' if here else ""


def highlighted(source, language, attributes=""):
    """The source as HTML. Without its tags it is the source again, byte for byte."""
    lexer = get_lexer_by_name(language or "text", stripnl=False, ensurenl=False)
    return highlight(source, lexer, HtmlFormatter(nowrap=True))


@functools.cache
def definitions(source):
    """[(name, line)] of the functions, classes and methods (Class.method) of a module."""
    found = []
    for node in ast.parse(source).body:
        for inner in [node, *(node.body if isinstance(node, ast.ClassDef) else [])]:
            if isinstance(inner, (ast.FunctionDef, ast.ClassDef)):
                found.append((inner.name if inner is node else f"{node.name}.{inner.name}", inner.lineno))
    return found


def build(root, out, names=()):
    """Write the pages named, or every page, into the folder `out`."""
    site = Site(root)
    for name in names:
        if name not in site.pages:
            raise PageError(f"there is no page {name}: take one of {', '.join(site.pages)}")
    for name, page in load(site, names or site.pages).items():
        page.answers()
        file = Path(out) / f"{name}.html"
        file.with_suffix(".tmp").write_bytes(page.html().encode("utf-8"))
        os.replace(file.with_suffix(".tmp"), file)


def main():
    parser = argparse.ArgumentParser(description="Build docs/study/NAME.html from docs/pages/NAME.md.")
    parser.add_argument("name", nargs="*", help="a page, e.g. algorithm-1 (default: every page)")
    try:
        build(ROOT, ROOT / "docs" / "study", parser.parse_args().name)
    except PageError as error:
        print(f"build.py: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
