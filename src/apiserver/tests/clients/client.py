"""What users of the Python client do: every call must work, and answer, as against Kubernetes."""

import sys

from kubernetes import client, config, dynamic, watch

config.load_kube_config(sys.argv[1])
core, apps = client.CoreV1Api(), client.AppsV1Api()


def named(name, **more):
    return client.V1ObjectMeta(name=name, **more)


core.create_namespace(client.V1Namespace(metadata=named("py")))

# Objects: create, list by label, patch, watch, conflict.
created = core.create_namespaced_config_map(
    "py", client.V1ConfigMap(metadata=named("a", labels={"x": "y"}), data={"k": "v"})
)
assert core.list_namespaced_config_map("py", label_selector="x=y").items[0].data == {"k": "v"}
core.patch_namespaced_config_map("a", "py", {"data": {"k": "w"}})
watcher, seen = watch.Watch(), []
for event in watcher.stream(
    core.list_namespaced_config_map,
    "py",
    resource_version=created.metadata.resource_version,
    field_selector="metadata.name=a",
    timeout_seconds=30,
):
    seen.append((event["type"], event["object"].data))
    watcher.stop()
assert seen == [("MODIFIED", {"k": "w"})], seen
try:
    core.create_namespaced_config_map("py", client.V1ConfigMap(metadata=named("a")))
    raise AssertionError("created twice")
except client.ApiException as error:
    assert error.status == 409, error

# Workloads and their scale.
pod = client.V1PodTemplateSpec(
    metadata=client.V1ObjectMeta(labels={"a": "b"}),
    spec=client.V1PodSpec(containers=[client.V1Container(name="c", image="i")]),
)
spec = client.V1DeploymentSpec(replicas=2, selector=client.V1LabelSelector(match_labels={"a": "b"}), template=pod)
apps.create_namespaced_deployment("py", client.V1Deployment(metadata=named("d"), spec=spec))
assert apps.read_namespaced_deployment_scale("d", "py").spec.replicas == 2
apps.patch_namespaced_deployment_scale("d", "py", {"spec": {"replicas": 3}})
assert apps.read_namespaced_deployment("d", "py").spec.replicas == 3

# The dynamic client: discovery and server-side apply.
resources = dynamic.DynamicClient(client.ApiClient()).resources
applied = resources.get(api_version="v1", kind="ConfigMap").server_side_apply(
    body={"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "s"}, "data": {"a": "1"}},
    namespace="py",
    field_manager="py",
)
assert applied.metadata.managedFields[0].operation == "Apply"
assert resources.search(kind="Deployment")

# Lists in pages, and collections.
for number in range(5):
    core.create_namespaced_secret("py", client.V1Secret(metadata=named(f"s{number}"), string_data={"a": "b"}))
pages, token = 0, None
while pages == 0 or token:
    page = core.list_namespaced_secret("py", limit=2, _continue=token)
    pages, token = pages + 1, page.metadata._continue
assert pages == 3, pages
core.delete_collection_namespaced_secret("py")
assert core.list_namespaced_secret("py").items == []

apps.delete_namespaced_deployment("d", "py", propagation_policy="Foreground")
core.delete_namespace("py")
print("done")
