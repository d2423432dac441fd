"""An emulated account of AWS on this machine: the engine, the emulator, what is deployed to it.

Processes are remembered in files of one directory, so that `up` and `down` are two commands. Nothing
here knows what is in the templates, but for the outputs of the root.
"""

import contextlib
import ipaddress
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
TOOLS = pathlib.Path(os.environ.get("REEVE_TOOLS_AWS", TARGET / "tools" / "aws")) / "bin"

try:
    import boto3
except ImportError:
    # It comes with sam.
    os.execv(TOOLS / "python3", [str(TOOLS / "python3"), *sys.argv])

STACK = "reeve-test"
TAG = "test"
REGION = "us-east-1"
MENDS = str(ROOT / "tests" / "aws" / "mends")
EGRESS_PORT = 8080
PATIENCE = 60
# The containers of the stack's tasks, as the emulator marks them.
OURS = f"label=com.amazonaws.ecs.cluster=arn:aws:ecs:{REGION}:000000000000:cluster/{STACK}"


@contextlib.contextmanager
def step(name):
    began = time.monotonic()
    yield
    print(f"   {name}: {time.monotonic() - began:.1f} s", file=sys.stderr)


def wait_for(what, ready, process):
    """Looks until it is there, for none of these tells when it is, or until its process has ended."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            if ready():
                return
        with contextlib.suppress(subprocess.TimeoutExpired):
            raise SystemExit(f"{what} ended with {process.wait(0.05)}")
    raise SystemExit(f"{what} did not start within {PATIENCE} s")


def has_ended(pid, seconds):
    """Returns when a process has ended, or after so long."""
    with contextlib.suppress(ProcessLookupError):
        process = os.pidfd_open(pid)
        select.select([process], [], [], seconds)
        os.close(process)


class Account:
    def __init__(self, directory):
        self.dir = directory
        self.state_file = directory / "account.json"
        self.state = json.loads(self.state_file.read_text()) if self.state_file.exists() else {}

    def remember(self, **what):
        self.state.update(what)
        self.state_file.write_text(json.dumps(self.state))

    # ---- processes ----

    def spawn(self, name, command, **environment):
        log = open(self.dir / f"{name}.log", "ab")
        process = subprocess.Popen(
            command, cwd=self.dir, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True, env={**os.environ, **environment},
        )
        self.remember(**{name: process.pid})
        return process

    def end(self, name):
        """Ends a process and whatever it started."""
        pid = self.state.get(name)
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        has_ended(pid, 20)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        self.state.pop(name)
        self.remember()

    # ---- the engine ----

    def docker(self, *arguments, check=True):
        command = ["docker", "-H", self.state["dockerHost"], *arguments]
        done = subprocess.run(command, check=check, capture_output=True, text=True, timeout=PATIENCE)
        return done.stdout.strip()

    def start_engine(self):
        given = os.environ.get("DOCKER_HOST")
        if given:
            self.remember(dockerHost=given)
            self.docker("version")
            return
        usual = "unix:///var/run/docker.sock"
        self.remember(dockerHost=usual)
        if subprocess.run(["docker", "-H", usual, "version"], capture_output=True).returncode == 0:
            return
        files = self.dir / "engine"
        host = f"unix://{files}/docker.sock"
        files.mkdir(exist_ok=True)
        self.remember(dockerHost=host)
        # What it has built is kept for the next time. Its containers reach their host and nothing
        # else, as the private subnets have it.
        command = ["dockerd", "--data-root", f"{TARGET}/engine", "--exec-root", f"{files}/exec",
                   "--pidfile", f"{files}/pid", "-H", host, "--log-level", "warn",
                   "--iptables=false", "--ip6tables=false", "--ip-masq=false", "--ip-forward=false"]
        if os.geteuid() != 0:
            command = ["sudo", *command]
        process = self.spawn("dockerd", command)
        wait_for("dockerd", lambda: self.docker("version"), process)

    # ---- the emulator ----

    @property
    def environment(self):
        return {
            "AWS_ENDPOINT_URL": self.state["endpoint"],
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "SAM_CLI_TELEMETRY": "0",
        }

    def start_emulator(self):
        port = os.environ.get("REEVE_TEST_AWS_PORT") or str(free_port())
        endpoint = f"http://127.0.0.1:{port}"
        process = self.spawn(
            "emulator", [str(TOOLS / "ministack")],
            PYTHONPATH=MENDS,
            GATEWAY_PORT=port,
            BIND_HOST="127.0.0.1",
            AWS_ENDPOINT_URL=endpoint,
            DOCKER_HOST=self.state["dockerHost"],
            REEVE_TEST_EGRESS=f"egress.{STACK}.internal",
            # These would listen on every address.
            AUTH="true",
            MINISTACK_DOCKER_TIMEOUT="60",
            IOT_MTLS_ENABLED="0",
            SFTP_ENABLED="0",
        )
        self.remember(endpoint=endpoint)
        health = f"{endpoint}/_ministack/health"
        wait_for("the emulator", lambda: urllib.request.urlopen(health, timeout=5).status == 200, process)

    def aws(self, service):
        """A client of the kind that comes with sam."""
        endpoint = self.state["endpoint"]
        if service == "apigatewaymanagementapi":
            # The connections of the one WebSocket API: an address of its own.
            endpoint = self.outputs()["StreamUrl"].replace("ws", "http", 1)
        return boto3.client(
            service, endpoint_url=endpoint, region_name=REGION,
            aws_access_key_id="test", aws_secret_access_key="test",
        )

    # ---- the deployment ----

    def build_images(self):
        """The images of the templates; with the agents of other makers, which take minutes, once."""
        def build(*arguments):
            subprocess.run(
                [str(ROOT / "infra/aws/images/build"), "--debug", "--tag", TAG, *arguments], check=True,
                stdout=sys.stderr, env={**os.environ, "DOCKER_HOST": self.state["dockerHost"]},
            )

        agents = f"reeve-agents:{TAG}"
        if not self.docker("images", "--quiet", agents):
            build("--debootstrap", "agents")
        build("--base", agents, "shim", "egress")

    def deploy(self):
        bucket = f"{STACK}-artifacts"
        self.aws("s3").create_bucket(Bucket=bucket)
        architecture = "arm64" if os.uname().machine == "aarch64" else "x86_64"
        given = {
            # A container does not reach an emulator on the host's loopback: egress is on the host.
            "EgressCount": "0",
            "EgressPort": str(EGRESS_PORT),
            "DeletionProtection": "false",
            "AlarmEmail": "operator@example.com",
        }
        # The command of an operator, who is not asked here; what it builds is built.
        self.run("deploy", str(ROOT / "infra/aws/deploy"), "--architecture", architecture, "--built",
                 "--local-images", TAG, "--region", REGION,
                 "--stack-name", STACK, "--s3-bucket", bucket, "--no-resolve-s3",
                 "--no-confirm-changeset", "--no-progressbar",
                 "--parameter-overrides", *[f"{name}={value}" for name, value in given.items()])

    def sam(self, command, *arguments):
        self.run(command, str(TOOLS / "sam"), command, "--region", REGION, *arguments)

    def run(self, name, *command):
        """Runs a tool of an operator against the account."""
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True,
            env={**os.environ, **self.environment, "PYTHONPATH": MENDS, "SAM": str(TOOLS / "sam")},
        )
        (self.dir / f"sam-{name}.log").write_text(done.stdout + done.stderr)
        if done.returncode != 0:
            raise SystemExit(f"{name}:\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}")

    def outputs(self):
        stack = self.aws("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def describe(self):
        outputs = self.outputs()
        secret = self.aws("secretsmanager").get_secret_value(SecretId=outputs["FirstKey"])
        return {
            "url": outputs["Url"],
            "streamUrl": outputs["StreamUrl"],
            "eventsUrl": outputs["EventsUrl"],
            "apiKey": secret["SecretString"],
            "endpoint": self.state["endpoint"],
            "dockerHost": self.state["dockerHost"],
            "stack": STACK,
        }

    # ---- egress ----

    def start_egress(self):
        network = json.loads(self.docker("network", "inspect", "bridge"))[0]["IPAM"]["Config"][0]
        # Where containers find their host.
        bridge = network.get("Gateway") or str(next(ipaddress.ip_network(network["Subnet"]).hosts()))
        process = self.spawn(
            "egress", [str(TARGET / "debug" / "egress")],
            REEVE_LISTEN=f"{bridge}:{EGRESS_PORT}", REEVE_CONTROL=self.outputs()["StreamUrl"],
            REEVE_SCRIPTED="1",
        )
        wait_for("egress", lambda: socket.create_connection((bridge, EGRESS_PORT), 1).close() is None, process)

    def stop_egress(self):
        self.end("egress")

    # ---- the end ----

    def delete(self):
        """Removes the stack and says what is left of it."""
        self.sam("delete", "--stack-name", STACK, "--no-prompts")
        bucket = f"{STACK}-artifacts"
        s3 = self.aws("s3")
        for item in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
            s3.delete_object(Bucket=bucket, Key=item["Key"])
        s3.delete_bucket(Bucket=bucket)
        return list(self.left())

    def left(self):
        """What the account still has of the stack; what tests have made beside it is theirs."""
        # A task that has ended is no task: what is left of its container is the emulator's.
        tasks = self.docker("ps", "--format", "{{.Names}}", "--filter", OURS)
        yield from (f"container {name}" for name in tasks.splitlines())
        # Each kind of thing: who lists it, in which member of the answer, and what it is called there.
        for service, listing, member, name in (
            ("apigatewayv2", "get_apis", "Items", "Name"),
            ("dynamodb", "list_tables", "TableNames", None),
            ("ecs", "list_clusters", "clusterArns", None),
            ("events", "list_rules", "Rules", "Name"),
            ("iam", "list_roles", "Roles", "RoleName"),
            ("lambda", "list_functions", "Functions", "FunctionName"),
            ("logs", "describe_log_groups", "logGroups", "logGroupName"),
            ("s3", "list_buckets", "Buckets", "Name"),
            ("scheduler", "list_schedules", "Schedules", "Name"),
            ("secretsmanager", "list_secrets", "SecretList", "Name"),
            ("sns", "list_topics", "Topics", "TopicArn"),
            ("sqs", "list_queues", "QueueUrls", None),
        ):
            things = getattr(self.aws(service), listing)().get(member, [])
            names = (thing if name is None else thing[name] for thing in things)
            yield from (f"{service} {found}" for found in names if STACK in found)

    def stop(self):
        """Ends whatever `up` has started. What it has logged is kept beside what was built."""
        if "dockerHost" in self.state:
            containers = self.docker("ps", "--all", "--quiet", "--filter", OURS, check=False).split()
            if containers:
                self.docker("rm", "--force", "--volumes", *containers, check=False)
        for name in ("egress", "emulator", "dockerd"):
            self.end(name)
        shutil.rmtree(self.dir / "engine", ignore_errors=True)
        kept = TARGET / "aws"
        kept.mkdir(parents=True, exist_ok=True)
        for log in self.dir.glob("*.log"):
            shutil.move(log, kept / log.name)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
