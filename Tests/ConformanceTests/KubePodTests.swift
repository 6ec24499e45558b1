import JSON
import Kernel
import Testing

extension KubeTests {
  /// Pods as their users see them: what they say, and how they fail.
  @Suite(.cluster) struct Pods {
    @Test func logsAreReadInEveryWay() async throws {
      let shell = try await KubeShell.make("logs")
      try shell.write(
        "talk.yaml",
        KubeManifests.pod("talk", "for i in 1 2 3; do echo line $i; done; echo oops >&2; exec sleep 1000")
          + "\n  - {name: side, image: localhost/busybox:1, command: [sh, -c, \"echo aside; exec sleep 1000\"]}")
      try await shell.says("kubectl apply -f talk.yaml", "pod/talk created")
      try await shell.says("kubectl wait pod/talk --for=condition=Ready --timeout=30s", "pod/talk condition met")
      try await shell.eventually("kubectl logs talk -c main") { $0.contains("oops") && $0.contains("line 3") }
      let plain = try await shell("kubectl logs talk")
      #expect(plain.output.hasPrefix("line 1\nline 2\nline 3\n"))
      #expect(plain.errors == "Defaulted container \"main\" out of: main, side\n")
      try await shell.says("kubectl logs talk -c side", "aside")
      try await shell.says("kubectl logs talk -c side --tail=0", "")
      try await shell.says("kubectl logs talk -c main --limit-bytes=4 && echo", "line")
      let stamped = try await shell("kubectl logs talk -c side --timestamps").output
      #expect(stamped.wholeMatch(of: #/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z aside\n/#) != nil, "\(stamped)")
      try await shell.says("kubectl logs talk -c side --since=1h", "aside")
      try await shell.says("kubectl logs talk -c side --since-time=2100-01-01T00:00:00Z", "")
      let all = try await shell.shows("kubectl logs talk --all-containers --prefix", "[pod/talk/side] aside\n")
      #expect(all.contains("[pod/talk/main] line 1\n"))
      try await shell.says("kubectl logs -l app=talk -c side", "aside")
      try await shell.fails(
        "kubectl logs talk -c nope", "error: container nope is not valid for pod talk out of: main, side")
      try await shell.fails(
        "kubectl logs talk -c main --previous",
        "Error from server (BadRequest): previous terminated container \"main\" in pod \"talk\" not found")
      let followed = try await shell(
        "(sleep 1; kubectl delete pod talk --grace-period=0 --force >/dev/null 2>&1) & timeout 20 kubectl logs -f talk -c side"
      )
      #expect((followed.code, followed.output) == (0, "aside\n"))
    }

    @Test func execPassesStreamsAndExitCodes() async throws {
      let shell = try await KubeShell.make("execs")
      try shell.write("box.yaml", KubeManifests.pod("box", "trap exit TERM; sleep 1000 & wait"))
      try await shell.shows(
        "kubectl apply -f box.yaml && kubectl wait pod/box --for=condition=Ready --timeout=30s", "met")
      try await shell.says("kubectl exec box -- echo hi", "hi")
      let answer = try await shell("kubectl exec box -- sh -c 'echo out; echo err >&2; exit 3'")
      #expect((answer.code, answer.output) == (3, "out\n"))
      #expect(answer.errors == "err\ncommand terminated with exit code 3\n")
      try await shell.says("kubectl exec -i box -- cat", "through", input: "through\n")
      try await shell.says(
        "seq 200000 | kubectl exec -i box -- cat | md5sum | cut -c1-8; seq 200000 | md5sum | cut -c1-8 >sum",
        (try await shell("seq 200000 | md5sum | cut -c1-8").output.dropLast()).description)
      let missing = try await shell("kubectl exec box -- /bin/nothing")
      #expect(missing.code != 0)
      #expect(missing.errors.contains("/bin/nothing"), "\(missing.errors)")
      try await shell.fails("kubectl exec nobody -- true", "Error from server (NotFound): pods \"nobody\" not found")
      let container = try await shell("kubectl exec box -c nope -- true")
      #expect(container.code == 1)
      #expect(container.errors.contains("container nope"), "\(container.errors)")
      let tty = try await shell.node.run(
        ["script", "-qec", "kubectl exec -it box -n execs -- sh -c 'tty; exit 4'", "/dev/null"])
      #expect(tty.output.contains("/dev/pts/"), "\(tty.output)\(tty.errors)")
      #expect(tty.code == 4)
    }

