"""The documentation site: `make docs` builds it with Sphinx, without the network.

Its pages ask for nothing from elsewhere: fonts are the reader's, equations are MathML.
"""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "Fedshelf"
author = "The Fedshelf authors"
release = version_of("fedshelf")
extensions = [
    "myst_parser",
    "website.contents",
    "website.mathml",
    "website.outside_links",
    "website.drawings",
]
exclude_patterns = ["website"]
nitpicky = True
smartquotes = False  # would turn -- of options into dashes

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4

html_theme = "furo"
html_title = "Fedshelf"
html_static_path = ["website/static"]
html_css_files = ["style.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
