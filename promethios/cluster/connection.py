"""One connection to a cluster, as kubectl would make it: plain objects in and out, errors that say what to do.

`Refused` is an answer that says no; `ConnectionLost` is no answer, and the same request may succeed later.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException

from promethios.errors import ClusterError

Object = dict[str, Any]
"""A Kubernetes object as plain data."""

DEFAULT_NAMESPACE: Final = "promethios"
"""Of manifests/components/namespace."""
FIELD_MANAGER: Final = "promethios"
TIMEOUT_SECONDS: Final = (5, 30)
"""To connect, and from one byte of an answer to the next."""
SILENCE_SECONDS: Final = 60
"""Of a log that is followed, until it is asked for again: the connection may be dead without a word."""
IN_CLUSTER: Final = "the pod's service account"
_NOT_NOW: Final = frozenset({429, 500, 502, 503, 504})
_MERGE: Final = "application/merge-patch+json"
_APPLY: Final = "application/apply-patch+yaml"


class ConnectionLost(ClusterError):
    """The cluster did not answer, or is too busy to."""


class Refused(ClusterError):
    """The cluster answered no. status: of HTTP, 403 for what the user may not do, 404 for what is not there."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Resource(NamedTuple):
    """How the API calls a kind: the group, the plural name, and whether its objects lie in namespaces."""

    group: str
    name: str
    namespaced: bool


