"""What a letter may hold."""

import re
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.messages import content
from app.messages.content import BadContent
from app.messages.models import Message

SLOWEST_SECONDS = 10  # on a busy machine; without the guards these take a minute or all memory

XSS = {
    "script": "<script>alert(1)</script>",
    "script in upper case": "<SCRIPT SRC=https://evil.test/x.js></SCRIPT>",
    "script unclosed": "<script>alert(1)",
    "script split by itself": "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "script with a slash": "<script/x>alert(1)</script>",
    "script behind NUL": "<scr\x00ipt>alert(1)</script>",
    "script that ends a comment": "<!--><script>alert(1)</script>-->",
    "script that ends a title": "<title><img alt='</title><script>alert(1)</script>'></title>",
    "script in noscript": '<noscript><p title="</noscript><img src=x onerror=alert(1)>"></noscript>',
    "conditional comment": "<!--[if gte mso 9]><script>alert(1)</script><![endif]-->",
    "image that fails": "<img src=x onerror=alert(1)>",
    "image without blanks": "<img/src='x'/onerror='alert(1)'>",
    "image that loads": '<img src="https://a.test/a.png" onload="alert(1)">',
    "image with a broken quote": '<img """><script>alert(1)</script>">',
    "image with script as address": "<img src=javascript:alert(1)>",
    "image as data": "<img src='data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9YWxlcnQoMSk+'>",
    "image by content id": "<img src='cid:logo'>",
    "handler on a paragraph": "<p onclick='alert(1)' OnMouseOver=alert(1)>x</p>",
    "handler on an animation": "<p style='animation-name:x' onanimationstart=alert(1)>x</p>",
    "link": "<a href='javascript:alert(1)'>x</a>",
    "link in mixed case": "<a href='JaVaScRiPt:alert(1)'>x</a>",
    "link with a tab": "<a href='java\tscript:alert(1)'>x</a>",
    "link with entities": "<a href='&#106;avascript&colon;alert(1)'>x</a>",
    "link with a control character": "<a href='\x01javascript:alert(1)'>x</a>",
    "link with a newline entity": "<a href='java&NewLine;script:alert(1)'>x</a>",
    "link as data": "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "link by vbscript": "<a href='vbscript:msgbox(1)'>x</a>",
    "link by view-source": "<a href='feed:javascript:alert(1)'>x</a>",
    "link without scheme": "<a href='//evil.test/'>x</a>",
    "frame": "<iframe src='javascript:alert(1)'></iframe>",
    "frame with a document": "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "object": "<object data='javascript:alert(1)'></object><embed src='javascript:alert(1)'>",
    "svg": "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "svg that animates a link": "<svg><a><animate attributeName=href values=javascript:alert(1) /></a></svg>",
    "svg with foreign content": "<svg><foreignObject><img src=x onerror=alert(1)></foreignObject></svg>",
    "mathml": "<math><maction actiontype=statusline xlink:href=javascript:alert(1)>x</maction></math>",
    "mutation by mathml": "<math><mtext><table><mglyph><style><!--</style><p title='--><img src=x onerror=alert(1)>'>",
    "mutation by svg style": "<svg></p><style><a id='</style><img src=x onerror=alert(1)>'>",
    "mutation by form": "<form><math><mtext></form><form><mglyph><style></math><img src=x onerror=alert(1)>",
    "mutation by noembed": "<noembed><p id='</noembed><img src=x onerror=alert(1)>'>",
    "template": "<template><img src=x onerror=alert(1)></template>",
    "form": "<form action='https://evil.test'><input name=password><button formaction='javascript:alert(1)'>x</button>",
    "form on an input": "<input autofocus onfocus=alert(1)><select autofocus onfocus=alert(1)><textarea autofocus>",
    "refresh": "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    "base": "<base href='https://evil.test/'><a href='x'>x</a>",
    "style sheet": "<link rel=stylesheet href='https://evil.test/x.css'><style>@import 'https://evil.test/x.css';</style>",
    "style with an address": "<p style='background:url(javascript:alert(1))'>x</p>",
    "style with a remote address": "<p style=\"color:red;background:url('https://evil.test/x.png')\">x</p>",
    "style with an expression": "<p style='width:expression(alert(1))'>x</p>",
    "style with an escape": "<p style='width:e\\78 pression(alert(1))'>x</p>",
    "style with a comment": "<p style='width:exp/**/ression(alert(1))'>x</p>",
    "style with a behaviour": "<p style='behavior:url(#x);-moz-binding:url(https://evil.test/x)'>x</p>",
    "style that covers the page": "<p style='position:fixed;inset:0;z-index:9999'>x</p>",
    "style with a quote": "<p style='font-family:\"a;background:url(x)\";color:red'>x</p>",
    "background of a table": "<table background='javascript:x'><tr><td background='javascript:x'>x</td></tr></table>",
    "audio and video": "<video><source onerror=alert(1)></video><audio src=x onerror=alert(1)>",
    "details": "<details open ontoggle=alert(1)>x</details>",
    "marquee": "<marquee onstart=alert(1)>x</marquee>",
    "image map": "<map name=x><area href='javascript:alert(1)'></map>",
    "processing instruction": "<?xml-stylesheet href='javascript:alert(1)'?>",
    "cdata": "<![CDATA[<img src=x onerror=alert(1)>]]>",
    "attribute that ends in a tag": "<p title='\"><script>alert(1)</script>'>x</p>",
}

