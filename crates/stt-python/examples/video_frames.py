# %% [markdown]
# # Video frames between two nodes
#
# A notebook as a script: open it in Jupyter with jupytext, or in an editor that knows `# %%` cells,
# or run it: `python video_frames.py`. A camera makes frames, one node sends them, another one shows
# them. A frame that is late is given up, since the next one is better.

# %%
import asyncio
import sys
import zlib
from dataclasses import dataclass, field

from seigr_toolset_transmissions import Delivery, STTNode, new_seed

WIDTH, HEIGHT = 160, 120
#: Seconds after which a frame is worth nothing.
WORTH = 0.5


# %% [markdown]
# The camera: a bright bar that moves over a dark field, one byte for each point.


# %%
def capture(number: int) -> bytes:
    """A frame."""
    bar = number % WIDTH
    line = bytes(255 if abs(x - bar) < 8 else 16 for x in range(WIDTH))
    return line * HEIGHT


def show(frame: bytes) -> str:
    """One line of the frame as text, for a terminal."""
    line = frame[:WIDTH:4]
    return "".join("#" if point > 128 else "." for point in line)


# %% [markdown]
# What the viewer saw: frames by their number. They may come late, or out of order, or not at all.


# %%
@dataclass
class Seen:
    """Frames that arrived whole, and whether each was what the camera made."""

    numbers: list[int] = field(default_factory=list)
    wrong: int = 0
    last: bytes = b""

    def take(self, message: bytes) -> None:
        number = int.from_bytes(message[:4], "big")
        frame = zlib.decompress(message[4:])
        self.numbers.append(number)
        self.wrong += frame != capture(number)
        self.last = frame


# %% [markdown]
# Two nodes that share a seed. Each frame is one message with a deadline.


# %%
async def film(frames: int, per_second: float) -> Seen:
    """Sends so many frames, and gives what the other node saw."""
    seed, seen = new_seed(), Seen()
    viewer = STTNode(shared_seed=seed, host="127.0.0.1")
    await viewer.start(server_mode=True)
    async with viewer, STTNode(shared_seed=seed, host="127.0.0.1") as camera:
        session = await camera.connect_udp(*viewer.local_address)
        picture = session.open_stream(1, delivery=Delivery.deadline(WORTH), priority=800)
        # The end is told on a stream of its own, where nothing is lost.
        end = session.open_stream(3)
        there = await viewer.accept()
        screen, credits = there.get_stream(1), there.get_stream(3)

        async def watch() -> None:
            while True:
                seen.take(await screen.receive())

        watching = asyncio.create_task(watch())
        for number in range(frames):
            await picture.send(number.to_bytes(4, "big") + zlib.compress(capture(number), 1))
            await asyncio.sleep(1 / per_second)
        await end.send(b"the end")
        assert await credits.receive() == b"the end"
        # What is still on its way is late after this.
        await asyncio.sleep(WORTH)
        watching.cancel()
    return seen


# %% [markdown]
# In a notebook: `seen = await film(100, 50)`.

# %%
if __name__ == "__main__" and "ipykernel" not in sys.modules:
    found = asyncio.run(film(100, 50.0))
    print(show(found.last))
    print(f"{len(found.numbers)} of 100 frames arrived, {found.wrong} of them wrong")
