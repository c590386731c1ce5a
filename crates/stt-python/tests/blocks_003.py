"""Document 003: endpoints and events."""

from fragments import later

later("003-01", "needs EndpointManager and EventEmitter")
later("003-02", "needs EndpointManager and EventEmitter")
later("003-03", "needs EndpointManager and EventEmitter")
later("003-04", "needs EndpointManager and EventEmitter")
later("003-05", "needs EndpointManager and EventEmitter")
later("003-06", "needs EndpointManager and EventEmitter")
later("003-07", "needs EndpointManager and EventEmitter")
later("003-08", "needs EndpointManager and EventEmitter")
later("003-09", "needs EndpointManager and EventEmitter")
later("003-10", "needs EndpointManager and EventEmitter")
later("003-11", "needs EndpointManager and EventEmitter")
later("003-12", "needs EndpointManager and EventEmitter")
later("003-13", "needs EndpointManager and EventEmitter")
later("003-14", "needs EndpointManager and EventEmitter")
later("003-15", "needs EndpointManager and EventEmitter")
later("003-16", "needs EndpointManager and EventEmitter")
later("003-17", "needs EndpointManager and EventEmitter")
later("003-18", "needs EndpointManager and EventEmitter")
