"""Rules of the house that import-linter can't see: read from the source, so that nobody has to remember them."""

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from jinja2 import nodes

from app.config import ROOT

pytestmark = pytest.mark.one_database

APP = ROOT / "app"
TEMPLATES = APP / "templates"
LETTERS = TEMPLATES / "auth" / "letters"  # mail programs know nothing but style attributes
FRAMED = TEMPLATES / "messages" / "preview.html"  # in a sandboxed iframe, with a policy of its own
HTTP = {
    "abort",
    "flash",
    "g",
    "make_response",
    "redirect",
    "render_template",
    "request",
    "Response",
    "session",
    "url_for",
}


def sources() -> list[Path]:
    return sorted(path for path in APP.rglob("*.py") if "__pycache__" not in path.parts)


def templates() -> list[Path]:
    return sorted(path for path in TEMPLATES.rglob("*") if path.is_file())


def named(*names: str) -> list[Path]:
    return [path for path in sources() if path.stem in names and path.parent != APP]


def nodes_of(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text()))


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call, with what is called as it is written."""
    for node in nodes_of(path):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def imports(path: Path) -> set[str]:
    """What a module imports, as module.name."""
    found = set()
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def each(paths: Callable[[], list[Path]] | list[Path]) -> pytest.MarkDecorator:
    found = paths() if callable(paths) else paths
    return pytest.mark.parametrize("path", found, ids=short)


# Time


@each(sources)
def test_the_time_is_asked_of_the_clock(path: Path) -> None:
    """Naive moments are hours off somewhere, and two clocks can't be set in a test."""
    if path == APP / "clock.py":
        return
    for name, call in calls(path):
        last = name.rpartition(".")[2]
        assert last not in ("utcnow", "utcfromtimestamp", "today"), f"line {call.lineno}: {name}"
        if last == "now":
            assert name in ("clock.now", "now", "func.now"), f"line {call.lineno}: {name}"
        if last == "fromtimestamp":
            assert len(call.args) + len(call.keywords) == 2, f"line {call.lineno}: {name} without a zone"


# Layers


@each(named("service", "queries", "models"))
def test_services_and_queries_neither_commit_nor_know_http(path: Path) -> None:
    for name, call in calls(path):
        assert not name.endswith(".commit"), f"line {call.lineno}: {name}"
        assert name not in ("enqueue", "enqueue_many", "alarm"), f"line {call.lineno}: {name}"
    for imported in imports(path):
        module, _, name = imported.rpartition(".")
        assert not (module == "flask" and name in HTTP), imported
        assert imported not in ("app.web", "flask_wtf", "app.queue"), imported
        assert not imported.startswith(("app.web.", "app.queue.", "flask_wtf.", "wtforms.")), imported


@each(named("jobs"))
def test_jobs_know_no_http(path: Path) -> None:
    assert not {f"flask.{name}" for name in HTTP - {"g"}} & imports(path)
    assert "app.web" not in imports(path)