    @Test func filesAreCopiedInAndOut() async throws {
      let shell = try await KubeShell.make("copies")
      try shell.write("box.yaml", KubeManifests.pod("box", "trap exit TERM; sleep 1000 & wait"))
      try await shell.shows(
        "kubectl apply -f box.yaml && kubectl wait pod/box --for=condition=Ready --timeout=30s", "met")
      try await shell.says("mkdir -p in && seq 9 >in/a && echo b >in/b && kubectl cp in box:/tmp/in", "")
      try await shell.says("kubectl exec box -- cat /tmp/in/b", "b")
      try await shell.says("kubectl cp box:/tmp/in out >/dev/null && diff -r in out && echo same", "same")
      try await shell.shows("kubectl cp box:/etc/hosts hosts && cat hosts", "127.0.0.1\tlocalhost\n", "\tbox\n")
    }

    @Test func aRunPodIsAttachedToAndGone() async throws {
      let shell = try await KubeShell.make("runs")
      let run = try await shell(
        "kubectl run once --image=localhost/busybox:1 --restart=Never --rm -i --quiet --image-pull-policy=Never -- sh -c 'read line; echo got $line'",
        input: "it\n")
      #expect((run.code, run.output) == (0, "got it\n"), "\(run.errors)")
      try await shell.fails("kubectl get pod once", "Error from server (NotFound): pods \"once\" not found")
      let failed = try await shell(
        "kubectl run bad --image=localhost/busybox:1 --restart=Never --rm -i --quiet --image-pull-policy=Never -- sh -c 'read line; exit 7'",
        input: "x\n")
      #expect(failed.code == 7, "\(failed.output)\(failed.errors)")
    }

    @Test func aRunPodThatEndsAtOnceIsHeard() async throws {
      let shell = try await KubeShell.make("instants")
      for _ in 0..<3 {
        let run = try await shell(
          "kubectl run now --image=localhost/busybox:1 --restart=Never --rm -i --quiet -- echo hi")
        // kubectl reads the log first, and once more where it is too late to attach.
        #expect(run.code == 0, "\(run.errors)")
        #expect(["hi\n", "hi\nhi\n"].contains(run.output), "\(run.errors)")
      }
    }

    @Test func aPodOfAFileIsSeenAndReachedAndOnlyItsFileEndsIt() async throws {
      let shell = try await KubeShell.make("files")
      let (file, name) = ("\(shell.node.path)/root/manifests/box.yaml", "box-\(KubeNode.name)")
      try Files.writeAtomically(
        file,
        Array(
          """
          apiVersion: v1
          kind: Pod
          metadata: {name: box, labels: {app: box}}
          spec:
            terminationGracePeriodSeconds: 1
            containers:
              - {name: main, image: "localhost/busybox:1", command: [sh, -c, "echo begun; exec sleep 1000"]}
          """.utf8))
      let get = "kubectl get pod \(name) -n default -o"
      try await shell.eventually("kubectl wait pod/\(name) -n default --for=condition=Ready --timeout=5s") {
        $0.contains("condition met")
      }
      try await shell.says("kubectl logs \(name) -n default", "begun")
      try await shell.says("kubectl exec \(name) -n default -- echo hi", "hi")
      let owner = "{.metadata.ownerReferences[0].kind}/{.metadata.ownerReferences[0].name}"
      try await shell.says("\(get) jsonpath='\(owner)' && echo", "Node/\(KubeNode.name)")
      try await shell.shows("kubectl describe pod \(name) -n default", "Started", "Container started")
      let first = try await shell("\(get) jsonpath='{.metadata.uid} {.status.containerStatuses[0].containerID}'").output
      let words = first.split(separator: " ").map(String.init)
      try await shell.shows("kubectl delete pod \(name) -n default --wait=false", "deleted")
      try await shell.eventually(
        "\(get) jsonpath='{.metadata.uid} {.status.containerStatuses[0].containerID} {.status.phase}'"
      ) { now in
        let parts = now.split(separator: " ").map(String.init)
        return parts.count == 3 && parts[0] != words[0] && parts[1] == words[1] && parts[2] == "Running"
      }
      try Files.remove(file)
      try await shell.eventually("\(get) name 2>&1") { $0.contains("not found") }
    }

