"""A page taken apart, and what every page has to keep to."""

import re
from html.parser import HTMLParser

VOID = {"meta", "img", "rect", "br", "path", "circle", "link", "input"}


class Parsed(HTMLParser):
    """A page's elements, attributes and text; an element that is not closed, or twice, is an error."""

    def __init__(self, content):
        super().__init__()
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(content.decode("utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in VOID
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def values(self, tag, name):
        return [value for of, called, value in self.attributes if (of, called) == (tag, name)]

    def shown(self):
        return [text for _, text in self.texts]

    def of(self, tag):
        """The texts of all elements of a kind."""
        return [text for inside, text in self.texts if inside == tag]


def require_alone(content):
    """Fail unless a page loads nothing, runs nothing, and follows the reader's light or dark."""
    parsed = Parsed(content)
    assert content.startswith(b"<!doctype html>")
    assert "width=device-width, initial-scale=1" in parsed.values("meta", "content")
    assert not {"script", "iframe", "object", "link", "base", "form"} & set(parsed.tags)
    for _, name, value in parsed.attributes:
        assert not name.startswith("on")
        assert name not in ("srcset", "action", "background", "xlink:href")
        if name == "src":
            assert value.startswith("data:image/")
        if name == "href":
            assert value.startswith("#")
    styles = "".join(parsed.of("style"))
    assert not re.search(r"url\(|@import|expression", styles)
    assert "prefers-color-scheme: dark" in styles
    assert not re.search(rb"""(?:src|href)=["']?(?:https?:|file:|//)""", content)
    return parsed
