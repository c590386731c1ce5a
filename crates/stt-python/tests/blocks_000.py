"""Document 000: common patterns."""

from fragments import later

later("000-01", "needs StreamEncoder and StreamDecoder")
later("000-02", "needs BinaryStorage")
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
