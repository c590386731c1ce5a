"""Document 000: common patterns."""

import contextlib

from fragments import Run, fragment, later


class Stop(Exception):
    """Ends an endless loop of a block."""


@fragment("000-01", "the endless loop ends with the camera's last picture")
async def _(run: Run):
    pictures = [bytes([number]) * 70_000 for number in range(3)]
    shown: list[bytes] = []
    sent: list[bytes] = []

    class Camera:
        left = list(pictures)

        def capture(self) -> bytes:
            if not self.left:
                raise Stop
            return self.left.pop(0)

    class Codec:
        encode = decode = staticmethod(lambda picture: picture)

    class Transport:
        async def send_to_peer(self, segment: bytes) -> None:
            sent.append(segment)

    result = yield {
        "session_id": b"session1",
        "stream_id": 1,
        "camera": Camera(),
        "your_h264_encoder": Codec,
        "your_h264_decoder": Codec,
        "transport": Transport(),
        "display": shown.append,
    }
    with contextlib.suppress(Stop):
        await result["stream_video"]()
    assert shown == pictures
    assert len(sent) == 6 and all(picture[:1000] not in b"".join(sent) for picture in pictures)


@fragment("000-02", "a storage without a path lives in memory")
async def _(run: Run):
    index: dict[str, dict[int, bytes]] = {"sensor_01": {}}
    result = yield {"your_index": index}
    await result["store_sensor_readings"]()
    [address] = index["sensor_01"].values()
    assert len(address) == 32
    assert list(run.folder.iterdir()) == []


later("000-03", "needs EndpointManager")
later("000-04", "needs FrameDispatcher")
later("000-05", "needs STTNode")
later("000-06", "needs the swarm (issue of its own)")
later("000-07", "needs STTNode")
later("000-08", "needs STTNode")
later("000-09", "needs STTNode")
later("000-10", "needs STTNode")
later("000-11", "needs STTNode")
later("000-12", "needs the swarm (issue of its own)")
