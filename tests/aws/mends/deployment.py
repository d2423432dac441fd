"""What the emulator lacks to deploy the templates, and to run what they describe.

Each of these is applied by sitecustomize.py to the module of MiniStack it is named after.
"""

import json
import os
import string
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

    # GenerateSecretString leaves out whole kinds of characters, too.
    generate = module._sm_secret_string

    def generated(props):
        how = dict(props.get("GenerateSecretString") or {})
        if not how:
            return generate(props)
        kinds = {
            "ExcludeLowercase": string.ascii_lowercase,
            "ExcludeUppercase": string.ascii_uppercase,
            "ExcludeNumbers": string.digits,
            "ExcludePunctuation": string.punctuation,
        }
        without = [kind for name, kind in kinds.items() if str(how.get(name)).lower() == "true"]
        how["ExcludeCharacters"] = "".join([how.get("ExcludeCharacters", ""), *without])
        return generate({**props, "GenerateSecretString": how})

    module._sm_secret_string = generated

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
        "create": lambda logical_id, props, stack_name: (f"{stack_name}-{logical_id}", {}),
        "delete": lambda physical_id, props: None,
    })

    # Nor is a VPC: its resolver answers nobody, whatever it may answer.
    for kind in ("FirewallDomainList", "FirewallRuleGroup", "FirewallRuleGroupAssociation"):
        handlers.setdefault(f"AWS::Route53Resolver::{kind}", {
            "create": lambda logical_id, props, stack_name: (
                f"{stack_name}-{logical_id}", {"Id": f"{stack_name}-{logical_id}"}
            ),
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
        own = {v.get("name") or v.get("Name") for v in td.get("volumes", []) if not v.get("host")}
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


def lambda_logs(module):
    """A function makes no log group that its role may not make: where it is gone, nothing is logged.

    The emulator makes it anew for a function that is invoked while its stack goes.
    """
    emit = module._emit_lambda_logs

    def mended(func, *rest, **named):
        from ministack.services import cloudwatch_logs

        config = func.get("config") or func
        named_group = (config.get("LoggingConfig") or {}).get("LogGroup")
        if named_group and named_group not in cloudwatch_logs._log_groups:
            return None
        return emit(func, *rest, **named)

    module._emit_lambda_logs = mended


def iam_actions(module):
    """What a policy is asked about, as the real services ask."""
    extract, context = module.extract_iam_action, module.request_tag_context

    def action(*arguments, **named):
        # Sending many messages is sending: SQS knows no other action for it.
        name = extract(*arguments, **named)
        return "sqs:SendMessage" if name == "sqs:SendMessageBatch" else name

    def with_cluster(service, iam_action, body, params):
        # Every call about tasks says in which cluster.
        found = context(service, iam_action, body, params)
        if service != "ecs":
            return found
        from ministack.core.responses import get_account_id, get_region

        cluster = json.loads(body or b"{}").get("cluster", "default")
        if not cluster.startswith("arn:"):
            cluster = f"arn:aws:ecs:{get_region()}:{get_account_id()}:cluster/{cluster}"
        return {**found, "ecs:cluster": cluster}

    resource = module.extract_resource_arn

    def with_task(service, method, path, headers, body, query_params, region, account_id):
        # A start is a matter of what is started, a stop of what is stopped; not of where.
        if service == "ecs":
            asked = json.loads(body or b"{}")
            tasks = asked.get("tasks") or [asked.get("task")]
            if tasks[0] and tasks[0].startswith("arn:"):
                return tasks[0]
            if tasks[0]:
                cluster = asked.get("cluster", "default").split("/")[-1]
                return f"arn:aws:ecs:{region}:{account_id}:task/{cluster}/{tasks[0]}"
            if asked.get("taskDefinition"):
                asked.pop("cluster", None)
                body = json.dumps(asked).encode()
        return resource(service, method, path, headers, body, query_params, region, account_id)

    module.extract_iam_action = action
    module.request_tag_context = with_cluster
    module.extract_resource_arn = with_task


def iam_evaluator(module):
    """The emulator has no TLS, which a bucket's policy asks for: what comes here came by it."""
    resolve = module._resolve_condition_key

    def mended(key, context):
        return "true" if key.lower() == "aws:securetransport" else resolve(key, context)

    module._resolve_condition_key = mended


def sam_s3(module):
    """`sam delete` knows its own templates again: it wrote their addresses with the given endpoint."""
    parse = module.parse_s3_url

    def mended(url, *arguments, **named):
        if isinstance(url, str) and ADDRESS and url.startswith(ADDRESS):
            url = url.replace(ADDRESS, "https://s3.us-east-1.amazonaws.com", 1)
        return parse(url, *arguments, **named)

    module.parse_s3_url = mended
