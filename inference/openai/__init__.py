"""The public protocol, pure: bytes of OpenAI's API to and from wire messages.

Nothing here waits, opens a file or knows Django; `inference.api` calls it.
"""