_USUAL = "<table></table><tr><td><p></p><b></b></a><ul><li></ul><pre>x<!-- --><font color=red>&lt;script&gt;"
_PIECES = sorted({piece for html in (*XSS.values(), _USUAL) for piece in re.findall(r"<[^>]*>?|[^<]+", html)})

BOMBS = {
    "open blocks": "<div>" * 10_000 + "x",
    "half a megabyte of open blocks": "<div>" * 100_000,
    "list items in definitions": "<li><dd>" * 60_000,
    "open formatting": "<b>x</div>" * 40_000,
    "formatting across paragraphs": "<p>" + "".join(f"<b title={n}>" for n in range(100)) + "</p>" + "<p>x" * 90_000,
    "closing what is not open": "<div></span>" * 20_000,
    "tables": "<table><tr><td>" * 10_000,
    "foreign rows": "<svg>" + "<tr>" * 50_000,
    "attributes": "<p " + " ".join(f"a{n}=1" for n in range(50_000)) + ">",
    "attributes between slashes": "<p/" + "/".join(f"a{n}" for n in range(50_000)) + ">",
    "attributes between quotes": "<p " + "".join(f"a{n}=''" for n in range(50_000)) + ">",
}
HARMLESS_BOMBS = {
    "less-than signs": "<" * 400_000,
    "open comments": "<!--" * 100_000,
    "broken tags": "<a b" * 100,
    "one broken tag": "<a" * 200_000,
    "declarations": "<p style='" + "color:rgb(" * 40_000 + "'>x",
    "list lines behind a deep indent": "<ul>" * 140 + "<li>x</li>" * 40_000,
    "one long cell and many short rows": "<table><tr><td>" + "long " * 20_000 + "<tr><td>a<td>b" * 20_000,
    "inline elements": "<b>x</b>" * 50_000,
}


