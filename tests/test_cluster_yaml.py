"""cluster.yaml and deploy/aws-account.yaml: by Ray's own schema, by Ray's own AWS provider at a
simulated AWS, and by what they promise."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "cluster.yaml").read_text()


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    """The file as Ray completes it, after Ray's own validation."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(yaml.safe_load(TEXT)))
    validate_config(prepared)
    return prepared


def test_rays_schema_holds_before_ray_completes_the_file() -> None:
    import json

    import jsonschema
    import ray.autoscaler

    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(yaml.safe_load(TEXT), schema)


def test_rays_validation_would_notice(cluster: dict[str, Any]) -> None:
    """That validation is not a formality: an unknown field and too many workers are refused."""
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import validate_config

    with pytest.raises(ValidationError, match="no_such_field"):
        validate_config({**cluster, "no_such_field": 1})
    crowded = copy.deepcopy(cluster)
    crowded["available_node_types"]["gpu_worker"]["min_workers"] = cluster["max_workers"] + 1
    with pytest.raises(ValueError, match="max_workers"):
        validate_config(crowded)


def test_head_is_on_demand_and_never_trains(cluster: dict[str, Any]) -> None:
    head = cluster["available_node_types"][cluster["head_node_type"]]
    assert head["resources"]["CPU"] == 0
    assert "InstanceMarketOptions" not in head["node_config"]


def test_gpu_workers_are_spot_and_come_from_nothing(cluster: dict[str, Any]) -> None:
    workers = [
        node
        for name, node in cluster["available_node_types"].items()
        if name != cluster["head_node_type"]
    ]
    assert workers
    for worker in workers:
        assert worker["min_workers"] == 0
        assert 0 < worker["max_workers"] <= cluster["max_workers"]
        assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert 0 < cluster["idle_timeout_minutes"] <= 15


def test_nothing_faces_a_network_without_a_token(cluster: dict[str, Any]) -> None:
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        starts = [line for line in cluster[commands] if "ray start" in line]
        assert starts
        assert all("RAY_AUTH_MODE=token" in line for line in starts)
    (head,) = [line for line in cluster["head_start_ray_commands"] if "ray start" in line]
    assert "--dashboard-host=127.0.0.1" in head
    assert "0.0.0.0" not in TEXT
    assert "/home/ubuntu/.ray/auth_token" in cluster["file_mounts"]


def test_every_node_installs_a_lock_with_its_hashes_and_nothing_else(
    cluster: dict[str, Any],
) -> None:
    for role, lock in (("head", "requirements.lock"), ("worker", "requirements-cuda.lock")):
        (install,) = [c for c in cluster[f"{role}_setup_commands"] if "pip install" in c]
        assert install.endswith(f"--require-hashes --only-binary :all: -r ~/gradsweep/{lock}")
        assert cluster["file_mounts"][f"/home/ubuntu/gradsweep/{lock}"] == lock
        locked = set(re.findall(r"^([\w.-]+)==", (ROOT / lock).read_text(), re.M))
        assert {"ray", "aiohttp", "boto3"} <= locked  # the job server, and what starts workers
    assert "curl" not in TEXT


def test_what_a_user_edits_is_marked_and_on_top() -> None:
    top, below = TEXT.split("# ---- nothing to edit below")
    assert "EDIT" not in below
    keys = ("cluster_name", "region", "max_workers", "InstanceType", "ImageId", "GRADSWEEP_STORE")
    for key in keys:
        assert re.search(rf"EDIT.*\n?.*{key}|{key}.*EDIT", top), key


# ---- against a simulated AWS -------------------------------------------------------------------


class Tagged(yaml.SafeLoader):
    """CloudFormation's short forms, `!Ref Name`, as ("Ref", "Name")."""


