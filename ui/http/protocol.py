"""What reaches no application: requests that are not HTTP, and headers without end."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from automl.ui.http.answers import encode

HEAD_BYTES = 512 * 1024  # received before a request's headers end; it bounds memory, no more


class Protocol(HttpToolsProtocol):
    """uvicorn's, with refusals as the one JSON object and a bound on headers."""

    head = 0  # bytes of a request whose headers are not complete
    in_head = True

    def data_received(self, data: bytes) -> None:
        """Count what comes until the headers are complete."""
        if self.in_head:
            self.head += len(data)
            if self.head > HEAD_BYTES:
                self.send_400_response("the headers are too long")
                return
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """What comes now is a body, which the application counts."""
        self.head, self.in_head = 0, False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Then comes another request."""
        self.in_head = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse, and close the connection."""
        error = {"kind": "bad_request", "message": msg.rstrip(".")}
        body = encode({"error": error})
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
