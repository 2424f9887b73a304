module promethios.dev/programs/definitions

go 1.26.0

// No program: the custom resources that the chart and the manifests can make, as their projects ship them.
require (
	github.com/kedacore/keda/v2 v2.21.0
	github.com/prometheus-operator/prometheus-operator v0.85.0
	sigs.k8s.io/gateway-api v1.6.1
)
