"""One run as a Chrome trace: what Perfetto and chrome://tracing open."""

from bros_sim.timeline.trace_file import MAX_EVENTS, Span, Timeline, chrome_trace

__all__ = ["MAX_EVENTS", "Span", "Timeline", "chrome_trace"]
