"""Inspection of PushMessages requests: one reply, of the authenticated node, of at most N objects.

Flower's SuperLink checks who sends a request, but not which sender the message within names, nor
how many objects are to come: it would accept messages in the name of the server, for any known node
id, without end. So the gateway checks.
"""

from flwr.proto.fleet_pb2 import PullMessagesResponse, PushMessagesRequest
from flwr.proto.message_pb2 import ObjectTree
from google.protobuf.message import DecodeError

SUPERLINK_NODE = 1  # flwr.common.constant.SUPERLINK_NODE_ID, compared in a test
MIN_ALLOWED_PIECES = 64  # pieces that any answer may have; Flower's have at most 5 MiB
# bytes: of a piece's name, which has 64 digits, and of everything else
MAX_PIECE_NAME_BYTES = 100
MAX_REST_BYTES = 2**16
# Pieces allowed for each piece of the largest order: a strategy's additions to an update are no
# larger than the update
PIECES_PER_PIECE_OF_ORDER = 2


class PushInspector:
    """Checks the announcements of all stores."""

    def __init__(self) -> None:
        self._max_order_pieces = MIN_ALLOWED_PIECES // PIECES_PER_PIECE_OF_ORDER

    def record_orders(self, body: bytes) -> None:
        """Record the number of pieces of the orders that the SuperLink has handed out.

        That number bounds the pieces of the stores' answers.

        Args:
            body: serialized PullMessagesResponse; anything else is ignored
        """
        try:
            for tree in PullMessagesResponse.FromString(body).message_object_trees:
                self._max_order_pieces = max(self._max_order_pieces, _piece_count(tree))
        except DecodeError:
            return

    def fault(self, body: bytes) -> str:
        """Return the fault of an announcement in words; empty if it has none.

        The size is checked before the content: 8 MB may name four million pieces, which take 14 s
        and 1 GB to parse.

        Args:
            body: serialized PushMessagesRequest, as a store has sent it
        """
        max_pieces = PIECES_PER_PIECE_OF_ORDER * self._max_order_pieces
        if len(body) > max_pieces * MAX_PIECE_NAME_BYTES + MAX_REST_BYTES:
            return f"it announced an answer in {len(body)} bytes; {max_pieces} pieces are allowed"
        try:
            request = PushMessagesRequest.FromString(body)
        except DecodeError:
            return "it announced something that is no message"
        if len(request.messages_list) != 1 or len(request.message_object_trees) != 1:
            return f"it announced {len(request.messages_list)} messages at once"
        metadata = request.messages_list[0].metadata
        if (
            metadata.src_node_id != request.node.node_id
            or metadata.dst_node_id != SUPERLINK_NODE
            or not metadata.reply_to_message_id
        ):
            return "it announced a message that is no answer of its own"
        if (pieces := _piece_count(request.message_object_trees[0])) > max_pieces:
            return f"it announced an answer of {pieces} pieces; {max_pieces} are allowed"
        return ""


def _piece_count(tree: ObjectTree) -> int:
    """Count the pieces; a piece that is named twice counts twice."""
    count = 0
    waiting = [tree]
    while waiting:
        count += 1
        waiting.extend(waiting.pop().children)
    return count
