"""What the emulator lacks to deploy the templates, and to run what they describe.

Each of these is applied by sitecustomize.py to the module of MiniStack it is named after.
"""

import os
import threading

ADDRESS = os.environ.get("AWS_ENDPOINT_URL", "")

_nested = threading.local()


def engine(module):
    """A nested stack's template goes through its transforms, as its parent's does."""
    parse = module._parse_template

    def mended(body):
        template = parse(body)
        if not getattr(_nested, "deploys", False):
            return template
        template = module._apply_transforms(template)
        if isinstance(template, module._TransformFailed):
            raise ValueError(f"the transform of a nested stack failed: {template}")
        return template

    module._parse_template = mended


def provisioners(module):
    """Addresses that resolve, nested stacks with transforms, and a type that is not there."""
    deploy = module._cfn_nested_stack_deploy

    def deploy_nested(*arguments, **named):
        _nested.deploys = True
        try:
            return deploy(*arguments, **named)
        finally:
            _nested.deploys = False

    module._cfn_nested_stack_deploy = deploy_nested
    handlers = module._RESOURCE_HANDLERS

    # `<id>.execute-api.localhost` resolves on few machines, and never to a port; the emulator answers
    # on a path as well. A WebSocket API's address begins with ws, without TLS as with it.
    def address(create):
        def mended(logical_id, props, stack_name):
            api_id, attributes = create(logical_id, props, stack_name)
            socket = props.get("ProtocolType") == "WEBSOCKET"
            base = ADDRESS.replace("http", "ws", 1) if socket else ADDRESS
            endpoint = f"{base}/_aws/execute-api/{api_id}"
            module._apigw_v2._apis[api_id]["apiEndpoint"] = endpoint
            return api_id, {**attributes, "ApiEndpoint": endpoint}

        return mended

    api = handlers["AWS::ApiGatewayV2::Api"]
    api["create"] = address(api["create"])

    def url(create):
        def mended(logical_id, props, stack_name):
            physical_id, attributes = create(logical_id, props, stack_name)
            url_id = attributes["FunctionUrl"].split("//")[1].split(".")[0]
            return physical_id, {**attributes, "FunctionUrl": f"{ADDRESS}/_aws/lambda-url/{url_id}/"}

        return mended

    function_url = handlers["AWS::Lambda::Url"]
    function_url["create"] = url(function_url["create"])

    # A number may come as a string, as it does out of every parameter.
    service = handlers["AWS::ECS::Service"]
    create_service = service["create"]

    def with_number(logical_id, props, stack_name):
        return create_service(
            logical_id, {**props, "DesiredCount": int(props["DesiredCount"])}, stack_name
        )

    service["create"] = with_number

    # Money is not emulated: a budget is written down nowhere.
    handlers.setdefault("AWS::Budgets::Budget", {
        "create": lambda logical_id, props, stack_name: (props["Budget"]["BudgetName"], {}),
        "delete": lambda physical_id, props: None,
    })


def ecs(module):
    """A container runs as its definition says: as whom, on which disk, with which capabilities.

    The emulator passes on the command and the environment only. On Fargate a volume without a source
    is an empty directory that the image's owner of it owns and that goes with the task.
    """
    build = module._build_run_kwargs

    def mended(cdef, td, *arguments, **named):
        kwargs = build(cdef, td, *arguments, **named)
        if cdef.get("user"):
            kwargs["user"] = cdef["user"]
        kwargs["read_only"] = bool(cdef.get("readonlyRootFilesystem"))
        capabilities = (cdef.get("linuxParameters") or {}).get("capabilities") or {}
        kwargs["cap_drop"] = capabilities.get("drop") or capabilities.get("Drop") or []
        owner, _, group = (cdef.get("user") or "0:0").partition(":")
        own = {v.get("name") for v in td.get("volumes", []) if not v.get("host")}
        kwargs["tmpfs"] = {
            mount["containerPath"]: f"exec,mode=0700,uid={owner},gid={group or owner}"
            for mount in cdef.get("mountPoints", [])
            if mount.get("sourceVolume") in own
        }
        # Its way out is egress, by name. Here egress is on the host, where it reaches the emulator.
        names = os.environ.get("REEVE_TEST_EGRESS", "")
        hosts = {name: "host-gateway" for name in names.split(",") if name}
        kwargs["extra_hosts"] = {**kwargs.get("extra_hosts", {}), **hosts}
        return kwargs

    module._build_run_kwargs = mended


def iam_actions(module):
    """Sending many messages is sending: SQS knows no other action for it."""
    extract = module.extract_iam_action

    def mended(*arguments, **named):
        action = extract(*arguments, **named)
        return "sqs:SendMessage" if action == "sqs:SendMessageBatch" else action

    module.extract_iam_action = mended
