curl -s http://127.0.0.1:8080/v1/containers \
-X POST \
-H 'content-type: application/json' \
-d '{"profile":{"node_id":"node-1"},"capacity":4}'
curl -s http://127.0.0.1:8080/v1/sessions \
-X POST \
-H 'content-type: application/json' \
-d @- <<'JSON'
{
"manual_agent": {
"id": "echo-local",
"version": "1.0.0",
"source": "manual",
"protocol": { "auth_modes": ["agent"] },
"distribution": {
"type": "binary",
"binary": {
"url": "https://example.invalid/echo-agent",
"executable": "./var/echo-agent"
}
}
},
"container_profile": {
"node_id": "node-1"
},
"session": {
"working_dir": "."
}
}
JSON
curl -s http://127.0.0.1:8080/v1/sessions/<session-id>:prompt \
-X POST \
-H 'content-type: application/json' \
-d '{"prompt":"hello"}'
curl -N http://127.0.0.1:8080/v1/sessions/<session-id>/events
curl -s http://127.0.0.1:8080/v1/sessions/<session-id>:cancel \
-X POST \
-H 'content-type: application/json' \
-d '{"run_id":"<run-id>"}'
