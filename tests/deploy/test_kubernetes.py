"""deploy/rayjob.yaml and deploy/Dockerfile."""

from __future__ import annotations

import copy
import re
import shlex
from typing import Any

import pytest
import yaml

from orchestrator.ray_backend.code_bundle import PACKAGES
from tests.support.command_parsers import ROOT, parse_gradsweep

KUBERNETES = "1.37"
DOCUMENTS = list(yaml.safe_load_all((ROOT / "deploy/rayjob.yaml").read_text()))
JOB, POLICY = DOCUMENTS
POD: dict[str, Any] = {}  # checked by Kubernetes' own schema, in another test
STRING, FLAG, COUNT = {"type": "string"}, {"type": "boolean"}, {"type": "integer", "minimum": 0}
WORDS = {"type": "object", "additionalProperties": STRING}


def fields(required: list[str], **properties: Any) -> dict[str, Any]:
    """JSON schema of an object with these fields and no others."""
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }


# The fields of KubeRay's v1 types that this manifest may use, written after the API reference of
# KubeRay 1.6: RayJobSpec and what it holds. The generated schema is a megabyte and in no package
# index.
GROUP = {"rayStartParams": WORDS, "template": POD}
RAY_CLUSTER = fields(
    ["headGroupSpec"],
    rayVersion=STRING,
    authOptions=fields([], mode={"enum": ["disabled", "token"]}, secretName=STRING),
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=fields(
        [], idleTimeoutSeconds=COUNT, upscalingMode={"enum": ["Default", "Conservative"]}
    ),
    headGroupSpec=fields(["template"], serviceType={"const": "ClusterIP"}, **GROUP),
    workerGroupSpecs={
        "type": "array",
        "items": fields(
            ["groupName", "minReplicas", "maxReplicas", "template"],
            groupName=STRING,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            **GROUP,
        ),
    },
)
RAY_JOB = fields(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=fields(["name"], name={"type": "string", "pattern": "^[a-z]([a-z0-9-]*[a-z0-9])?$"}),
    spec=fields(
        ["entrypoint", "rayClusterSpec"],
        entrypoint=STRING,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        backoffLimit=COUNT,
        activeDeadlineSeconds=COUNT,
        shutdownAfterJobFinishes=FLAG,
        ttlSecondsAfterFinished=COUNT,
        suspend=FLAG,
        rayClusterSpec=RAY_CLUSTER,
    ),
)


def pod_templates() -> list[dict[str, Any]]:
    spec = JOB["spec"]["rayClusterSpec"]
    return [group["template"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


def test_rayjob_has_kuberays_fields_and_no_others() -> None:
    import jsonschema

    jsonschema.validate(JOB, RAY_JOB)
    wrong = copy.deepcopy(JOB)
    wrong["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplica"] = 4
    with pytest.raises(jsonschema.ValidationError, match="maxReplica"):
        jsonschema.validate(wrong, RAY_JOB)


def test_pods_and_policy_by_kubernetes_own_schema() -> None:
    import kubernetes_validate

    for template in pod_templates():
        document = {"apiVersion": "v1", "kind": "PodTemplate", "template": template}
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
        wrong = copy.deepcopy(document)
        wrong["template"]["spec"]["containers"][0]["resource"] = {}
        with pytest.raises(kubernetes_validate.ValidationError, match="resource"):
            kubernetes_validate.validate(wrong, KUBERNETES, strict=True)
    kubernetes_validate.validate(POLICY, KUBERNETES, strict=True)


def test_rays_autoscaler_reads_the_cluster_as_meant() -> None:
    """Ray's own reader of KubeRay clusters, as it runs beside the head."""
    from ray.autoscaler._private.kuberay.autoscaling_config import (
        _derive_autoscaling_config_from_ray_cr,
    )

    spec = JOB["spec"]["rayClusterSpec"]
    metadata = {"name": "gradsweep", "namespace": "default"}
    config = _derive_autoscaling_config_from_ray_cr({"metadata": metadata, "spec": spec})
    head = config["available_node_types"]["headgroup"]
    gpu = config["available_node_types"]["gpu"]
    assert head["resources"]["CPU"] == 0
    assert "GPU" not in head["resources"]
    assert (gpu["min_workers"], gpu["max_workers"]) == (0, 4)
    assert (gpu["resources"]["CPU"], gpu["resources"]["GPU"]) == (4, 1)
    assert config["idle_timeout_minutes"] == 5


def test_rayjob_launches_what_its_pods_can_hold() -> None:
    words = shlex.split(JOB["spec"]["entrypoint"])
    assert words.pop(0) == "gradsweep"
    launch = parse_gradsweep(words)
    (workers,) = JOB["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert launch["gpus"] == workers["maxReplicas"]
    assert launch["address"] == "auto"


def test_rayjob_is_closed_and_ends() -> None:
    spec = JOB["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    locked = re.findall(r"^ray==(\S+)", (ROOT / "requirements-cuda.lock").read_text(), re.M)
    assert [spec["rayClusterSpec"]["rayVersion"]] == locked
    labels = POLICY["spec"]["podSelector"]["matchLabels"]
    for template in pod_templates():
        assert template["metadata"]["labels"] == labels
        (container,) = template["spec"]["containers"]
        assert container["securityContext"]["runAsNonRoot"] is True
        assert not {"hostNetwork", "hostPort"} & set(template["spec"])
        for variable in container["env"]:  # keys come from a secret, never from this file
            assert not re.search("KEY|TOKEN|SECRET|PASSWORD", variable["name"])


def test_image_holds_the_lock_and_all_packages() -> None:
    text = (ROOT / "deploy/Dockerfile").read_text()
    assert "--require-hashes --only-binary :all: -r requirements-cuda.lock" in text
    copied = re.findall(r"^COPY (.*) \S+$", text, re.M)
    sources = {word for line in copied for word in line.split()}
    assert set(PACKAGES) <= sources
    for source in sources:
        assert (ROOT / source).exists(), source
    assert text.index("USER ray") > text.index("pip install --no-cache-dir --no-deps")
