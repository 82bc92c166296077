"""The page of the service in a browser, as a person uses it."""

import base64

from tests.helpers.browser import Tab


def drop(tab: Tab, content: bytes, kind: str = "image/png", event: str = "drop") -> None:
    """Drop or paste a file, with the events that a browser sends."""
    data = base64.b64encode(content).decode()
    transfer = "clipboardData" if event == "paste" else "dataTransfer"
    constructor = "ClipboardEvent" if event == "paste" else "DragEvent"
    tab.run(
        f"""(() => {{
          const bytes = Uint8Array.from(atob("{data}"), (c) => c.charCodeAt(0));
          const transfer = new DataTransfer();
          transfer.items.add(new File([bytes], "photo", {{type: "{kind}"}}));
          document.dispatchEvent(new {constructor}("{event}", {{{transfer}: transfer}}));
        }})()"""
    )


def text(tab: Tab, identity: str) -> str:
    """The text of a part of the page; empty while it is hidden."""
    part = f"document.getElementById('{identity}')"
    return str(tab.run(f"{part}.checkVisibility() ? {part}.innerText : ''"))