class Connection:
    """A cluster and a namespace in it. Every method raises Refused or ConnectionLost."""

    def __init__(self, api: client.ApiClient, context: str, namespace: str) -> None:
        api.configuration.retries = urllib3.Retry(total=2, backoff_factor=0.2, allowed_methods={"GET"})
        api.rest_client = client.rest.RESTClientObject(api.configuration)
        self.api, self.context, self.namespace = api, context, namespace
        self._kinds: dict[str, dict[str, Resource]] = {}

    @property
    def where(self) -> str:
        """The context and namespace, in words."""
        return f"context {self.context}, namespace {self.namespace}"

    def resource(self, api_version: str, kind: str) -> Resource | None:
        """Return the API of a kind, or None when the cluster does not have it."""
        if api_version not in self._kinds:
            self._kinds[api_version] = self._discover(api_version)
        return self._kinds[api_version].get(kind)

    def find(self, api_version: str, kind: str, name: str) -> Object | None:
        """Return an object, or None when there is none."""
        try:
            return self._request("GET", api_version, kind, name)
        except Refused as error:
            if error.status == 404:
                return None
            raise

    def items(
        self, api_version: str, kind: str, *, labels: str | None = None, fields: str | None = None
    ) -> list[Object]:
        """Return the objects of a kind that match the selectors."""
        found = self._request("GET", api_version, kind, None, query={"labelSelector": labels, "fieldSelector": fields})
        return list(found["items"])

    def create(self, body: Object) -> Object:
        """Create an object; with `Refused.status` 409 when there is one of that name."""
        return self._request("POST", body["apiVersion"], body["kind"], None, body=body)

    def apply(self, body: Object) -> Object:
        """Create an object or make it what is given (server-side apply, taking fields over)."""
        return self._request(
            *("PATCH", body["apiVersion"], body["kind"], body["metadata"]["name"]),
            body=body,
            content_type=_APPLY,
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
        )

    def patch(self, api_version: str, kind: str, name: str, change: Object) -> Object:
        """Merge a change into an object; None removes a key."""
        return self._request("PATCH", api_version, kind, name, body=change, content_type=_MERGE)

    def delete(self, api_version: str, kind: str, name: str) -> None:
        """Delete an object once everything that it owns is gone."""
        self._request("DELETE", api_version, kind, name, body={"propagationPolicy": "Foreground"})

    def may(self, verb: str, resource: str, *, group: str = "", subresource: str = "", namespaced: bool = True) -> bool:
        """Return whether the user may do this, as the cluster sees it (SelfSubjectAccessReview)."""
        attributes = {"verb": verb, "group": group, "resource": resource, "subresource": subresource}
        if namespaced:
            attributes["namespace"] = self.namespace
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        return bool(self.create(review)["status"]["allowed"])

    def log(
        self, pod: str, container: str, *, follow: bool = False, since: str | None = None, tail: int | None = None
    ) -> urllib3.response.BaseHTTPResponse:
        """Return the open log of a container; each line begins with its time, RFC 3339. since: only from that second.

        The generated client cannot ask for `sinceTime`, hence the plain request.
        """
        wanted = {"container": container, "timestamps": "true", "follow": "true" if follow else None}
        wanted |= {"sinceTime": since, "tailLines": None if tail is None else str(tail)}
        timeout = (TIMEOUT_SECONDS[0], SILENCE_SECONDS if follow else TIMEOUT_SECONDS[1])
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/log"
        return self._call(f"log of {pod}", "GET", path, query=wanted, timeout=timeout)

    def _discover(self, api_version: str) -> dict[str, Resource]:
        try:
            answer = self._call(api_version, "GET", f"/{_root(api_version)}")
        except Refused as error:
            if error.status == 404:
                return {}
            raise
        group = api_version.rpartition("/")[0]
        return {
            each["kind"]: Resource(group, each["name"], each["namespaced"])
            for each in json.loads(answer.data)["resources"]
            if "/" not in each["name"]
        }

    def _request(self, method: str, api_version: str, kind: str, name: str | None, **options: Any) -> Object:
        resource = self.resource(api_version, kind)
        if resource is None:
            raise Refused(f"the cluster has no {kind} ({api_version})", 404)
        place = f"namespaces/{self.namespace}/" if resource.namespaced else ""
        path = f"/{_root(api_version)}/{place}{resource.name}" + (f"/{name}" if name else "")
        what = name or options.get("body", {}).get("metadata", {}).get("name", "")
        return dict(json.loads(self._call(f"{kind} {what}".strip(), method, path, **options).data))

    def _call(
        self,
        what: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | None] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        timeout: tuple[float, float] = TIMEOUT_SECONDS,
    ) -> urllib3.response.BaseHTTPResponse:
        with plain_errors(what):
            answer: urllib3.response.BaseHTTPResponse = self.api.call_api(
                path,
                method,
                query_params=[(key, value) for key, value in (query or {}).items() if value is not None],
                header_params={"Accept": "application/json", "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=timeout,
            )
            return answer


def _root(api_version: str) -> str:
    """Return where an API version begins: the core group has a place of its own."""
    return f"apis/{api_version}" if "/" in api_version else f"api/{api_version}"


def connect(context: str | None, namespace: str) -> Connection:
    """Return a connection to a context of the kubeconfig (KUBECONFIG, ~/.kube/config), or from inside a pod.

    context: None for the current one. Raises ClusterError.
    """
    try:
        _, current = config.list_kube_config_contexts()
        name = context or current["name"]
        api = config.new_client_from_config(context=name)
    except (ConfigException, TypeError) as error:
        if context is not None or not Path(config.incluster_config.SERVICE_TOKEN_FILENAME).is_file():
            raise ClusterError(
                f"no cluster to talk to: {error}; set KUBECONFIG, or choose with --context one that `kubectl config "
                "get-contexts` shows"
            ) from None
        settings = client.Configuration()
        config.load_incluster_config(client_configuration=settings)
        api, name = client.ApiClient(settings), IN_CLUSTER
    return Connection(api, name, namespace)


@contextmanager
def plain_errors(what: str) -> Iterator[None]:
    """Turn what the client raises into Refused or ConnectionLost; `what` was asked for."""
    try:
        yield
    except ApiException as error:
        if error.status in _NOT_NOW or not error.status:
            raise ConnectionLost(f"{what}: the cluster cannot answer now: {_reason(error)}") from error
        raise Refused(f"{what}: {_reason(error)}{_advice(error)}", error.status) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        cause = error.reason if isinstance(error, urllib3.exceptions.MaxRetryError) else error
        raise ConnectionLost(f"{what}: no answer from the cluster: {cause}") from error


def _advice(error: ApiException) -> str:
    """Return what to do about a status code; webhooks answer with 403, too, and then it is no question of rights."""
    if error.status == 401:
        return "; log in to the cluster again, then come back"
    if error.status == 403 and "User " in _reason(error):
        return "; ask who runs the cluster for this right"
    return ""


def _reason(error: ApiException) -> str:
    """Return the message of the Status object that the server answers with."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)
