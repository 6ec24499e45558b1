import JSON
import Testing

extension KubeTests {
  /// What a person who only looks around sees.
  @Suite(.cluster) struct Read {
    @Test func theServerSaysWhatItIsAndWhatItKnows() async throws {
      let shell = try await KubeShell.make("default")
      try await shell.shows("kubectl version", "Client Version: v1.37", "Server Version: v1.36.0+martlet")
      try await shell.says(
        "kubectl api-versions | xargs",
        "admissionregistration.k8s.io/v1 apiextensions.k8s.io/v1 apps/v1 authentication.k8s.io/v1 authorization.k8s.io/v1 autoscaling/v1 autoscaling/v2 batch/v1 certificates.k8s.io/v1 coordination.k8s.io/v1 discovery.k8s.io/v1 events.k8s.io/v1 metrics.k8s.io/v1beta1 networking.k8s.io/v1 node.k8s.io/v1 policy/v1 rbac.authorization.k8s.io/v1 scheduling.k8s.io/v1 storage.k8s.io/v1 v1"
      )
      try await shell.tabulates(
        "kubectl api-resources", "configmaps cm v1 true ConfigMap", "namespaces ns v1 false Namespace",
        "nodes no v1 false Node", "pods po v1 true Pod", "services svc v1 true Service",
        "deployments deploy apps/v1 true Deployment", "replicasets rs apps/v1 true ReplicaSet",
        "leases coordination.k8s.io/v1 true Lease", "endpointslices discovery.k8s.io/v1 true EndpointSlice")
      try await shell.shows(
        "kubectl api-resources --namespaced=false -o name", "namespaces\nnodes\npersistentvolumes\n",
        "customresourcedefinitions.apiextensions.k8s.io\n", "clusterroles.rbac.authorization.k8s.io\n")
      try await shell.shows(
        "kubectl cluster-info", "Kubernetes control plane is running at https://127.0.0.1:6443\n")
      try await shell.shows("kubectl get --raw '/readyz?verbose'", "[+]ping ok\n", "readyz check passed")
      try await shell.says("kubectl get --raw /livez && echo && kubectl get --raw /healthz && echo", "ok\nok")
      try await shell.shows("kubectl get --raw /metrics", "# TYPE apiserver_request_total counter\n")
    }

    @Test func theNodeIsListedAndDescribed() async throws {
      let shell = try await KubeShell.make("default")
      try await shell.tabulates(
        "kubectl get nodes", "NAME STATUS ROLES AGE VERSION", "node1 Ready <none> AGE v1.36.0+martlet")
      try await shell.shows("kubectl get nodes -o wide", "CONTAINER-RUNTIME\n", "martlet://", "10.87.0.1")
      try await shell.says("kubectl get no -o name", "node/node1")
      try await shell.shows(
        "kubectl describe node node1", "Unschedulable:      false", "HolderIdentity:  node1",
        "KubeletReady                 kubelet is posting ready status", "InternalIP:  10.87.0.1",
        "pods:               110",
        "Node node1 event: Registered Node node1 in Controller")
    }

    @Test func aNewClusterHasItsNamespacesAndItsService() async throws {
      let shell = try await KubeShell.make("default")
      try await shell.says(
        "kubectl get namespaces -o name",
        "namespace/default\nnamespace/kube-node-lease\nnamespace/kube-public\nnamespace/kube-system")
      try await shell.tabulates("kubectl get services", "kubernetes ClusterIP 10.96.0.1 <none> 443/TCP AGE")
      try await shell.tabulates("kubectl get sa -A", "default default 0 AGE", "kube-system default 0 AGE")
      try await shell.tabulates("kubectl get cm -n kube-public", "kube-root-ca.crt 1 AGE")
      try await shell.tabulates("kubectl get lease -A", "kube-node-lease node1 node1 AGE")
      try await shell.shows("kubectl describe svc kubernetes", "Endpoints:                10.87.0.1:6443\n")
    }

    @Test func anApplicationIsShownInEveryForm() async throws {
      let shell = try await KubeShell.make("forms")
      try shell.write("app.yaml", KubeManifests.app())
      try await shell.says(
        "kubectl apply -f app.yaml", "deployment.apps/app created\nconfigmap/cfg created\nservice/app created")
      try await shell.shows(
        "kubectl rollout status deploy/app --timeout=30s", "deployment \"app\" successfully rolled out")
      try await shell.tabulates("kubectl get deploy", "NAME READY UP-TO-DATE AVAILABLE AGE", "app 2/2 2 2 AGE")
      try await shell.shows("kubectl get deploy -o wide", "CONTAINERS", "localhost/busybox:1", "app=app")
      try await shell.tabulates("kubectl get all -l app=app | grep -v pod/", "deployment.apps/app 2/2 2 2 AGE")
      try await shell.shows("kubectl get all", "NAME                  READY   UP-TO-DATE", "service/app   ClusterIP")
      let rows = KubeShell.squeezed(try await shell.shows("kubectl get pods"))
      #expect(rows.first == "NAME READY STATUS RESTARTS AGE")
      #expect(rows.dropFirst().allSatisfy { $0.hasPrefix("app-") && $0.hasSuffix(" 1/1 Running 0 AGE") })
      #expect(rows.count == 3)
      try await shell.shows("kubectl get pods -o wide", "NOMINATED NODE   READINESS GATES\n", "10.87.", "node1")
      try await shell.shows("kubectl get pods -A --field-selector=status.phase=Running", "NAMESPACE", "forms ")
      try await shell.says("kubectl get pods --no-headers -l app=other", "")
      try await shell.says("kubectl get pods -l 'app in (app, web),!x' -o name | wc -l", "2")
      try await shell.says("kubectl get pods -o jsonpath='{.items[*].spec.containers[*].name}{\"\\n\"}'", "c c")
      try await shell.says(
        "kubectl get pods -o custom-columns=P:.status.phase,S:.metadata.labels.app",
        "P         S\nRunning   app\nRunning   app")
      try await shell.shows("kubectl get pods --sort-by=.metadata.name -o name", "pod/app-")
      try await shell.says("kubectl get deploy app -o go-template='{{.spec.replicas}}{{\"\\n\"}}'", "2")
      try await shell.says("kubectl get cm cfg -o yaml | grep -A1 ^data", "data:\n  foo: bar")
      let json = try await shell("kubectl get deploy,svc -o json").json()
      #expect(json["kind"]?.string == "List")
      #expect(json["items"]?.array?.map { $0["kind"]?.string } == ["Deployment", "Service"])
      try await shell.says("kubectl get deploy app --show-labels --no-headers | awk '{print $NF}'", "app=app")
      try await shell.tabulates("kubectl get deploy -L app", "app 2/2 2 2 AGE app")
      try await shell.shows("kubectl get endpointslices", "IPv4          8080")
    }