class _Everything(HTMLParser):
    """All tags and attributes of a text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.declarations: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_comment(self, data: str) -> None:
        self.declarations.append(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def assert_inert(html: str) -> None:
    found = _Everything(html)
    assert not found.declarations
    for tag, attributes in found.tags:
        assert tag in content.TAGS
        for name, value in attributes.items():
            assert name in content.ATTRIBUTES["*"] | content.ATTRIBUTES.get(tag, frozenset())
            if name == "href":
                assert (value or "").lower().startswith(("http://", "https://", "mailto:", "tel:"))
            if name == "src":
                assert (value or "").lower().startswith(("http://", "https://"))
            if name == "style":
                for word in (
                    "url",
                    "expression",
                    "javascript",
                    "\\",
                    "position",
                    "behavior",
                    "binding",
                    "/*",
                    "animation",
                ):
                    assert word not in (value or "").lower()


@pytest.mark.parametrize("html", XSS.values(), ids=XSS)
def test_nothing_active_is_left(context, html):
    cleaned = content.sanitise(html)
    assert_inert(cleaned)
    assert content.sanitise(cleaned) == cleaned


@pytest.mark.parametrize("html", XSS.values(), ids=XSS)
def test_nothing_active_is_left_inside_a_letter(context, html):
    cleaned = content.sanitise(f"<table><tr><td><p>Before {html} after</p></td></tr></table>")
    assert_inert(cleaned)
    assert content.sanitise(cleaned) == cleaned


@settings(max_examples=100)
@given(pieces=st.lists(st.sampled_from(_PIECES), max_size=15))
def test_nothing_active_comes_of_pieces_put_together(pieces):
    html = "".join(pieces)
    assert_inert(content.sanitise(html))
    content.removed_from(html)
    content.text_of(html)


def test_what_letters_need_is_kept(context):
    letter = (
        '<table width="600" align="center" cellpadding="0" cellspacing="0" border="0" role="presentation">'
        '<tbody><tr><td class="cell" valign="top" style="padding:12px 0;color:#333333;border-bottom:1px solid #cccccc">'
        '<h1>Новости</h1><p style="font-family:Arial">Привет, <b>Анна</b>!<br>'
        '<a href="https://golub.example/?a=1&amp;b=2">Читать</a> <a href="mailto:hi@golub.example">Написать</a> '
        '<a href="tel:+74951234567">Позвонить</a></p>'
        '<img src="https://golub.example/logo.png" alt="Golub" width="120" height="40"><hr>'
        "<ul><li>раз</li><li>два</li></ul></td></tr></tbody></table>"
    )
    assert content.sanitise(letter) == letter
    assert content.removed_from(letter) == []


def test_colours_and_lengths_with_functions_are_kept(context):
    cleaned = content.sanitise('<p style="color: rgba(1, 2, 3, 0.5); WIDTH: calc(100% - 5px); position: fixed">x</p>')
    assert cleaned == '<p style="color:rgba(1, 2, 3, 0.5);width:calc(100% - 5px)">x</p>'


def test_a_whole_document_becomes_a_fragment(context):
    document = "<!doctype html><html><head><title>No</title><meta charset=utf-8></head><body bgcolor=red><p>Yes</p>"
    assert content.sanitise(document).strip() == "<p>Yes</p>"
    assert content.removed_from(document) == []


def test_it_names_what_it_removes(context):
    letter = (
        '<p onclick="x()">Hi<script>x()</script><script>y()</script></p><form><input></form><style>p{}</style>'
        '<a href="javascript:x()">a</a><img src="cid:logo"><a href="https://golub.example">b</a>'
    )
    removed = content.removed_from(letter)
    assert removed == [
        "<form>", "<input>", "<script>", "<style>", 'href="javascript:x()"', "onclick", 'src="cid:logo"',
    ]  # fmt: skip


def test_long_addresses_are_named_in_short(context):
    (removed,) = content.removed_from('<img src="data:image/png;base64,' + "A" * 10_000 + '">')
    assert len(removed) < 60


@pytest.mark.parametrize("html", ["", "   ", "<!-- x -->", "<?xml version='1.0' encoding='x'?>", "\x00"])
def test_nothing_is_removed_from_nothing(context, html):
    assert content.removed_from(html) == []


@pytest.mark.parametrize("html", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_quickly(context, html):
    begin = time.process_time()
    with pytest.raises(BadContent):
        content.parse_html(html)
    assert time.process_time() - begin < SLOWEST_SECONDS


@pytest.mark.parametrize("html", HARMLESS_BOMBS.values(), ids=HARMLESS_BOMBS)
def test_what_only_looks_like_a_bomb_is_cleaned_quickly(context, html):
    begin = time.process_time()
    assert_inert(content.sanitise(html))
    assert len(content.text_of(html)) <= 2 * content.LARGEST_BODY
    content.removed_from(html)
    assert time.process_time() - begin < SLOWEST_SECONDS


def test_a_large_letter_of_layout_tables_is_no_bomb(context):
    row = (
        '<table width="100%"><tr><td><div><table><tr><td><p style="color:red"><b><a href="https://a.test/">Text'
        "</a></b></p><p>More<p>and more</td></tr></table></div></td></tr></table>"
    )
    assert content.parse_html("<center><div>" + row * 2_000 + "</div></center>")


# ── Fields ──


def test_a_subject_is_composed_and_trimmed(context):
    assert content.parse_subject("  Йо\u0438\u0306 ё ") == "Йой ё"


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "  ",
        "\u200b",
        "one\ntwo",
        "one\r\nBcc: x@evil.test",
        "end\n",
        "tab\there",
        "nul\x00",
        "line\u2028two",
        "x" * 201,
    ],
)
def test_a_bad_subject_is_refused(context, subject):
    with pytest.raises(BadContent):
        content.parse_subject(subject)


def test_a_subject_of_200_characters_is_no_bad_one(context):
    assert len(content.parse_subject("Щ" * 200)) == 200


@pytest.mark.parametrize(
    "html",
    ["", " \n", "<p></p>", "<p>&nbsp;</p>", "<p>\u200b</p>", "<script>alert(1)</script>", "<img src='cid:x'>",
     "<!-- x -->", "<div style='display:none'>x</div>", "<table><tr><td></td></tr></table>"],
)  # fmt: skip
def test_a_letter_in_which_nothing_is_seen_is_refused(context, html):
    with pytest.raises(BadContent, match="can be seen"):
        content.parse_html(html)


def test_a_letter_may_be_a_picture(context):
    assert content.parse_html('<img src="https://golub.example/a.png">')


def test_a_body_over_half_a_megabyte_is_refused(context):
    with pytest.raises(BadContent, match="500 kB"):
        content.parse_html("<p>" + "щ" * 250_000 + "</p>")
    with pytest.raises(BadContent, match="500 kB"):
        content.parse_text("щ" * 250_001)


def test_a_body_that_grows_over_half_a_megabyte_is_refused(context):
    with pytest.raises(BadContent, match="500 kB"):
        content.parse_html("&" * 499_999)


def test_control_characters_leave_the_bodies(context):
    assert content.parse_html("<p>a\x00b\x07c\r\nd</p>") == "<p>abc\nd</p>"
    assert content.parse_text("\r\na\x00b\x1b\r\n\tc\n\n") == "ab\n\tc"


def test_a_text_of_blanks_is_none(context):
    assert content.parse_text(" \n\t ") == ""


# ── The text part ──


def test_paragraphs_and_lists_become_lines():
    html = "<h1>Новости</h1><p>Привет,\n  <b>Анна</b>!<br>Как дела?</p><ul><li>раз<li>два</ul><ol><li>one</li></ol>"
    assert content.text_of(html) == "Новости\n\nПривет, Анна!\nКак дела?\n\n  * раз\n  * два\n 1. one"


def test_links_survive_in_text():
    html = (
        '<p><a href="https://golub.example/новости?a=1&amp;b=2">Читать <b>дальше</b></a>, '
        '<a href="mailto:hi@golub.example?subject=x">пишите</a>, <a href="tel:+7495">+7495</a>, '
        '<a href="https://golub.example/">https://golub.example/</a>, <a>просто</a>.</p>'
    )
    assert content.text_of(html) == (
        "Читать дальше (https://golub.example/новости?a=1&b=2), пишите (hi@golub.example), +7495, "
        "https://golub.example/, просто."
    )


def test_a_linked_picture_keeps_its_name_and_address():
    html = '<a href="https://golub.example/"><img src="https://golub.example/logo.png" alt="Голубь"></a>'
    assert content.text_of(html) == "[Голубь] (https://golub.example/)"


def test_a_table_becomes_a_line_a_row():
    html = (
        "<table><thead><tr><th>Товар</th><th>Цена</th></tr></thead><tbody>"
        "<tr><td>Голубь</td><td align=right>500</td></tr><tr><td></td><td>Клетка</td></tr></tbody></table><p>Конец"
    )
    assert content.text_of(html) == "Товар  Цена\nГолубь  500\nКлетка\n\nКонец"


def test_rows_without_a_body_stand_together():
    assert content.text_of("x<table><tr><td>1<td>2<tr><td>3<td>4</table>") == "x\n\n1  2\n3  4"


def test_layout_tables_leave_no_trace_but_the_text():
    html = (
        "<table><tr><td><table><tr><td> <p>Шапка</p> </table></td></tr><tr><td><p>Раз</p><p>Два</p></td></tr></table>"
    )
    assert content.text_of(html) == "Шапка\n\nРаз\n\nДва"


def test_preformatted_text_keeps_its_lines():
    assert content.text_of("<pre>a\n   b</pre>") == "a\n   b"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("<!-- nothing -->", ""),
        ("just text & more", "just text & more"),
        ("<p>open <b>bold", "open bold"),
        ("</p></div>closed</b>", "closed"),
        ("<b><p>crossed</b> tags</p>", "crossed tags"),
        ("a < b and c > d", "a < b and c > d"),
        ("<table><td>cell", "cell"),
        ("<td>cell</td>", "cell"),
        ("<li>item", "* item"),
        ("&lt;b&gt; &amp;lt; &hellip; &unknown; &#1078;", "<b> &lt; … &unknown; ж"),
        ("<a href='https://a.test/?a=1&amp;copy=2'>a</a>", "a (https://a.test/?a=1&copy=2)"),
        ("<p style='padding-left:99999999em;margin-top:9999em'>far</p>", "far"),
        ("<ol><li value='²'>two</ol>", "1. two"),
        ("<style>p{}</style><script>x</script><title>t</title>read", "read"),
        ("<span style='display : none'>preheader</span>read", "read"),
        ("\x00<p>nul\x02</p>", "nul"),
        ("<?xml version='1.0' encoding='koi8-r'?><meta charset=windows-1251><p>Ж</p>", "Ж"),
        ("<a href='https://a.test'><a href='https://b.test'>b</a>", "b (https://b.test)"),
        ("</ul></ol></table>x", "x"),
    ],
)
def test_broken_html_is_read_as_well_as_can_be(html, text):
    assert " ".join(content.text_of(html).split()) == text


def test_text_nested_too_deeply_for_a_layout_is_still_there():
    assert content.text_of("<div>" * 1_000 + "<p>deep</p>" + "</div>" * 1_000 + "<p>after</p>").split() == [
        "deep",
        "after",
    ]


def test_the_text_part_is_the_owners_or_made_from_the_html():
    assert content.text_part(Message(html="<p>HTML</p>", text="")) == "HTML"
    assert content.text_part(Message(html="<p>HTML</p>", text="Mine")) == "Mine"


# ── Merge fields ──


@pytest.mark.parametrize(
    "html",
    [
        '<p>Hello {{ first_name | default: "friend" }}!</p>',
        '<a href="{{ unsubscribe_url }}">Unsubscribe</a>',
        '<a href="mailto:{{ email }}">x</a>',
        '<a href="https://golub.example/?e={{ email }}&amp;n={{ last_name | default: &quot;x&quot; }}">x</a>',
        '<p title="{{ full_name }}">{{&nbsp;attributes.city&nbsp;}}</p>',
        '<img src="https://golub.example/{{ attributes.picture }}.png">',
    ],
)
def test_fields_survive_cleaning_as_they_are(html):
    assert content.parse_html(html) == html
    assert content.parse_html(content.parse_html(html)) == html
    assert content.removed_from(html) == []


@pytest.mark.parametrize(
    "href",
    [
        "{{unsubscribe_url}}",
        "{{&nbsp;unsubscribe_url }}",
        "%7B%7B%20unsubscribe_url%20%7D%7D",
        " {{ unsubscribe_url }}",
    ],
)
def test_the_link_to_unsubscribe_is_kept_however_an_editor_writes_it(href):
    cleaned = content.parse_html(f"<a href='{href}'>x</a>")
    assert re.fullmatch(r'<a href=" ?\{\{ unsubscribe_url \}\}">x</a>', cleaned)
    assert content.text_of(cleaned) == "x ({{ unsubscribe_url }})"


@pytest.mark.parametrize(
    "html",
    [
        "<a href='{{ attributes.site }}'>x</a>",
        "<a href='javascript:{{ unsubscribe_url }}'>x</a>",
        "<a href='x{{ unsubscribe_url }}'>x</a>",
        "<{{ unsubscribe_url }} onclick=x>x",
        "<p {{ unsubscribe_url }} onclick=x>x",
        "<script>{{ unsubscribe_url }}</script>x",
        "<p style='color:{{ unsubscribe_url }}'>x</p>",
    ],
)
def test_a_field_opens_no_way_around_the_cleaning(html):
    cleaned = content.sanitise(html)
    assert_inert(cleaned)
    assert "href" not in cleaned
    assert ".invalid" not in cleaned


@pytest.mark.parametrize(
    ("html", "words"),
    [
        (
            "<p>Hi</p>\n<p>{{ first_nme }}</p>",
            "Line 2, column 4: there is no field “first_nme”. Did you mean “first_name”?",
        ),
        (
            "<p onclick='x' title='a'\nid='b'>{{ <b>first_name</b> }}",
            "Line 2, column 8: there is formatting inside a field.",
        ),
        ("<p>{<b>{ first_name }}</b>", "there is formatting inside a field."),
        ("<p>{{ first_name }</p><p>{{ email }}</p>", "Line 1, column 4: “{{” begins a field"),
        ("<!-- {{ old }} --><p>{{ nme }}</p>", "there is no field “nme”."),
        ("<p>&#123;&#123; nme }}</p>", "there is no field “nme”."),
    ],
)
def test_what_is_no_field_is_refused_with_its_place_as_typed(html, words):
    with pytest.raises(BadContent) as caught:
        content.parse_html(html)
    assert words in str(caught.value)


def test_fields_in_what_is_left_out_are_nobodys_business():
    assert content.parse_html("<!-- {{ x }} --><style>a{{x}}</style><p>y</p>") == "<p>y</p>"


@pytest.mark.parametrize("parse", [content.parse_subject, content.parse_text])
def test_subjects_and_text_parts_have_fields_too(parse):
    good = 'For {{ first_name | default: "you" }}'
    assert parse(good) == good
    with pytest.raises(BadContent, match="Line 1, column 5: there is no field “name”"):
        parse("For {{ name }}")


def test_the_text_part_keeps_the_fields():
    html = '<p>Hi {{ first_name | default: "friend &amp; you" }},<br><b>{{&nbsp;email }}</b></p>'
    shown = " ".join(content.text_of(html).split())
    assert shown == 'Hi {{ first_name | default: "friend & you" }}, {{ email }}'
