"""The line to a server that sends a store one order after another, without a network."""

from collections.abc import Callable
from queue import SimpleQueue

from flwr.app import Message, MessageType, RecordDict
from flwr.proto.node_pb2 import Node

from fedshelf.client.connection.framing import MessageHeader, OutgoingMessage, make_reply, split
from fedshelf.client.session.order_queue import OrderQueue
from fedshelf.common.protocol.messages import EvaluateOrder, TrainOrder
from fedshelf.common.protocol.secure_sum import SumOrder
from fedshelf.common.protocol.serialization import Query, Result, decode_result, encode_order
from tests.helpers.bundles import packed
from tests.helpers.deployed import LocalGrid

ANSWER_SECONDS = 120.0


class OrderWire:
    """A connection whose server sends each order as a message of its own."""

    def __init__(self) -> None:
        LocalGrid()  # makes this process one that may make messages
        self._contents: dict[str, RecordDict] = {}
        self._answer = RecordDict()
        self.answers: SimpleQueue[RecordDict] = SimpleQueue()

    def ask(
        self, orders: OrderQueue, order: TrainOrder | EvaluateOrder | SumOrder | Query
    ) -> Result:
        """Send an order to a store and return its answer."""
        content = encode_order(order)
        kind = {TrainOrder: MessageType.TRAIN, EvaluateOrder: MessageType.EVALUATE}.get(
            type(order), MessageType.QUERY
        )
        number = str(len(self._contents) + 1)
        self._contents[number] = content
        head = MessageHeader(number, content.object_id, kind, 1, 600.0, ())
        orders.append(self, head)  # type: ignore[arg-type]
        answered = order if isinstance(order, TrainOrder | EvaluateOrder) else None
        result = decode_result(self.answers.get(timeout=ANSWER_SECONDS), answered)
        orders.wait_until_idle(ANSWER_SECONDS)
        return result

    def missing_bytes(self, _: MessageHeader) -> int:
        return 0

    def fetch_app_bundle(self, _: int) -> bytes:
        return packed()

    def fetch(self, head: MessageHeader) -> tuple[Message, int]:
        message = Message(self._contents[head.message_id], 2, head.type)
        message.metadata.__dict__["_message_id"] = head.message_id
        return message, 100

    def build_reply(self, message: Message, content: RecordDict, seconds: float) -> OutgoingMessage:
        self._answer = content
        return split(make_reply(message, content), Node(node_id=2), seconds)

    def send(self, parcel: OutgoingMessage, is_wanted: Callable[[], bool] = lambda: True) -> None:
        assert parcel.size
        assert is_wanted()
        self.answers.put(self._answer)
