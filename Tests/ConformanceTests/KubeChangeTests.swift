import JSON
import Testing

extension KubeTests {
  /// What a person changes with kubectl, and what is refused.
  @Suite(.cluster) struct Change {
    @Test func createMakesEveryKind() async throws {
      let shell = try await KubeShell.make("made")
      try await shell.says(
        "kubectl create namespace dry --dry-run=client -o yaml",
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: dry\nspec: {}\nstatus: {}")
      try await shell.says("kubectl create namespace dry --dry-run=server", "namespace/dry created (server dry run)")
      try await shell.fails("kubectl get namespace dry", "Error from server (NotFound): namespaces \"dry\" not found")
      try await shell.says(
        "kubectl create deployment d --image=localhost/busybox:1 -- sleep 1000", "deployment.apps/d created")
      try await shell.says("kubectl expose deploy/d --port=80 --target-port=8080", "service/d exposed")
      try await shell.says(
        "kubectl get svc d -o jsonpath='{.spec.ports[0].targetPort} {.spec.selector.app}{\"\\n\"}'", "8080 d")
      try await shell.says("kubectl create configmap c --from-literal=a=b --from-literal=e=", "configmap/c created")
      try await shell.says("kubectl get cm c -o jsonpath='{.data}{\"\\n\"}'", #"{"a":"b","e":""}"#)
      try await shell.says("kubectl create secret generic s --from-literal=a=b", "secret/s created")
      try await shell.says("kubectl get secret s -o jsonpath='{.type} {.data.a}{\"\\n\"}'", "Opaque Yg==")
      try await shell.tabulates("kubectl get secrets", "s Opaque 1 AGE")
      try await shell.says("kubectl create serviceaccount sa", "serviceaccount/sa created")
      try await shell.says("kubectl create service clusterip plain --tcp=80:8080", "service/plain created")
      try await shell.says(
        "kubectl run p --image=localhost/busybox:1 --restart=Never --image-pull-policy=Never -- sleep 1000",
        "pod/p created")
      try await shell.says("kubectl wait pod/p --for=condition=Ready --timeout=30s", "pod/p condition met")
      try await shell.says(
        "kubectl wait --for=jsonpath='{.status.readyReplicas}'=1 deploy/d --timeout=30s",
        "deployment.apps/d condition met")
      try shell.write("cm.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {generateName: gen-}, data: {k: v}}")
      try await shell.shows("kubectl create -f cm.yaml", "configmap/gen-")
    }

    @Test func applyIsTheThreeWayMergeThatPeopleKnow() async throws {
      let shell = try await KubeShell.make("applied")
      try shell.write("app.yaml", KubeManifests.app(replicas: 1))
      try shell.write("app2.yaml", KubeManifests.app(replicas: 2, greeting: "again"))
      try await shell.says(
        "kubectl apply -f app.yaml", "deployment.apps/app created\nconfigmap/cfg created\nservice/app created")
      try await shell.says(
        "kubectl apply -f app.yaml", "deployment.apps/app unchanged\nconfigmap/cfg unchanged\nservice/app unchanged")
      try await shell.says("kubectl annotate deploy/app kept=yes", "deployment.apps/app annotated")
      try await shell.says("kubectl patch cm cfg -p '{\"data\":{\"mine\":\"1\"}}'", "configmap/cfg patched")
      try await shell.says(
        "kubectl apply -f app2.yaml", "deployment.apps/app configured\nconfigmap/cfg unchanged\nservice/app unchanged")
      try await shell.says(
        "kubectl get deploy app -o jsonpath='{.spec.replicas} {.metadata.annotations.kept}{\"\\n\"}'", "2 yes")
      // What was applied and is gone from the file goes; what somebody else set stays.
      try shell.write("cfg.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: cfg}, data: {new: x}}")
      try await shell.says("kubectl apply -f cfg.yaml", "configmap/cfg configured")
      try await shell.says("kubectl get cm cfg -o jsonpath='{.data}{\"\\n\"}'", #"{"mine":"1","new":"x"}"#)
      try await shell.says(
        "kubectl apply --dry-run=server -f app.yaml",
        """
        deployment.apps/app configured (server dry run)
        configmap/cfg configured (server dry run)
        service/app unchanged (server dry run)
        """)
      try await shell.says("kubectl get deploy app -o jsonpath='{.spec.replicas}{\"\\n\"}'", "2")
      try await shell.says("kubectl apply --server-side -f cfg.yaml", "configmap/cfg serverside-applied")
      try await shell.says("cat app2.yaml | kubectl delete -f - | wc -l", "3")
    }

    @Test func patchesOfEveryTypeLabelsAndEdits() async throws {
      let shell = try await KubeShell.make("patched")
      try await shell.says(
        "kubectl create deployment d --image=localhost/busybox:1 --replicas=0 -- sleep 9", "deployment.apps/d created")
      try await shell.says("kubectl create configmap c --from-literal=a=b", "configmap/c created")
      try await shell.says("kubectl label deploy/d x=y", "deployment.apps/d labeled")
      try await shell.says("kubectl label deploy/d x=y", "deployment.apps/d not labeled")
      try await shell.fails(
        "kubectl label deploy/d x=z", "error: 'x' already has a value (y), and --overwrite is false")
      try await shell.says("kubectl label deploy/d x-", "deployment.apps/d unlabeled")
      try await shell.says("kubectl annotate deploy/d a=b", "deployment.apps/d annotated")
      try await shell.says("kubectl patch cm c -p '{\"data\":{\"k\":\"v\"}}'", "configmap/c patched")
      try await shell.says("kubectl patch cm c -p '{\"data\":{\"k\":\"v\"}}'", "configmap/c patched (no change)")
      try await shell.says(
        "kubectl patch cm c --type=json -p '[{\"op\":\"test\",\"path\":\"/data/k\",\"value\":\"v\"},{\"op\":\"move\",\"from\":\"/data/k\",\"path\":\"/data/j\"}]'",
        "configmap/c patched")
      try await shell.says("kubectl patch cm c --type=merge -p '{\"data\":{\"a\":null}}'", "configmap/c patched")
      try await shell.says("kubectl get cm c -o jsonpath='{.data}{\"\\n\"}'", #"{"j":"v"}"#)
      try await shell.says(
        "kubectl patch deploy d -p '{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"side\",\"image\":\"localhost/busybox:2\"}]}}}}'",
        "deployment.apps/d patched")
      try await shell.says(
        "kubectl get deploy d -o jsonpath='{.spec.template.spec.containers[*].name}{\"\\n\"}'", "side busybox")
      try await shell.says("kubectl set image deploy/d busybox=localhost/busybox:2", "deployment.apps/d image updated")
      try await shell.says("kubectl set env deploy/d A=B", "deployment.apps/d env updated")
      try await shell.says("kubectl set env deploy/d --list -c busybox", "# Deployment d, container busybox\nA=B")
      try await shell.says(
        "kubectl set resources deploy/d --limits=cpu=200m,memory=64Mi",
        "deployment.apps/d resource requirements updated")
      try await shell.says("KUBE_EDITOR='sed -i s/j:.v/j:\\ edited/' kubectl edit cm c", "configmap/c edited")
      try await shell.says("kubectl get cm c -o jsonpath='{.data.j}{\"\\n\"}'", "edited")
      try await shell.says("KUBE_EDITOR=true kubectl edit cm c 2>&1", "Edit cancelled, no changes made.")
      try shell.write("c.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: replaced}}")
      try await shell.says("kubectl replace -f c.yaml", "configmap/c replaced")
      try await shell.says("kubectl get cm c -o jsonpath='{.data}{\"\\n\"}'", #"{"a":"replaced"}"#)
      try await shell.says(
        "kubectl get cm c -o yaml | sed s/replaced/once/ >old.yaml; kubectl replace -f old.yaml", "configmap/c replaced"
      )
      try await shell.fails(
        "kubectl replace -f old.yaml",
        "Error from server (Conflict): error when replacing \"old.yaml\": Operation cannot be fulfilled on configmaps \"c\": the object has been modified; please apply your changes to the latest version and try again"
      )
    }

    @Test func theNodeIsCordonedTaintedAndDrained() async throws {
      let shell = try await KubeShell.make("default")
      try await shell.says("kubectl cordon node1", "node/node1 cordoned")
      try await shell.tabulates("kubectl get nodes", "node1 Ready,SchedulingDisabled <none> AGE v1.36.0+martlet")
      try await shell.says("kubectl uncordon node1", "node/node1 uncordoned")
      try await shell.says("kubectl taint node node1 k=v:NoSchedule", "node/node1 tainted")
      try await shell.shows("kubectl describe node node1", "Taints:             k=v:NoSchedule\n")
      try await shell.says("kubectl taint node node1 k-", "node/node1 untainted")
      try await shell.says(
        "kubectl label node node1 disk=ssd && kubectl get nodes -l disk=ssd -o name", "node/node1 labeled\nnode/node1")
      try await shell.shows(
        "kubectl drain node1 --ignore-daemonsets --force --dry-run=client", "node/node1 cordoned (dry run)\n",
        "node/node1 drained (dry run)")
    }

    @Test func deletingFollowsOwners() async throws {
      let shell = try await KubeShell.make("gone")
      for name in ["a", "b", "c"] {
        try await shell.says(
          "kubectl create deployment \(name) --image=localhost/busybox:1 -- sh -c 'trap exit TERM; sleep 1000 & wait'",
          "deployment.apps/\(name) created")
      }
      try await shell.shows(
        "kubectl wait deploy --all --for=condition=Available --timeout=30s", "deployment.apps/c condition met")
      try await shell.says(
        "kubectl delete deploy a --cascade=foreground", "deployment.apps \"a\" deleted from gone namespace")
      try await shell.says("kubectl get rs,pods -l app=a -o name", "")
      try await shell.says(
        "kubectl delete deploy b --cascade=orphan", "deployment.apps \"b\" deleted from gone namespace")
      try await shell.says(
        "kubectl get rs -l app=b -o jsonpath='{.items[*].metadata.ownerReferences}{.items[*].spec.replicas}{\"\\n\"}'",
        "1")
      let pod = try await shell("kubectl get pods -l app=b -o jsonpath='{.items[0].metadata.name}'").output
      let forced = try await shell("kubectl delete pod \(pod) --grace-period=0 --force")
      #expect(forced.output == "pod \"\(pod)\" force deleted from gone namespace\n")
      #expect(forced.errors.hasPrefix("Warning: Immediate deletion does not wait for confirmation"))
      try await shell.says(
        "kubectl delete rs -l app=b | wc -l && kubectl delete deploy c",
        "1\ndeployment.apps \"c\" deleted from gone namespace")
      try await shell.says(
        "kubectl create cm one && kubectl create cm two", "configmap/one created\nconfigmap/two created")
      try await shell.says(
        "kubectl delete cm one two",
        "configmap \"one\" deleted from gone namespace\nconfigmap \"two\" deleted from gone namespace")
      try await shell.fails("kubectl delete cm one", "Error from server (NotFound): configmaps \"one\" not found")
      try await shell.says("kubectl delete cm one --ignore-not-found", "")
      try await shell.shows("kubectl delete svc,cm,secret --all", "configmap \"kube-root-ca.crt\" deleted")
      try await shell.says(
        "kubectl wait --for=create cm/kube-root-ca.crt --timeout=10s", "configmap/kube-root-ca.crt condition met")
      try await shell.eventually("kubectl get pods -o name") { $0.isEmpty }
    }

    @Test func aNamespaceGoesWithAllThatIsInIt() async throws {
      let shell = try await KubeShell.make("doomed")
      try shell.write("app.yaml", KubeManifests.app())
      try await shell.shows(
        "kubectl apply -f app.yaml && kubectl rollout status deploy/app --timeout=30s", "rolled out")
      try await shell.says("kubectl delete namespace doomed", "namespace \"doomed\" deleted")
      try await shell.says("kubectl get all,cm,sa,endpointslices,events,leases -n doomed -o name", "")
      try await shell.fails(
        "kubectl create cm late", "error: failed to create configmap: namespaces \"doomed\" not found")
      for kept in ["default", "kube-system", "kube-public"] {
        try await shell.fails(
          "kubectl delete ns \(kept)",
          "Error from server (Forbidden): namespaces \"\(kept)\" is forbidden: this namespace may not be deleted")
      }
    }

    @Test func whatIsWrongIsRefusedInKnownWords() async throws {
      let shell = try await KubeShell.make("wrong")
      try shell.write(
        "bad.yaml", "{apiVersion: v1, kind: Service, metadata: {name: Bad_Name}, spec: {ports: [{port: 99999}]}}")
      try shell.write("unk.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: unk}, dataa: {foo: x}}")
      try shell.write("type.yaml", "{apiVersion: v1, kind: Pod, metadata: {name: t}, spec: {containers: 7}}")
      try shell.write("kind.yaml", "{apiVersion: x.example.com/v1, kind: Widget, metadata: {name: w}}")
      try shell.write("cm.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: cm}, data: {foo: x}}")
      try await shell.fails("kubectl get foo", "error: the server doesn't have a resource type \"foo\"")
      try await shell.fails("kubectl get pod nope", "Error from server (NotFound): pods \"nope\" not found")
      let empty = try await shell("kubectl get pods -n nope")
      #expect((empty.code, empty.output, empty.errors) == (0, "", "No resources found in nope namespace.\n"))
      try await shell.fails(
        "kubectl apply -f bad.yaml",
        """
        The Service "Bad_Name" is invalid: 
        * metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        * spec.ports[0].port: Invalid value: 99999: must be between 1 and 65535, inclusive
        * spec.ports[0].targetPort: Invalid value: 99999: must be between 1 and 65535, inclusive
        """)
      try await shell.fails(
        "kubectl apply -f unk.yaml",
        "Error from server (BadRequest): error when creating \"unk.yaml\": ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"dataa\""
      )
      let wrongType = try await shell("kubectl create -f type.yaml")
      #expect(wrongType.code == 1)
      #expect(
        wrongType.errors.hasPrefix(
          "Error from server (BadRequest): error when creating \"type.yaml\": Pod in version \"v1\" cannot be handled as a Pod: "
        ), "\(wrongType.errors)")
      let unknownKind = try await shell("kubectl apply -f kind.yaml")
      #expect(unknownKind.code == 1)
      #expect(unknownKind.errors.contains("no matches for kind \"Widget\" in version \"x.example.com/v1\""))
      try await shell.says("kubectl create -f cm.yaml", "configmap/cm created")
      try await shell.fails(
        "kubectl create -f cm.yaml",
        "Error from server (AlreadyExists): error when creating \"cm.yaml\": configmaps \"cm\" already exists")
      try await shell.fails(
        "kubectl create deployment d --image=x --replicas=-1",
        "error: failed to create deployment: Deployment.apps \"d\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"
      )
      try await shell.says("kubectl create deployment d --image=x --replicas=0", "deployment.apps/d created")
      try await shell.fails(
        "kubectl patch deploy d -p '{\"spec\":{\"selector\":{\"matchLabels\":{\"app\":\"e\"}}}}' | head -1",
        "The Deployment \"d\" is invalid: \n* spec.template.metadata.labels: Invalid value: {\"app\":\"d\"}: `selector` does not match template `labels`\n* spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"e\"}}: field is immutable",
        code: 0)
      let selector = try await shell("kubectl get pods -l 'a in (b'")
      #expect(
        selector.errors.contains("unable to parse requirement: found '', expected: ',' or ')'"), "\(selector.errors)")
      let field = try await shell("kubectl get pods --field-selector=foo=bar")
      #expect(field.errors.contains("field label not supported: foo"), "\(field.errors)")
      let role = try await shell("kubectl create role r --verb=get --resource=widgets")
      #expect(role.errors.contains("the server doesn't have a resource type \"widgets\""), "\(role.errors)")
    }
  }
}
