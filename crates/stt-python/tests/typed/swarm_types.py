"""Checked by type checkers, and run: the swarm, managed streams, pieces."""

import asyncio
from collections.abc import Iterator

from seigr_toolset_transmissions import STTNode, new_seed
from seigr_toolset_transmissions.dht import (
    ContentDistribution,
    DHTNode,
    KademliaDHT,
    Message,
    PubSubManager,
    Subscription,
)
from seigr_toolset_transmissions.streaming import (
    BidirectionalStream,
    Stream,
    StreamConfig,
    StreamManager,
    StreamMultiplexer,
)
from stc import Metadata, STCContext


async def main() -> None:
    async with STTNode(shared_seed=new_seed(), host="127.0.0.1") as node:
        async with KademliaDHT(node.node_id) as dht:
            copies: int = await dht.store("key", memoryview(b"value"))
            value: bytes | None = await dht.find_value(b"key")
            assert (copies, value) == (1, b"value")
            peers: list[DHTNode] = await dht.get_peers()
            assert peers == []

            async def handler(topic: str, data: bytes, publisher: DHTNode) -> None:
                got.append(data)

            got: list[bytes] = []
            pubsub = PubSubManager(dht)
            subscription: Subscription = await pubsub.subscribe("topic", handler)
            stream: Subscription = await pubsub.subscribe("topic")
            assert await pubsub.publish("topic", b"message") == 2
            message: Message = await anext(stream)
            assert message.data == b"message" and subscription.topic == "topic"
            content = ContentDistribution(dht)
            content_id: bytes = await content.publish_content(b"content")
            assert await content.retrieve_content(content_id) == b"content"

    async with StreamManager(StreamConfig(buffer_size=10, backpressure_limit=10)) as manager:
        one: Stream = manager.create_stream("one")
        two: BidirectionalStream = manager.new_bidirectional_stream("two")
        multiplexer = StreamMultiplexer()
        multiplexer.add_stream("one", one)
        multiplexer.add_stream("two", two)
        assert not any(multiplexer.broadcast_message("text").values())
        assert await one.receive_message() == await two.receive()


def pieces() -> None:
    context = STCContext("velvet turnip ocean quarrel 77 lantern", 16, 1)

    def numbers() -> Iterator[bytes]:
        yield from (bytes([number]) for number in range(3))

    sealed: bytes = b"".join(context.encrypt_stream(numbers(), password="pw"))
    metadata: Metadata | None = None
    assert b"".join(context.decrypt_stream([sealed], metadata, password="pw")) == b"\0\1\2"


if __name__ == "__main__":
    asyncio.run(main())
    pieces()
