"""The engine: plain asynchronous Python that turns messages into a stream of typed events. No Django in
here.
"""
