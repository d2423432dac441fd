"""What the emulator gets wrong, made right.

Python imports this file by its name wherever PYTHONPATH names its directory. It changes modules
of MiniStack as they are imported, and nothing else: each change says what the real service does.
"""

import copy
import importlib.abc
import importlib.machinery
import json
import sys
import threading

import deployment
import limits


def ecs(module):
    one_task_for_one_token(module)
    started_by_alone(module)
    nothing_left_of_a_stopped_task(module)
    events_of_stopped_tasks(module)


def one_task_for_one_token(module):
    """RunTask: one client token is one request in a cluster, for as long as its tasks are known.

    The real service answers a repeated request with the first answer, and another request under the
    same token with ConflictException. The emulator ignores the token and starts another task.
    """
    run_task = module._run_task
    lock = threading.Lock()
    first = {}

    def mended(data):
        token = data.get("clientToken")
        if not token:
            return run_task(data)
        scope = (module.get_account_id(), module.get_region(), data.get("cluster", "default"), token)
        with lock:
            request, answer = first.get(scope, (None, None))
            if answer is not None:
                arns = [task["taskArn"] for task in json.loads(answer[2])["tasks"]]
                if all(module._tasks.get(arn) for arn in arns):
                    if request == data:
                        return answer
                    return module.error_response_json(
                        "ConflictException", "The client token is in use with another request.",
                        400, {"resourceIds": arns},
                    )
            request = copy.deepcopy(data)
            answer = run_task(data)
            if answer[0] == 200 and json.loads(answer[2]).get("tasks"):
                first[scope] = (request, answer)
            return answer

    module._run_task = mended
    module._ACTION_MAP["RunTask"] = mended


def started_by_alone(module):
    """ListTasks: startedBy must be the only filter of a call. The emulator takes others beside it."""
    list_tasks = module._list_tasks
    others = ("containerInstance", "desiredStatus", "family", "launchType", "serviceName")

    def mended(data):
        beside = [other for other in others if data.get(other)]
        if data.get("startedBy") and beside:
            return module.error_response_json(
                "InvalidParameterException",
                f"startedBy is the only filter that can be used, and there is {', '.join(beside)}.",
                400,
            )
        return list_tasks(data)

    module._list_tasks = mended
    module._ACTION_MAP["ListTasks"] = mended


def nothing_left_of_a_stopped_task(module):
    """StopTask: a task that is STOPPED has no container.

    The emulator says so of a task that it is still starting, and removes its container afterwards.
    """
    start, stop = module._start_task_worker, module._stop_task
    starting = {}

    def mended_start(task, *rest):
        ready = starting.setdefault(task["taskArn"], threading.Event())
        try:
            return start(task, *rest)
        finally:
            ready.set()
            starting.pop(task["taskArn"], None)

    def mended_stop(data):
        answer = stop(data)
        if answer[0] == 200:
            ready = starting.get(json.loads(answer[2])["task"]["taskArn"])
            if ready is not None:
                ready.wait(30)
        return answer

    module._start_task_worker = mended_start
    module._stop_task = mended_stop
    module._ACTION_MAP["StopTask"] = mended_stop


def events_of_stopped_tasks(module):
    """EventBridge: "ECS Task State Change" when a task has stopped. The emulator has no such event."""
    mark = module._mark_task_stopped

    def mended(task_arn, task, *rest, **named):
        changed = mark(task_arn, task, *rest, **named)
        if changed:
            with module.resource_lock("ecs-task", task_arn):
                detail = json.dumps(module._sanitize(task))
            account, region = module.get_account_id(), module.get_region()
            event = {
                "Source": "aws.ecs",
                "DetailType": "ECS Task State Change",
                "Detail": detail,
                "Resources": [task_arn],
            }

            def emit():
                from ministack.services import eventbridge

                with module.request_scope(account, region):
                    eventbridge._put_events({"Entries": [event]}, allow_aws_source=True)

            module.spawn_background(emit, thread_name="mended-ecs-event")
        return changed

    module._mark_task_stopped = mended


def secretsmanager(module):
    """PutSecretValue, CreateSecret: a version is named by the client's token and never changes.

    The real service ignores a repeated request and refuses another value under the same token. The
    emulator replaces the value, and names the first version by chance.
    """
    put_secret_value, create_secret = module._put_secret_value, module._create_secret
    values = ("SecretString", "SecretBinary")
    lock = threading.Lock()

    def find(data, field):
        return module._resolve(data.get(field) or "")[1]

    def put(data):
        with lock:
            secret, token = find(data, "SecretId"), data.get("ClientRequestToken")
            version = secret["Versions"].get(token) if secret and token else None
            if version is None:
                return put_secret_value(data)
            if any(version.get(value) != data.get(value) for value in values):
                return module.error_response_json(
                    "ResourceExistsException", "The version exists with another value.", 400
                )
            return module.json_response({
                "ARN": secret["ARN"],
                "Name": secret["Name"],
                "VersionId": token,
                "VersionStages": list(version["Stages"]),
            })

    def create(data):
        with lock:
            token = data.get("ClientRequestToken")
            secret = find(data, "Name")
            if secret and token in secret["Versions"]:
                version = secret["Versions"][token]
                if all(version.get(value) == data.get(value) for value in values):
                    return module.json_response({
                        "ARN": secret["ARN"], "Name": secret["Name"], "VersionId": token,
                    })
            answer = create_secret(data)
            secret = find(data, "Name")
            if answer[0] == 200 and token and secret and len(secret["Versions"]) == 1:
                (_, version), = secret["Versions"].items()
                secret["Versions"] = {token: version}
            return answer

    module._put_secret_value, module._create_secret = put, create


MENDS = {
    "ministack.core.iam_actions": [deployment.iam_actions],
    "ministack.core.iam_evaluator": [deployment.iam_evaluator],
    "ministack.services.cloudformation.engine": [deployment.engine],
    "ministack.services.cloudformation.provisioners": [deployment.provisioners],
    "samcli.lib.utils.s3": [deployment.sam_s3],
    "ministack.services.ecs": [ecs, deployment.ecs],
    "ministack.services.apigateway": [limits.apigateway],
    "ministack.services.lambda_svc": [
        deployment.lambda_logs, limits.lambda_svc, limits.batches,
    ],
    "hypercorn.protocol.ws_stream": [limits.ws_stream],
    "ministack.services.secretsmanager": [secretsmanager],
}


class Loader(importlib.abc.Loader):
    def __init__(self, loader, mends):
        self.loader, self.mends = loader, mends

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        self.loader.exec_module(module)
        for mend in self.mends:
            mend(module)


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in MENDS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None:
            spec.loader = Loader(spec.loader, MENDS[name])
        return spec


sys.meta_path.insert(0, Finder())
