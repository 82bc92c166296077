"""Is this store fit to take part? What `flower-client check` looks at, and the page that it leaves at the store."""

from client.health.examine import Report, examine, exit_code, quick
from client.health.finding import Finding
from client.health.page import write_page

__all__ = ["Finding", "Report", "examine", "exit_code", "quick", "write_page"]
