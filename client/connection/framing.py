"""Messages as Flower's Fleet API carries them: a head, then objects of at most 5 MiB.

Like `client.connection.fleet`, this module uses private names of flwr, and the same contract test
compares it with the stock SuperNode.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from flwr.app import Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto import fleet_pb2 as fleet
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from fedshelf.common.errors import MessageError
from fedshelf.common.protocol.probe import announced_bytes


@dataclass(frozen=True)
class MessageHeader:
    """A message whose pieces are still at the server.

    Attributes:
        message_id: Its identity: SHA-256 of the whole message.
        content_id: SHA-256 of its records: equal for an order that is sent again.
        pieces: Identities of its objects, in the order in which they are put together.
        ttl: Seconds from now, after which nobody waits for an answer.
        size: Announced bytes, at most; 0: unknown.
        envelope: The message without its records.
    """

    message_id: str
    content_id: str
    type: str
    run_id: int
    ttl: float
    pieces: tuple[str, ...]
    size: int = 0
    envelope: Message | None = None


def read_headers(reply: fleet.PullMessagesResponse) -> list[MessageHeader]:
    """Return the headers of the messages that a server handed out.

    Raises:
        MessageError: A header cannot be read.
    """
    try:
        return [
            _read_header(*pair)
            for pair in zip(reply.messages_list, reply.message_object_trees, strict=True)
        ]
    except Exception as error:  # whatever a server sends, as below
        raise MessageError(
            f"The head of a message from the server cannot be read ({type(error).__name__})."
        ) from error


def _read_header(proto: ProtoMessage, tree: ObjectTree) -> MessageHeader:
    envelope = message_from_proto(proto)
    metadata = envelope.metadata
    metadata.__dict__["_message_id"] = tree.object_id
    content_id = tree.children[0].object_id if tree.children else ""
    pieces = tuple(piece.object_id for piece in iterate_object_tree(tree))
    size = announced_bytes(metadata.group_id)
    return MessageHeader(
        tree.object_id,
        content_id,
        metadata.message_type,
        metadata.run_id,
        metadata.ttl,
        pieces,
        size,
        envelope,
    )


def assemble(header: MessageHeader, objects: Mapping[str, bytes]) -> Message:
    """Return the message made of these pieces (inverse of `split`).

    Args:
        header: The message's header.
        objects: Content of each piece, by its identity.

    Raises:
        MessageError: The pieces make no message.
    """
    try:
        message = inflate_object_from_contents(header.message_id, dict(objects))
    # whatever a server sends: flwr raises ValueError, KeyError, protobuf's errors, ...
    except Exception as error:
        raise MessageError(
            f"A message from the server cannot be read ({type(error).__name__})."
        ) from error
    if not isinstance(message, Message) or not message.has_content():
        raise MessageError("The server sent data that is not a message.")
    message.metadata.__dict__["_message_id"] = header.message_id
    return message


def make_reply(message: Message, content: RecordDict) -> Message:
    """Return the reply, dated by the server's clock: by a wrong local clock it would be too late,
    or in the future.
    """
    reply = Message(content, reply_to=message)
    reply.metadata.__dict__.update(
        _created_at=message.metadata.created_at, _ttl=message.metadata.ttl
    )
    return reply


@dataclass(frozen=True)
class OutgoingMessage:
    """A reply ready to be sent: its announcement, and its objects by identity.

    Attributes:
        content_id: SHA-256 of its records.
    """

    announcement: fleet.PushMessagesRequest
    objects: Mapping[str, bytes]
    content_id: str

    @property
    def size(self) -> int:
        """Bytes of all objects."""
        return sum(map(len, self.objects.values()))


def split(reply: Message, node: Node, seconds: float) -> OutgoingMessage:
    """Split a reply into pieces of at most 5 MiB.

    Args:
        reply: The whole reply.
        node: The node that sends it.
        seconds: Time (s) that the work took.
    """
    with no_object_id_recompute():
        reply.metadata.__dict__["_message_id"] = reply.object_id
        objects = get_all_nested_objects(reply)
        tree = get_object_tree(reply)
        announcement = fleet.PushMessagesRequest(
            node=node,
            messages_list=[message_to_proto(remove_content_from_message(reply))],
            message_object_trees=[tree],
            clientapp_runtime_list=[seconds],
        )
        contents = {identity: piece.deflate() for identity, piece in objects.items()}
        return OutgoingMessage(announcement, contents, tree.children[0].object_id)