def _tagged(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> tuple[str, Any]:
    assert isinstance(node, yaml.ScalarNode)
    return tag, loader.construct_scalar(node)


Tagged.add_multi_constructor("!", _tagged)
ACCOUNT = yaml.load((ROOT / "deploy/aws-account.yaml").read_text(), Tagged)
SSH_FROM = "203.0.113.7/32"


def open_rules() -> list[dict[str, Any]]:
    """The stack's rules for traffic from outside the group."""
    return ACCOUNT["Resources"]["SecurityGroup"]["Properties"]["SecurityGroupIngress"]


def test_the_stack_opens_port_22_to_one_place_and_the_group_to_itself() -> None:
    (ssh,) = open_rules()
    assert ssh == {
        "IpProtocol": "tcp",
        "FromPort": 22,
        "ToPort": 22,
        "CidrIp": ("Ref", "SshFrom"),
    }
    inside = ACCOUNT["Resources"]["AmongThemselves"]["Properties"]
    assert inside["SourceSecurityGroupId"] == inside["GroupId"]


def test_the_stacks_names_are_the_clusters(cluster: dict[str, Any]) -> None:
    name = ACCOUNT["Parameters"]["Name"]["Default"]
    assert cluster["cluster_name"] == name == cluster["provider"]["security_group"]["GroupName"]
    for role, kind in (("head", "HeadProfile"), ("gpu_worker", "WorkerProfile")):
        properties = ACCOUNT["Resources"][kind]["Properties"]
        wanted = properties["InstanceProfileName"][1].replace("${Name}", name)
        node = cluster["available_node_types"][role]["node_config"]
        assert node["IamInstanceProfile"] == {"Name": wanted}


def test_the_stacks_roles_reach_one_bucket_and_one_cluster() -> None:
    resources = ACCOUNT["Resources"]
    bucket = resources["Bucket"]
    assert bucket["DeletionPolicy"] == "Retain"
    assert set(bucket["Properties"]["PublicAccessBlockConfiguration"].values()) == {True}
    for statement in resources["StoreAccess"]["Properties"]["PolicyDocument"]["Statement"]:
        assert statement["Resource"][1].startswith(("Bucket.Arn", "${Bucket.Arn}"))
    (policy,) = resources["HeadRole"]["Properties"]["Policies"]
    for statement in policy["PolicyDocument"]["Statement"]:
        harmless = statement["Action"] == ["ec2:Describe*", "ec2:RunInstances"]
        assert harmless or statement["Resource"] != "*" or statement["Condition"], statement
    assert "Policies" not in resources["WorkerRole"]["Properties"]


def test_rays_own_provider_starts_both_kinds_of_node(
    cluster: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `ray up` does at AWS, answered by moto: botocore checks every field by AWS's own model,
    and the nodes land in the stack's group, under the stack's profiles."""
    from moto import mock_aws

    monkeypatch.setenv("HOME", str(tmp_path))  # Ray writes its SSH key there
    (tmp_path / ".ssh").mkdir()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", cluster["provider"]["region"])
    with mock_aws():
        import boto3
        from ray.autoscaler._private.aws.config import bootstrap_aws
        from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

        ec2, iam = boto3.client("ec2"), boto3.client("iam")
        group = ec2.create_security_group(GroupName="gradsweep", Description="as the stack's")
        (ssh,) = open_rules()
        rule = {key: ssh[key] for key in ("IpProtocol", "FromPort", "ToPort")}
        ec2.authorize_security_group_ingress(
            GroupId=group["GroupId"], IpPermissions=[{**rule, "IpRanges": [{"CidrIp": SSH_FROM}]}]
        )
        for role in ("head", "worker"):
            iam.create_instance_profile(InstanceProfileName=f"gradsweep-{role}")
        edited = copy.deepcopy(cluster)
        image = ec2.describe_images()["Images"][0]["ImageId"]
        for node in edited["available_node_types"].values():
            node["node_config"]["ImageId"] = image

        ready = bootstrap_aws(edited)
        provider = AWSNodeProvider(ready["provider"], ready["cluster_name"])
        for kind, node in ready["available_node_types"].items():
            provider.create_node(node["node_config"], {"kind": kind}, 1)

        started = {
            tag["Value"]: instance
            for reservation in ec2.describe_instances()["Reservations"]
            for instance in reservation["Instances"]
            for tag in instance["Tags"]
            if tag["Key"] == "kind"
        }
        assert set(started) == {"head", "gpu_worker"}
        assert started["gpu_worker"]["InstanceLifecycle"] == "spot"
        assert started["head"].get("InstanceLifecycle") is None
        for instance in started.values():
            assert [g["GroupName"] for g in instance["SecurityGroups"]] == ["gradsweep"]
        (ours,) = ec2.describe_security_groups(GroupIds=[group["GroupId"]])["SecurityGroups"]
        (rule,) = ours["IpPermissions"]  # Ray has added nothing
        assert (rule["FromPort"], rule["ToPort"]) == (22, 22)
        assert [r["CidrIp"] for r in rule["IpRanges"]] == [SSH_FROM]


def test_without_the_stack_ray_opens_nothing_but_ssh(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.aws.config import _create_default_inbound_rules

    more = cluster["provider"]["security_group"].get("IpPermissions", [])
    for rule in _create_default_inbound_rules(["sg-1"], more):
        assert rule.get("FromPort") == 22 or "IpRanges" not in rule
