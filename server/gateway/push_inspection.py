"""Inspection of PushMessages requests: exactly one reply, from the authenticated node, with at most
N objects.

Flower's SuperLink checks who sends a request, not which sender the message within names, nor how
many objects are to come: it would accept messages in the name of the server, for any known node
id, without end. So the gateway checks.
"""

from flwr.proto.fleet_pb2 import PullMessagesResponse, PushMessagesRequest
from flwr.proto.message_pb2 import ObjectTree
from google.protobuf.message import DecodeError

SUPERLINK_NODE = 1  # flwr.common.constant.SUPERLINK_NODE_ID, compared in a test
MIN_ALLOWED_PIECES = 64  # pieces that any answer may have; Flower's have at most 5 MiB
# bytes: of a piece's name, which has 64 digits, and of everything else
LARGEST_PIECE = 100
LARGEST_REST = 2**16
# Pieces allowed for each piece of the largest order: a strategy's additions to an update are no
# larger than the update
PIECES_PER_PIECE_OF_ORDER = 2


class PushInspection:
    """Checks the announcements of all stores."""

    def __init__(self) -> None:
        self._pieces = MIN_ALLOWED_PIECES // PIECES_PER_PIECE_OF_ORDER

    def handed_out(self, body: bytes) -> None:
        """Record the number of pieces of the orders in the SuperLink's answer, which bounds that of
        stores' answers.
        """
        try:
            for tree in PullMessagesResponse.FromString(body).message_object_trees:
                self._pieces = max(self._pieces, _pieces(tree))
        except DecodeError:
            return

    def fault(self, body: bytes) -> str:
        """Return the fault of an announcement in words; empty: it has none.

        Its size is checked first: 8 MB may name four million pieces, which take 14 s and 1 GB to
        parse.
        """
        most = PIECES_PER_PIECE_OF_ORDER * self._pieces
        if len(body) > most * LARGEST_PIECE + LARGEST_REST:
            return f"it announced an answer in {len(body)} bytes; {most} pieces are allowed"
        try:
            asked = PushMessagesRequest.FromString(body)
        except DecodeError:
            return "it announced something that is no message"
        if len(asked.messages_list) != 1 or len(asked.message_object_trees) != 1:
            return f"it announced {len(asked.messages_list)} messages at once"
        about = asked.messages_list[0].metadata
        if (
            about.src_node_id != asked.node.node_id
            or about.dst_node_id != SUPERLINK_NODE
            or not about.reply_to_message_id
        ):
            return "it announced a message that is no answer of its own"
        if (pieces := _pieces(asked.message_object_trees[0])) > most:
            return f"it announced an answer of {pieces} pieces; {most} are allowed"
        return ""


def _pieces(tree: ObjectTree) -> int:
    """Count the pieces; a piece that is named twice counts twice."""
    count = 0
    waiting = [tree]
    while waiting:
        count += 1
        waiting.extend(waiting.pop().children)
    return count