    @Test func describeTellsTheStoryOfEachKind() async throws {
      let shell = try await KubeShell.make("stories")
      try shell.write("app.yaml", KubeManifests.app())
      try await shell.shows(
        "kubectl apply -f app.yaml && kubectl rollout status deploy/app --timeout=30s", "rolled out")
      try await shell.shows(
        "kubectl describe $(kubectl get pods -l app=app -o name | head -1)", "Node:             node1/10.87.0.1\n",
        "Controlled By:  ReplicaSet/app-",
        "Container ID:  martlet://", "Readiness:      tcp-socket :8080 delay=0s timeout=1s period=1s",
        "<set to the key 'foo' of config map 'cfg'>", "QoS Class:                   BestEffort\n",
        "Successfully assigned stories/app-",
        "Container image \"localhost/busybox:1\" already present on machine", "Container started")
      try await shell.shows(
        "kubectl describe deployment app",
        "Replicas:               2 desired | 2 updated | 2 total | 2 available | 0 unavailable\n",
        "RollingUpdateStrategy:  25% max unavailable, 25% max surge\n", "MinimumReplicasAvailable",
        "NewReplicaSetAvailable", "(2/2 replicas created)", "Scaled up replica set app-")
      try await shell.shows(
        "kubectl describe rs", "Controlled By:  Deployment/app\n", "2 Running / 0 Waiting", "Created pod: app-")
      try await shell.shows(
        "kubectl describe svc app", "Type:                     ClusterIP\n", "TargetPort:               http/TCP\n",
        ":8080,10.87.")
      try await shell.shows("kubectl describe cm cfg", "foo:\n----\nbar\n")
      try await shell.shows("kubectl describe ns stories", "Status:       Active\n")
      try await shell.shows("kubectl describe sa default", "Name:                default\n")
      try await shell.shows("kubectl describe endpointslices", "AddressType:  IPv4\n", "Ready:    true")
      try await shell.shows("kubectl describe lease node1 -n kube-node-lease", "Holder Identity:         node1\n")
      try await shell.shows(
        "kubectl get events", "LAST SEEN   TYPE     REASON", "deployment/app", "Successfully assigned stories/app-",
        "Created pod: app-", "Container started")
      try await shell.shows("kubectl events --for deployment/app", "Scaled up replica set app-")
      try await shell.says(
        "kubectl get events --field-selector involvedObject.kind=Deployment,reason=ScalingReplicaSet -o name | wc -l",
        "1")
    }

    @Test func explainReadsTheSchema() async throws {
      let shell = try await KubeShell.make("default")
      try await shell.shows(
        "kubectl explain pods.spec.containers", "KIND:       Pod\nVERSION:    v1\n", "FIELD: containers <[]Container>",
        "  image\t<string>\n")
      try await shell.shows(
        "kubectl explain deployment --recursive", "GROUP:      apps\n", "    maxSurge\t<IntOrString>\n")
      try await shell.shows("kubectl explain service.spec.type", "FIELD: type <string>", "ClusterIP")
      try await shell.fails("kubectl explain pods.spec.nothing", "error: field \"nothing\" does not exist")
      try await shell.shows(
        "kubectl explain node.status.conditions -o plaintext-openapiv2", "RESOURCE: conditions <[]Object>")
    }

    @Test func aWatchShowsWhatComesAndGoes() async throws {
      let shell = try await KubeShell.make("watched")
      let answer = try await shell(
        """
        (timeout 4 kubectl get cm -w --no-headers -o custom-columns=N:.metadata.name,V:.data.v >seen) & \
        kubectl create cm one --from-literal=v=1 >/dev/null; \
        for i in $(seq 50); do grep -q one seen && break; sleep 0.1; done; \
        kubectl patch cm one -p '{"data":{"v":"2"}}' >/dev/null; kubectl delete cm one >/dev/null; \
        for i in $(seq 50); do [ "$(grep -c one seen)" = 3 ] && break; sleep 0.1; done; cat seen
        """)
      let lines = KubeShell.squeezed(answer.output).filter { $0.hasPrefix("one") }
      #expect(lines == ["one 1", "one 2", "one 2"], "\(answer.output) \(answer.errors)")
    }
  }
}
