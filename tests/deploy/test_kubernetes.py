"""The Kubernetes example is valid by Kubernetes' own schemas, and its parts fit each other and the server."""

from __future__ import annotations

from typing import Any

import pytest

from rectexport.runtime.serving.limits import Limits
from tests.places import ROOT

yaml = pytest.importorskip("yaml")
DOCUMENTS: list[dict[str, Any]] = list(yaml.safe_load_all((ROOT / "deploy/kubernetes.yaml").read_text()))


def of_kind(kind: str) -> dict[str, Any]:
    (found,) = [document for document in DOCUMENTS if document["kind"] == kind]
    return found


def container() -> dict[str, Any]:
    (found,) = of_kind("Deployment")["spec"]["template"]["spec"]["containers"]
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document["kind"])
def test_by_the_schemas(document: dict[str, Any]) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    validate.validate(document, "1.30", strict=True)
    with pytest.raises(validate.ValidationError):
        validate.validate({**document, "spec": {**document["spec"], "nonsense": 1}}, "1.30", strict=True)


def test_pods_are_found_and_scaled() -> None:
    pod = of_kind("Deployment")["spec"]["template"]
    labels = pod["metadata"]["labels"]
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert of_kind(kind)["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert of_kind("Service")["spec"]["selector"].items() <= labels.items()
    ports = {port["name"] for port in container()["ports"]}
    assert {port["targetPort"] for port in of_kind("Service")["spec"]["ports"]} == ports
    scaler = of_kind("HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"]["name"] == of_kind("Deployment")["metadata"]["name"]
    assert scaler["metrics"][0]["pods"]["metric"]["name"] == "rectexport_queue_length"


def test_the_metric_is_one_of_the_server_s() -> None:
    pytest.importorskip("prometheus_client")
    source = (ROOT / "runtime/serving/metrics.py").read_text()
    assert '"rectexport_queue_length"' in source


def test_the_token_comes_from_the_secret_and_the_root_is_read_only() -> None:
    pod, server = of_kind("Deployment")["spec"]["template"]["spec"], container()
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in server["volumeMounts"]}
    file = server["args"][server["args"].index("--token-file") + 1]
    assert "secret" in volumes[mounts[file.rpartition("/")[0]]]
    assert server["securityContext"]["readOnlyRootFilesystem"] and pod["securityContext"]["runAsNonRoot"]
    assert "emptyDir" in volumes[mounts["/tmp"]]
    assert server["args"][0] in mounts


def test_probes_ask_what_needs_no_token_and_draining_fits_into_the_grace_period() -> None:
    server = container()
    for probe in ("startupProbe", "readinessProbe"):
        assert server[probe]["httpGet"]["path"] == "/v2/health/ready"
    assert server["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    drain = float(server["args"][server["args"].index("--drain-s") + 1])
    pause = float(server["lifecycle"]["preStop"]["exec"]["command"][1])
    grace = of_kind("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert drain == Limits().drain and drain + pause < grace
