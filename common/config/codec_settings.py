"""The settings of all codecs, readable without PyTorch, which codecs load.

Written by `make settings` from their declarations in `common/compression`: change them there.
"""

from typing import Annotated

from pydantic import Field

from fedshelf.common.config.federation import CommonMessagesConfig


class MessagesConfig(CommonMessagesConfig):
    """The form in which updates travel from the stores to the server."""

    keep: Annotated[float, Field(gt=0, le=0.5)] = Field(
        0.1,
        description=(
            "top-k: share of the changes that is sent; each costs 3 bytes, an uncompressed change 4"
        ),
    )
