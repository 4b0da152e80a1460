"""What a reader sees of an HTML page that a command wrote."""

from html.parser import HTMLParser

VOID = {"meta", "br", "rect", "line", "circle", "path"}


class Page(HTMLParser):
    """Checks that what is opened is closed, and keeps what a reader sees."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.words: list[str] = []
        self.feed(content)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        assert tag in VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)
            if self.open[-1:] == ["h2"]:
                self.headings.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())