def test_blueprints_are_made_in_views_and_called_blueprint() -> None:
    made = []
    for path in sources():
        for node in nodes_of(path):
            if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Blueprint("):
                assert ast.unparse(node.targets[0]) == "blueprint", short(path)
                made.append(path)
    assert [short(path) for path in made if path.name != "views.py"] == ["app/health.py"]
    assert len(made) == len({path.parent for path in made} | {APP}) > 5


def jobs() -> Iterator[tuple[Path, ast.FunctionDef]]:
    for path in sources():
        for node in nodes_of(path):
            if isinstance(node, ast.FunctionDef):
                decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
                if any(decorator.startswith(("job(", "queue.job(")) for decorator in decorators):
                    yield path, node


def test_jobs_have_names_of_their_own() -> None:
    """The queue knows a waiting call by the function's name and its ids."""
    names = Counter(job.name for _, job in jobs())
    assert names.total() > 3
    assert max(names.values()) == 1, names


def test_jobs_stand_in_jobs_and_take_ids_only() -> None:
    for path, job in jobs():
        assert path.name == "jobs.py", f"{short(path)}: {job.name}"
        for argument in job.args.args:
            assert argument.annotation is not None
            assert ast.unparse(argument.annotation) == "int", f"{short(path)}: {job.name}({argument.arg})"


# Templates


def written_names(path: Path) -> set[str]:
    """What a module calls templates by, as patterns: f-strings leave gaps."""
    found = set()
    for node in nodes_of(path):
        if isinstance(node, ast.JoinedStr):
            parts = [re.escape(part.value) if isinstance(part, ast.Constant) else ".+" for part in node.values]
            found.add("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(re.escape(node.value))
    return {name for name in found if name.endswith((r"\.html", r"\.txt"))}


def test_every_template_is_used(app: Flask) -> None:
    patterns: set[str] = set().union(*(written_names(path) for path in sources()))
    for path in templates():
        tree = app.jinja_env.parse(path.read_text())
        patterns |= {re.escape(const.value) for const in tree.find_all(nodes.Const) if isinstance(const.value, str)}
    unused = [
        name
        for name in (path.relative_to(TEMPLATES).as_posix() for path in templates())
        if not any(re.fullmatch(pattern, name) for pattern in patterns)
    ]
    assert unused == []


def test_every_template_that_is_asked_for_is_there(app: Flask) -> None:
    there = {path.relative_to(TEMPLATES).as_posix() for path in templates()}
    for path in sources():
        for pattern in written_names(path):
            name = re.sub(r"\\(.)", r"\1", pattern)
            if ".+" not in name and "/" in name and not name.startswith("/"):
                assert name in there, f"{short(path)}: {name}"


@each(named("views"))
def test_views_render_the_templates_of_their_own_folder(path: Path) -> None:
    """/mailings/… is app/mailings/views.py is templates/mailings/: found in a minute."""
    for name, call in calls(path):
        if name in ("web.render", "render_template", "render_block") and isinstance(call.args[0], ast.Constant):
            assert str(call.args[0].value).startswith(f"{path.parent.name}/"), f"line {call.lineno}"


@each([path for path in templates() if path != FRAMED and not path.is_relative_to(LETTERS)])
def test_templates_have_no_script_and_no_style_inside(path: Path) -> None:
    """The Content-Security-Policy would refuse them without a word."""
    source = re.sub(r"{#.*?#}", "", path.read_text(), flags=re.DOTALL)
    html = re.sub(r"{{.*?}}|{%.*?%}", "", source, flags=re.DOTALL)
    assert not re.search(r"<script(?![^>]*\ssrc=)", html)
    assert not re.search(r"<style\b", html)
    assert not re.search(r"\sstyle\s*=", html)
    assert not re.search(r"\son[a-z]{3,}\s*=\s*[\"']", html)
    assert not re.search(r"\shx-on\b|\shx-on:", html)
    assert not re.search(r"[\"']\s*(javascript|data:text/html)", html, re.IGNORECASE)


@each(templates)
def test_templates_ask_no_other_host(path: Path) -> None:
    html = re.sub(r"{#.*?#}", "", path.read_text(), flags=re.DOTALL)
    assert not re.search(r"(?:src|action|data|poster|srcset|hx-[a-z]+)\s*=\s*[\"'](?:https?:)?//", html)
    assert not re.search(r"<link[^>]*href\s*=\s*[\"'](?:https?:)?//", html)
    assert not re.search(r"@import|url\(\s*[\"']?(?:https?:)?//", html)


@each(templates)
def test_templates_trust_no_text(path: Path) -> None:
    """What is safe comes as Markup from the one place that made it so."""
    if path != FRAMED:
        assert not re.search(r"\|\s*safe\b|autoescape\s+false", path.read_text())


# Tests


@each(sorted({path.parent for path in named("views")}))
def test_every_package_has_its_tests_beside_the_others(path: Path) -> None:
    folder = ROOT / "tests" / path.name
    assert list(folder.glob("test_*.py")), f"{short(path)} has no tests in tests/{path.name}/"
