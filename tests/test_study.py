"""The study edition: pages built from docs/pages, with notes beside the code they quote."""

import contextlib
import importlib.util
import io
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import programs
import pytest

for library in ("markdown_it", "mdit_py_plugins", "pygments"):
    pytest.importorskip(library, reason='the study pages need the extra docs: pip install -e ".[docs]"')
if not shutil.which("node"):
    pytest.skip("the study pages need Node, which runs KaTeX", allow_module_level=True)

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "docs" / "study"
spec = importlib.util.spec_from_file_location("build", ROOT / "docs" / "build.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)

SITE = build.Site()
PAGES = build.load(SITE, SITE.pages)
each_page = pytest.mark.parametrize("name", SITE.pages)


class Read(HTMLParser):
    """What a test needs of a page: ids, addresses, equations, code by file, all other text."""

    def __init__(self, name):
        super().__init__()
        self.ids, self.addresses, self.equations, self.headings = [], [], [], []
        self.code, self.numbers, self.text = {}, {}, ""
        self.file, self.inside = None, []
        self.feed((STUDY / f"{name}.html").read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        a = dict(attributes)
        if tag not in ("meta", "link", "img", "br", "hr", "path", "line", "circle", "rect", "use", "polygon"):
            self.inside.append((tag, a.get("class")))
        self.ids += [a["id"]] if "id" in a else []
        self.addresses += [a[key] for key in ("href", "src") if key in a]
        if a.get("class") in ("inline", "display"):
            self.equations.append(a["aria-label"])
        if a.get("class") == "listing":
            self.file = a["aria-label"]
            self.code[self.file], self.numbers[self.file] = "", []
        if "data-n" in a:
            self.numbers[self.file].append(int(a["data-n"]))

    def handle_endtag(self, tag):
        while self.inside and self.inside.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if ("pre", "code") in self.inside:
            self.code[self.file] += data
        elif not {"pre", "code", "svg", "title"} & {tag for tag, _ in self.inside}:
            self.text += data


@pytest.fixture(scope="module")
def read():
    return {name: Read(name) for name in SITE.pages}


def test_every_page_of_the_navigation_is_there_and_no_other():
    assert SITE.pages == list(build.PAGES)
    for files in ((ROOT / "docs" / "pages").glob("*.md"), STUDY.glob("*.html")):
        assert {file.stem for file in files} == set(SITE.pages)


@each_page
def test_the_committed_page_is_the_built_one(name):
    committed = (STUDY / f"{name}.html").read_bytes()
    assert PAGES[name].html().encode("utf-8") == committed, "run python docs/build.py, and commit the page"


@each_page
def test_the_code_shown_is_the_source_byte_for_byte_with_its_line_numbers(name, read):
    for path, code in read[name].code.items():
        source = (ROOT / path).read_bytes().decode("utf-8")
        assert code == source
        assert read[name].numbers[path] == [i + 1 for i in range(source.count("\n"))]


def test_every_link_and_picture_resolves(read):
    for name, page in read.items():
        assert len(page.ids) == len(set(page.ids)), f"{name}: an id is there twice"
        for address in page.addresses:
            if re.match("https?:", address):
                continue
            path, _, anchor = address.partition("#")
            assert not path or (STUDY / path).is_file(), f"{name}: {address}"
            if anchor:
                assert anchor in read[path.removesuffix(".html") or name].ids, f"{name}: {address}"


def test_every_picture_is_on_a_page():
    text = "".join(page.text for page in PAGES.values())
    assert [picture.name for picture in (STUDY / "pictures").iterdir()
            if f"(pictures/{picture.name})" not in text] == []


def test_the_fonts_of_the_equations_are_there():
    fonts = re.findall(r"url\((.*?)\)", (STUDY / "katex" / "katex.min.css").read_text(encoding="utf-8"))
    assert fonts and all((STUDY / "katex" / font).is_file() for font in fonts)


@each_page
def test_every_equation_is_rendered_and_its_tex_is_the_alternative_text(name, read):
    prose = re.sub(r"(?ms)^(```).*?^\1$|``.*?``|`[^`]+`", "", PAGES[name].text)
    written = [" ".join((a or b).split()) for a, b in re.findall(r"(?s)\$\$(.+?)\$\$|\$(.+?)\$", prose)]
    assert read[name].equations == written
    assert not re.search(r"[$]|\\[a-z]+|katex-error", read[name].text)


@each_page
def test_a_page_is_lighter_than_one_megabyte(name):
    assert (STUDY / f"{name}.html").stat().st_size < 1e6


@each_page
def test_a_change_of_any_line_that_a_note_quotes_stops_the_build(name, monkeypatch):
    quoted = []
    monkeypatch.setattr(PAGES[name], "listing", lambda path, notes: quoted.append((path, notes)) or "")
    PAGES[name].html()
    assert quoted or "\n### `" not in PAGES[name].text
    for path, notes in quoted:
        lines, at = SITE.read(path).splitlines(), -1
        for note in notes:
            at = build.find_quote("\n".join(lines), note, at)
            changed = [*lines[:at], lines[at] + "  # changed", *lines[at + 1:]]
            with pytest.raises(build.PageError):
                build.find_quote("\n".join(changed), note)


def note(quote, which=1, of=1):
    return build.Note(quote, which, of, 1, [])


def test_a_quote_is_a_line_of_the_source_as_often_as_the_note_says_and_in_order():
    source = "a = 1\nif a:\n    b = 2\n    a = 1\n"
    assert [build.find_quote(source, each) for each in (note("b = 2"), note("a = 1", 2, 2))] == [2, 3]
    with pytest.raises(build.PageError, match=r"0 lines `c`, not 1: read the note again"):
        build.find_quote(source, note("c"))
    with pytest.raises(build.PageError, match=r"2 lines `a = 1`, not 1: .*, \(1 of 2\), behind the quote"):
        build.find_quote(source, note("a = 1"))
    with pytest.raises(build.PageError, match=r"`if a:` is line 2, but the note above is at line 3: put"):
        build.find_quote(source, note("if a:"), after=2)


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A function that changes a copy of the repository and builds the page of Algorithm 1."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("pictures", "*.woff2"))
    shutil.copytree(ROOT / "npgan", tmp_path / "npgan", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("tests", "examples", "benchmarks"):
        (tmp_path / folder).symlink_to(ROOT / folder)

    def run(path, old, new):
        file = tmp_path / path
        text = file.read_text(encoding="utf-8")
        assert text.count(old) == 1
        file.write_text(text.replace(old, new), encoding="utf-8")
        monkeypatch.setattr(build, "ROOT", tmp_path)
        monkeypatch.setattr(sys, "argv", ["build.py", "algorithm-1"])
        build.main()
    return run


@pytest.mark.parametrize("path, old, new, message", [
    ("npgan/gan.py", "def generator_gradient(players, z):", "def generator_gradient(players, noise):",
     r"npgan/gan.py: the source has 0 lines `def generator_gradient\(players, z\):`, not 1: read the note"),
    ("docs/pages/algorithm-1.md", "## Exercises\n", "## Exercises\n\n$\\fracc12$\n",
     r"correct the equation, of which KaTeX says: Undefined control sequence: \\fracc"),
    ("docs/pages/algorithm-1.md", "## Exercises\n", "## Exercises\n\n`npgan/gan.py::nothing`\n",
     "npgan/gan.py has 0 places nothing: name what is there exactly once"),
    ("docs/pages/algorithm-1.md", "## Exercises\n", "## Exercises\n\n![](pictures/nothing.png)\n",
     "there is no picture docs/study/pictures/nothing.png: correct its path"),
    ("docs/pages/algorithm-1.md", "## Exercises\n", "## Exercises\n\n#### Answer\n\nYes.\n",
     "give the answer a `python` block"),
    ("docs/pages/algorithm-1.md", "# Algorithm 1\n", "## Algorithm 1\n", "begin the page with its title"),
], ids=["source", "equation", "name", "picture", "answer", "title"])
def test_a_page_that_cannot_be_built_is_one_sentence_with_page_and_line(
        copy, capsys, path, old, new, message):
    with pytest.raises(SystemExit) as end:
        copy(path, old, new)
    assert end.value.code == 2
    start = r"build\.py: docs/pages/algorithm-1\.md, line \d+: "
    assert re.fullmatch(f"{start}.*{message}.*\n", capsys.readouterr().err)


def test_a_page_is_written_into_the_study_folder(copy, tmp_path):
    copy("docs/pages/algorithm-1.md", "# Algorithm 1\n", "# Algorithm One\n")
    assert '<h1 id="algorithm-one">' in (tmp_path / "docs" / "study" / "algorithm-1.html").read_text("utf-8")


ANSWERS = [pytest.param(source, printed, id=f"{name}-{line}") for name, page in PAGES.items()
           for line, programs, _ in page.answers() for source, printed in programs]


@pytest.mark.parametrize("source, printed", ANSWERS)
def test_the_program_of_an_answer_prints_what_the_page_says(source, printed):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(source, "answer", "exec"), {"__name__": "__main__"})
    assert out.getvalue() == printed


# --- The index --------------------------------------------------------------------------------

ROWS = [[cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in PAGES["index"].text.splitlines() if re.match(r"\| (?!---)", line)]
ROWS = [row for row in ROWS if row[1:] != ["code", "test", "figure", "command"]]


def test_the_index_has_every_numbered_statement_of_the_sources():
    text = " ".join(row[0] for row in ROWS).lower()
    for statement in ("minibatch stochastic gradient descent", "proposition 1", "proposition 2", "theorem 1:",
                      *(f"equation {i}" for i in range(1, 7)), *(f"figure {i}" for i in (1, 2, 3)),
                      "table 1", "table 2", *(f"theorem 2.{i}:" for i in range(1, 7)), "corollary 2.1",
                      *(f"theorem 3.{i}" for i in (1, 2, 3)), *(f"lemma {i}:" for i in range(1, 5))):
        assert statement in text


def test_every_row_of_the_index_is_filled_and_says_why_where_there_is_nothing():
    """The build and the tests above check that each definition, test and picture exists."""
    patterns = {"code": rf"`{build.PATH}(::|: )[^`]+`", "test": r"`tests/test_\w+\.py::test_\w+`",
                "figure": r"\]\((\.\./)?pictures/", "command": "`python "}
    for statement, *cells in ROWS:
        assert statement and len(cells) == len(patterns)
        for cell, (what, pattern) in zip(cells, patterns.items()):
            assert re.search(pattern, cell) or re.fullmatch(rf"no {what}: .{{20,}}", cell), statement


COMMANDS = sorted({command for row in ROWS for command in re.findall(r"`python ([^`]+)`", row[4])})


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_index_is_understood_by_its_program(command):
    program, *arguments = command.split()
    if program == "-m":
        assert importlib.util.find_spec(arguments[0])
    else:
        programs.load(Path(program).stem).parser().parse_args(arguments)
