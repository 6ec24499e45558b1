import JSON
import Testing

extension KubeTests {
  /// What pods are given: tokens, images, and a look from outside.
  @Suite(.cluster) struct NodeVolumes {
    @Test func aPodSpeaksWithTheAPIAsItsServiceAccount() async throws {
      let shell = try await KubeShell.make("tokens")
      try shell.write(
        "pod.yaml",
        KubeManifests.pod(
          "caller", "exec sleep 1000",
          more: """
            serviceAccountName: robot
              automountServiceAccountToken: false
              volumes:
              - name: api
                projected:
                  sources:
                  - serviceAccountToken: {path: token, expirationSeconds: 600}
                  - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
                  - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
              - {name: tools, image: {reference: "localhost/busybox:2"}}
            """,
          container: "volumeMounts: [{name: api, mountPath: /api}, {name: tools, mountPath: /tools}]"))
      try await shell.says("kubectl create serviceaccount robot", "serviceaccount/robot created")
      try await shell.eventually("kubectl get configmap kube-root-ca.crt -o name") { !$0.isEmpty }
      try await shell.says("kubectl apply -f pod.yaml", "pod/caller created")
      try await shell.says("kubectl wait pod/caller --for=condition=Ready --timeout=30s", "pod/caller condition met")
      try await shell.says("kubectl exec caller -- cat /api/namespace && echo", "tokens")
      try await shell.says(
        "kubectl exec caller -- sh -c 'ls /tools/bin | grep -c busybox; touch /tools/x 2>&1 | grep -c Read-only'",
        "1\n1")
      // Whoever has the token and the certificate is that account, wherever it calls from.
      try await shell.shows(
        "kubectl exec caller -- cat /api/token >token; kubectl exec caller -- cat /api/ca.crt >ca.crt; "
          + "curl -s --cacert ca.crt -H \"Authorization: Bearer $(cat token)\" https://10.96.0.1/api/v1/namespaces/tokens/pods",
        "User \\\"system:serviceaccount:tokens:robot\\\" cannot list resource")
      try await shell.shows(
        "kubectl create role reader --verb=list --resource=pods && kubectl create rolebinding reader --role=reader --serviceaccount=tokens:robot",
        "rolebinding.rbac.authorization.k8s.io/reader created")
      try await shell.eventually(
        "curl -s --cacert ca.crt -H \"Authorization: Bearer $(cat token)\" https://10.96.0.1/api/v1/namespaces/tokens/pods"
      ) { $0.contains("\"PodList\"") }
    }

    @Test func aClaimOutlivesItsPodsAndItsDirectoryGoesWithIt() async throws {
      let shell = try await KubeShell.make("claims")
      try shell.write(
        "claim.yaml",
        """
        apiVersion: v1
        kind: PersistentVolumeClaim
        metadata: {name: data}
        spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
        """)
      for (name, script) in [
        ("first", "echo kept >/d/file; exec sleep 1000"), ("second", "cat /d/file; exec sleep 1000"),
      ] {
        try shell.write(
          "\(name).yaml",
          KubeManifests.pod(
            name, script, more: "volumes: [{name: d, persistentVolumeClaim: {claimName: data}}]",
            container: "volumeMounts: [{name: d, mountPath: /d}]"))
      }
      try await shell.shows("kubectl apply -f claim.yaml -f first.yaml", "claim/data created")
      try await shell.says("kubectl wait pod/first --for=condition=Ready --timeout=30s", "pod/first condition met")
      try await shell.shows("kubectl delete pod first && kubectl apply -f second.yaml", "pod/second created")
      try await shell.says("kubectl wait pod/second --for=condition=Ready --timeout=30s", "pod/second condition met")
      try await shell.eventually("kubectl logs second") { $0 == "kept\n" }
      let place = "\(shell.node.path)/root/local-path"
      try await shell.says("ls \(place) | wc -l", "1")
      try await shell.shows("kubectl delete pod second && kubectl delete pvc data", "data")
      try await shell.eventually("kubectl get pv -o name | wc -l; ls \(place) | wc -l") { $0 == "0\n0\n" }
    }

    @Test func aContainerMoreLooksIntoAPod() async throws {
      let shell = try await KubeShell.make("debugs")
      try shell.write("box.yaml", KubeManifests.pod("box", "exec sleep 1234"))
      try await shell.shows(
        "kubectl apply -f box.yaml && kubectl wait pod/box --for=condition=Ready --timeout=30s", "met")
      let debug = try await shell(
        "kubectl debug box --image=localhost/busybox:1 --image-pull-policy=Never --target=main -c look -- sh -c 'ps; exec sleep 1000'"
      )
      #expect(debug.code == 0, "\(debug.errors)")
      // It sees the processes of its target, and the pod stays what it was.
      try await shell.eventually("kubectl logs box -c look") { $0.contains("sleep 1234") }
      try await shell.says("kubectl exec box -c look -- echo inside", "inside")
      try await shell.tabulates("kubectl get pod box", "box 1/1 Running 0 AGE")
    }

    @Test func theNodeSaysWhatItAndItsPodsUse() async throws {
      let shell = try await KubeShell.make("figures")
      try shell.write("box.yaml", KubeManifests.pod("box", "exec sleep 1000"))
      try await shell.shows(
        "kubectl apply -f box.yaml && kubectl wait pod/box --for=condition=Ready --timeout=30s", "met")
      let ask = """
        kubectl config view --raw -o 'jsonpath={.users[0].user.client-certificate-data}' | base64 -d >c.pem
        kubectl config view --raw -o 'jsonpath={.users[0].user.client-key-data}' | base64 -d >k.pem
        curl -sk --cert c.pem --key k.pem https://127.0.0.1:10250
        """
      let summary = try await shell("\(ask)/stats/summary").output
      let value = try JSONValue.parse(Array(summary.utf8))
      #expect(value["node"]?["nodeName"]?.string == "node1")
      #expect((value["node"]?["memory"]?["workingSetBytes"]?.integer ?? 0) > 0)
      let pod = value["pods"]?.array?.first { $0["podRef"]?["name"]?.string == "box" }
      #expect((pod?["containers"]?[0]?["cpu"]?["usageCoreNanoSeconds"]?.integer ?? 0) > 0, "\(summary)")
      try await shell.shows(
        "\(ask)/metrics/resource",
        "container_cpu_usage_seconds_total{container=\"main\",namespace=\"figures\",pod=\"box\"}",
        "node_memory_working_set_bytes ")
      try await shell.shows(
        "\(ask)/metrics/cadvisor", "container_network_receive_bytes_total{namespace=\"figures\",pod=\"box\"}")
    }
  }
}
