"""The README as an index of packages shows it, and as a browser shows the source distribution.

Its links and pictures are relative: they lead to files of the source distribution. An index shows the text alone, so
that each picture has a text in its place.
"""

import io
import re
import xml.etree.ElementTree as ET
import zipfile

import readme_renderer.markdown

from tests.package.conftest import Archives
from tests.package.test_archives import DIST_INFO


def rendered(text: str) -> str:
    """Return the HTML of a page of Markdown as indexes make it: without what they hold unsafe."""
    complaints = io.StringIO()
    html = readme_renderer.markdown.render(text, stream=complaints)
    assert not complaints.getvalue()
    assert html is not None
    return html


def test_an_index_shows_the_readme(archives: Archives) -> None:
    with zipfile.ZipFile(archives.wheel) as archive:
        headers, _, text = archive.read(f"{DIST_INFO}/METADATA").decode().partition("\n\n")
    assert "Description-Content-Type: text/markdown" in headers.splitlines()
    assert text == (archives.source / "README.md").read_text(encoding="utf-8")
    html = rendered(text)
    assert "<h1" in html
    assert html.count("<table") == 2
    assert html.count("<pre") == text.count("\n```") // 2
    assert "```" not in html
    for picture in re.findall(r"<img [^>]*>", html):
        assert re.search(r'alt="[^"]{30,}"', picture), picture


def test_links_and_pictures_lead_to_files_of_the_source_distribution(archives: Archives) -> None:
    html = rendered((archives.source / "README.md").read_text(encoding="utf-8"))
    pictures = re.findall(r'<img src="([^"]+)"', html)
    links = re.findall(r'<a href="([^"#]+)', html)
    assert len(pictures) > 0
    assert len(links) > 10
    for target in (*pictures, *links):
        assert target.startswith("https://") or (archives.source / target).is_file(), target


def test_each_picture_is_an_image_that_needs_nothing_else(archives: Archives) -> None:
    pictures = [*archives.source.rglob("*.svg")]
    assert len(pictures) > 10
    for picture in pictures:
        image = picture.read_text(encoding="utf-8")
        assert ET.fromstring(image).tag == "{http://www.w3.org/2000/svg}svg", picture  # noqa: S314 - our own
        assert not re.search(r"<script|<image|href=\"(?!#)", image), picture
