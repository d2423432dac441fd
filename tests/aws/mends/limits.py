"""What the managed services take no more of, and do when something fails, and the emulator does not.

Each of these is applied by sitecustomize.py to the module it is named after.
"""

import base64
import json

# https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
FRAME = 32 * 1024
MESSAGE = 128 * 1024
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
PAYLOAD = 6 * 1024 * 1024


def ws_stream(module):
    """A WebSocket API ends a connection with 1009 that says a longer frame or a longer message.

    A frame may come in pieces: `frame_finished` says where it ends.
    """
    Message, Close = module.Message, module.CloseConnection

    async def mended(self):
        for event in self.connection.events():
            if isinstance(event, Message):
                data = event.data.encode() if isinstance(event.data, str) else event.data
                self.frame_bytes = getattr(self, "frame_bytes", 0) + len(data)
                self.message_bytes = getattr(self, "message_bytes", 0) + len(data)
                if self.frame_bytes > FRAME or self.message_bytes > MESSAGE:
                    await self._send_wsproto_event(Close(code=1009))
                    # It is over: whatever else was said is not heard.
                    await self.send(module.StreamClosed(stream_id=self.stream_id))
                    return
                self.buffer.extend(event)
                if event.frame_finished:
                    self.frame_bytes = 0
                if event.message_finished:
                    self.message_bytes = 0
                    await self.app_put(self.buffer.to_message())
                    self.buffer.clear()
            elif isinstance(event, module.Ping):
                await self._send_wsproto_event(event.response())
            elif isinstance(event, Close):
                if self.connection.state == module.ConnectionState.REMOTE_CLOSING:
                    await self._send_wsproto_event(event.response())
                await self.send(module.StreamClosed(stream_id=self.stream_id))

    module.WSStream._handle_events = mended


def apigateway(module):
    """PostToConnection takes 128 KB; and an HTTP API hands a function no more than Lambda takes."""
    connections, proxy = module.handle_connections_api, module._invoke_lambda_proxy

    async def mended(method, api_id, stage, connection_id, body, headers):
        if method == "POST" and len(body or b"") > MESSAGE:
            kind = "PayloadTooLargeException"
            answer = json.dumps({"message": "Payload exceeded the allowed size"}).encode()
            return 413, {"Content-Type": "application/json", "x-amzn-ErrorType": kind}, answer
        return await connections(method, api_id, stage, connection_id, body, headers)

    async def bounded(integration, api_id, stage, path, method, headers, body, *rest, **named):
        # The whole event counts: a text is spelled as one, what is no text is in Base64.
        if module._v2_request_body_is_text(headers.get("content-type")):
            said = json.dumps((body or b"").decode(errors="replace"), ensure_ascii=False).encode()
        else:
            said = base64.b64encode(body or b"")
        beside = json.dumps([dict(headers), path, stage]).encode()
        if len(said) + len(beside) > PAYLOAD:
            answer = json.dumps({"message": "Request Entity Too Large"}).encode()
            return 413, {"Content-Type": "application/json"}, answer
        return await proxy(integration, api_id, stage, path, method, headers, body, *rest, **named)

    module.handle_connections_api = mended
    module._invoke_lambda_proxy = bounded


def batches(module):
    """ReportBatchItemFailures: what a function says has failed of a batch of changes comes again.

    Our functions name the first of a batch: all of it comes again, as of one that failed. The emulator
    reads no such answer.
    """
    execute = module._execute_function

    def mended(func, event):
        result = execute(func, event)
        records = event.get("Records") if isinstance(event, dict) else None
        if records and records[0].get("eventSource") == "aws:dynamodb":
            body = result.get("body")
            if isinstance(body, dict) and body.get("batchItemFailures"):
                return {**result, "error": True}
        return result

    module._execute_function = mended


def lambda_svc(module):
    """A function's environment is what it was configured with: also where its SDKs find the services.

    The emulator puts its own address over it.
    """
    environment = module._provided_worker_env

    def mended(config, *rest):
        given = (config.get("Environment") or {}).get("Variables") or {}
        return {**environment(config, *rest), **{
            name: value for name, value in given.items() if name == "AWS_ENDPOINT_URL"
        }}

    module._provided_worker_env = mended
