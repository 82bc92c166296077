"""What a store announces before it sends the pieces of an answer: is it its own, one answer, and not too large?

Flower's SuperLink checks who sends a request, not what the message within says of its sender, nor how much is to come:
it would take messages in the name of the server, for anyone whose number is known, without end. So the door looks.
"""

from flwr.proto.fleet_pb2 import PullMessagesResponse, PushMessagesRequest
from flwr.proto.message_pb2 import ObjectTree
from google.protobuf.message import DecodeError

SUPERLINK_NODE = 1  # flwr.common.constant.SUPERLINK_NODE_ID, held by a test
MIN_ALLOWED_PIECES = 64  # pieces that any answer may have; Flower's have at most 5 MiB
LARGEST_PIECE, LARGEST_REST = 100, 2**16  # bytes: of a piece's name, which has 64 digits, and of all beside them
PIECES_PER_PIECE_OF_ORDER = (
    2  # times as many as the largest order has: what a strategy adds to an update is no larger than the update
)


class PushInspection:
    """Looks at what passes the door, for all stores."""

    def __init__(self) -> None:
        self._pieces = MIN_ALLOWED_PIECES // PIECES_PER_PIECE_OF_ORDER

    def handed_out(self, body: bytes) -> None:
        """The SuperLink has answered a request for orders with this."""
        try:
            for tree in PullMessagesResponse.FromString(body).message_object_trees:
                self._pieces = max(self._pieces, _pieces(tree))
        except DecodeError:
            return

    def fault(self, body: bytes) -> str:
        """Return the fault of an announcement in words; empty: it has none.

        Its size is looked at first: 8 MB may name four million pieces, which take 14 s and 1 GB to read.
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
    """Counted as they come: a piece that is named twice counts twice."""
    count, waiting = 0, [tree]
    while waiting:
        count += 1
        waiting.extend(waiting.pop().children)
    return count