    @Test func aPodThatRunsIsResized() async throws {
      let shell = try await KubeShell.make("sizes")
      try shell.write(
        "box.yaml",
        """
        apiVersion: v1
        kind: Pod
        metadata: {name: box}
        spec:
          terminationGracePeriodSeconds: 1
          containers:
            - name: main
              image: localhost/busybox:1
              command: [sleep, "1000"]
              resources: {requests: {cpu: 100m, memory: 16Mi}, limits: {memory: 32Mi}}
        """)
      try await shell.shows(
        "kubectl apply -f box.yaml && kubectl wait pod/box --for=condition=Ready --timeout=30s", "met")
      func patch(_ resources: String) -> String {
        "kubectl patch pod box --subresource resize --patch "
          + "'{\"spec\":{\"containers\":[{\"name\":\"main\",\"resources\":\(resources)}]}}'"
      }
      try await shell.says(patch(#"{"requests":{"cpu":"200m"},"limits":{"memory":"48Mi"}}"#), "pod/box patched")
      try await shell.eventually(
        "kubectl get pod box -o jsonpath='{.status.containerStatuses[0].resources.requests.cpu} "
          + "{.status.containerStatuses[0].resources.limits.memory} {.status.containerStatuses[0].restartCount} "
          + "{.status.conditions[?(@.type==\"PodResizeInProgress\")].status}'"
      ) { $0 == "200m 48Mi 0 " }
      try await shell.fails(
        patch(#"{"requests":{"memory":"48Mi","cpu":"200m"},"limits":{"cpu":"200m","memory":"48Mi"}}"#),
        "The Pod \"box\" is invalid: spec: Invalid value: \"Guaranteed\": Pod QOS Class may not change as a result of resizing"
      )
      try await shell.says(patch(#"{"requests":{"cpu":"1000"}}"#), "pod/box patched")
      try await shell.eventually(
        "kubectl get pod box -o jsonpath='{.status.conditions[?(@.type==\"PodResizePending\")].reason}'"
      ) { $0 == "Infeasible" }
    }

    @Test func portsAreForwardedToPodsAndServices() async throws {
      let shell = try await KubeShell.make("forwards")
      try shell.write("app.yaml", KubeManifests.app())
      try await shell.shows(
        "kubectl apply -f app.yaml && kubectl rollout status deploy/app --timeout=30s", "rolled out")
      for (client, what) in [
        ("kubectl", "svc/app 18080:80"), ("kubectl", "deploy/app 18080:8080"), ("kubectl-1.20", "svc/app 18080:80"),
      ] {
        let answer = try await shell(
          """
          rm -f forward; \(client) port-forward \(what) >forward 2>&1 & forward=$!
          for i in $(seq 100); do grep -q 'Forwarding from 127.0.0.1:18080 -> 8080' forward && break; sleep 0.1; done
          for i in 1 2 3; do curl --silent --max-time 5 http://127.0.0.1:18080/hosts | grep -c localhost; done
          kill $forward; wait $forward; cat forward >&2
          """)
        #expect(answer.output == "2\n2\n2\n", "\(client) \(what): \(answer.errors)")
        #expect(answer.errors.contains("Handling connection for 18080"))
      }
    }

    @Test func attachJoinsTheStreamsOfARunningContainer() async throws {
      let shell = try await KubeShell.make("attaches")
      try shell.write(
        "echo.yaml", KubeManifests.pod("echo", "while read line; do echo got $line; done", container: "stdin: true"))
      try await shell.shows(
        "kubectl apply -f echo.yaml && kubectl wait pod/echo --for=condition=Ready --timeout=30s", "met")
      for client in ["kubectl", "kubectl-1.20"] {
        let answer = try await shell(
          "(echo one; sleep 1) | timeout 3 \(client) attach -i echo", input: "")
        #expect(answer.output == "got one\n", "\(client): \(answer.errors)")
      }
    }

    @Test func podsThatCannotRunSayWhy() async throws {
      let shell = try await KubeShell.make("sick")
      try shell.write(
        "sick.yaml",
        [
          "apiVersion: v1\nkind: Pod\nmetadata: {name: noimage}\nspec: {containers: [{name: main, image: localhost/nothing:1}]}",
          "apiVersion: v1\nkind: Pod\nmetadata: {name: never}\nspec: {containers: [{name: main, image: localhost/nothing:2, imagePullPolicy: Never}]}",
          KubeManifests.pod("crash", "echo dying; exit 3"),
          KubeManifests.pod("big", "true", container: "resources: {requests: {cpu: 100}}"),
          KubeManifests.pod("choosy", "true", more: "nodeSelector: {disk: none}"),
          KubeManifests.pod(
            "nocm", "true", container: "env: [{name: A, valueFrom: {configMapKeyRef: {name: gone, key: a}}}]"),
          KubeManifests.pod(
            "novol", "true", more: "volumes: [{name: v, secret: {secretName: gone}}]",
            container: "volumeMounts: [{name: v, mountPath: /v}]"),
          KubeManifests.pod("done", "echo fine", more: "restartPolicy: Never"),
          KubeManifests.pod("failed", "exit 9", more: "restartPolicy: Never"),
        ].joined(separator: "\n---\n"))
      try await shell.says("kubectl apply -f sick.yaml | wc -l", "9")
      try await shell.eventually("kubectl get pods --no-headers") { table in
        let rows = Set(KubeShell.squeezed(table).map { $0.split(separator: " ").prefix(4).joined(separator: " ") })
        return rows.isSuperset(of: [
          "noimage 0/1 ImagePullBackOff 0", "never 0/1 ErrImageNeverPull 0", "crash 0/1 CrashLoopBackOff 1",
          "big 0/1 Pending 0", "choosy 0/1 Pending 0", "nocm 0/1 CreateContainerConfigError 0",
          "novol 0/1 ContainerCreating 0", "done 0/1 Completed 0", "failed 0/1 Error 0",
        ])
      }
      try await shell.eventually("kubectl describe pod noimage") {
        $0.contains("Pulling image \"localhost/nothing:1\"") && $0.contains("Error: ErrImagePull")
          && $0.contains("Back-off pulling image \"localhost/nothing:1\"")
      }
      try await shell.eventually("kubectl describe pod crash") {
        $0.contains("Back-off restarting failed container main in pod crash_sick(") && $0.contains("Exit Code:    3")
      }
      try await shell.says("kubectl logs crash --previous", "dying")
      try await shell.shows(
        "kubectl describe pod big", "FailedScheduling", "0/1 nodes are available: 1 Insufficient cpu.")
      try await shell.shows(
        "kubectl get events --field-selector reason=FailedScheduling",
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.")
      try await shell.shows("kubectl describe pod nocm", "Error: configmap \"gone\" not found")
      try await shell.eventually("kubectl describe pod novol") {
        $0.contains("MountVolume.SetUp failed for volume \"v\" : secret \"gone\" not found")
      }
      // What was missing comes, and the pod runs.
      try await shell.says("kubectl create secret generic gone --from-literal=a=b", "secret/gone created")
      try await shell.eventually("kubectl logs crash") { $0.contains("dying") }
      let errored = try await shell("kubectl logs noimage")
      #expect(
        errored.errors.hasPrefix(
          "Error from server (BadRequest): container \"main\" in pod \"noimage\" is waiting to start: "),
        "\(errored.errors)")
    }

    @Test func probesRestartAndTakeOutOfService() async throws {
      let shell = try await KubeShell.make("probes")
      try shell.write(
        "probes.yaml",
        KubeManifests.pod(
          "live", "touch /tmp/ok; sleep 1; rm /tmp/ok; exec sleep 1000",
          container: "livenessProbe: {exec: {command: [cat, /tmp/ok]}, periodSeconds: 1, failureThreshold: 1}")
          + "\n---\n"
          + KubeManifests.pod(
            "ready", "touch /tmp/ok; exec httpd -f -p 80",
            container: "readinessProbe: {exec: {command: [cat, /tmp/ok]}, periodSeconds: 1, failureThreshold: 1}")
          + "\n---\napiVersion: v1\nkind: Service\nmetadata: {name: ready}\nspec: {selector: {app: ready}, ports: [{port: 80}]}"
      )
      try await shell.shows("kubectl apply -f probes.yaml", "service/ready created")
      try await shell.says("kubectl wait pod/ready --for=condition=Ready --timeout=30s", "pod/ready condition met")
      let endpoints = "kubectl get endpointslices -o jsonpath='{.items[0].endpoints[0].conditions.ready}'"
      try await shell.eventually(endpoints) { $0 == "true" }
      try await shell.says("kubectl exec ready -- rm /tmp/ok", "")
      try await shell.eventually(endpoints) { $0 == "false" }
      try await shell.tabulates("kubectl get pod ready", "ready 0/1 Running 0 AGE")
      try await shell.says("kubectl exec ready -- touch /tmp/ok", "")
      try await shell.eventually(endpoints) { $0 == "true" }
      try await shell.eventually("kubectl get pod live -o jsonpath='{.status.containerStatuses[0].restartCount}'") {
        $0 != "0"
      }
      try await shell.shows(
        "kubectl describe pod live", "Liveness probe failed: ",
        "Container main failed liveness probe, will be restarted")
    }

    @Test func aServiceIsReachedByItsAddressAndItsPodsByTheirs() async throws {
      let shell = try await KubeShell.make("reached")
      try shell.write("app.yaml", KubeManifests.app())
      try await shell.shows(
        "kubectl apply -f app.yaml && kubectl rollout status deploy/app --timeout=30s", "rolled out")
      try await shell.eventually(
        "curl --silent --max-time 2 http://$(kubectl get svc app -o jsonpath='{.spec.clusterIP}')/hosts"
      ) { $0.contains("localhost") }
      try await shell.shows(
        "curl --silent --max-time 2 http://$(kubectl get pods -l app=app -o jsonpath='{.items[0].status.podIP}'):8080/hosts",
        "localhost")
    }

    @Test func configurationReachesContainers() async throws {
      let shell = try await KubeShell.make("configured")
      try await shell.shows(
        "kubectl create cm c --from-literal=k=v && kubectl create secret generic s --from-literal=t=hidden", "created")
      try shell.write(
        "box.yaml",
        KubeManifests.pod(
          "box", "echo $K $T $NODE $POD $HOSTNAME; cat /c/k /s/t; id -u; exec sleep 1000",
          more:
            "volumes: [{name: c, configMap: {name: c}}, {name: s, secret: {secretName: s}}, {name: e, emptyDir: {}}]\n  securityContext: {runAsUser: 1000}",
          container: """
            env:
                - {name: K, valueFrom: {configMapKeyRef: {name: c, key: k}}}
                - {name: T, valueFrom: {secretKeyRef: {name: s, key: t}}}
                - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
                - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
                volumeMounts: [{name: c, mountPath: /c}, {name: s, mountPath: /s}, {name: e, mountPath: /e}]
            """))
      try await shell.shows(
        "kubectl apply -f box.yaml && kubectl wait pod/box --for=condition=Ready --timeout=30s", "met")
      try await shell.eventually("kubectl logs box") { $0 == "v hidden node1 box box\nvhidden1000\n" }
    }
  }
}
