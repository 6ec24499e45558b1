import JSON
import Testing

extension KubeTests {
  /// Names as pods see them: nothing here may leave the machine, and nothing can.
  @Suite(.cluster) struct NodeNames {
    @Test func podsFindServicesByName() async throws {
      let shell = try await KubeShell.make("names")
      try shell.write(
        "web.yaml", KubeManifests.pod("web", "mkdir /www; echo hello >/www/index.html; exec httpd -f -p 8080 -h /www"))
      try shell.write(
        "services.yaml",
        """
        apiVersion: v1
        kind: Service
        metadata: {name: web}
        spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080, name: http}]}
        ---
        apiVersion: v1
        kind: Service
        metadata: {name: peers}
        spec: {clusterIP: None, selector: {app: db}, ports: [{port: 6379, name: db}]}
        ---
        apiVersion: v1
        kind: Service
        metadata: {name: alias}
        spec: {type: ExternalName, externalName: web.names.svc.cluster.local}
        """)
      try shell.write(
        "db.yaml", KubeManifests.pod("db", "exec sleep 1000", more: "hostname: db-0\n  subdomain: peers"))
      try await shell.shows(
        "kubectl apply -f web.yaml -f services.yaml -f db.yaml", "pod/web created", "pod/db created")
      try await shell.shows("kubectl wait pod/web pod/db --for=condition=Ready --timeout=30s", "met")
      try await shell.says(
        "kubectl exec web -- cat /etc/resolv.conf | grep -v '^#'",
        "search names.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5")
      try await shell.tabulates(
        "kubectl get service kube-dns -n kube-system", "kube-dns ClusterIP 10.96.0.10 <none> 53/UDP,53/TCP AGE")
      try await shell.eventually("kubectl exec web -- nslookup kubernetes.default.svc.cluster.local") {
        $0.contains("Address: 10.96.0.1\n")
      }
      let address = try await shell("kubectl get service web -o jsonpath={.spec.clusterIP}").output
      try await shell.shows(
        "kubectl exec web -- nslookup web 2>/dev/null || true", "Name:\tweb.names.svc.cluster.local",
        "Address: \(address)")
      let db = try await shell("kubectl get pod db -o jsonpath={.status.podIP}").output
      try await shell.eventually("kubectl exec web -- nslookup db-0.peers.names.svc.cluster.local") {
        $0.contains("Address: \(db)\n")
      }
      try await shell.shows(
        "kubectl exec web -- nslookup -type=srv _db._tcp.peers.names.svc.cluster.local",
        "db-0.peers.names.svc.cluster.local")
      try await shell.shows(
        "kubectl exec web -- nslookup alias 2>/dev/null || true", "canonical name = web.names.svc.cluster.local",
        address)
      try await shell.shows("kubectl exec web -- nslookup \(db)", "name = db-0.peers.names.svc.cluster.local")
      let missing = try await shell("kubectl exec web -- nslookup nothing.names.svc.cluster.local")
      #expect(missing.output.contains("NXDOMAIN"), "\(missing.output)")
    }

    @Test func aPodSaysWhomItAsks() async throws {
      let shell = try await KubeShell.make("resolvers")
      try shell.write(
        "own.yaml",
        KubeManifests.pod(
          "own", "exec sleep 1000",
          more:
            "dnsPolicy: None\n  dnsConfig: {nameservers: [192.0.2.1], searches: [corp.example], options: [{name: ndots, value: \"2\"}]}"
        ))
      try shell.write(
        "host.yaml",
        KubeManifests.pod("host", "exec sleep 1000", more: "hostNetwork: true\n  dnsPolicy: ClusterFirstWithHostNet"))
      try await shell.shows("kubectl apply -f own.yaml -f host.yaml", "created")
      try await shell.shows("kubectl wait pod/own pod/host --for=condition=Ready --timeout=30s", "met")
      try await shell.says(
        "kubectl exec own -- cat /etc/resolv.conf | grep -v '^#'",
        "search corp.example\nnameserver 192.0.2.1\noptions ndots:2")
      try await shell.shows("kubectl exec host -- cat /etc/resolv.conf", "nameserver 10.96.0.10")
      try await shell.eventually("kubectl exec host -- nslookup kubernetes.default.svc.cluster.local") {
        $0.contains("Address: 10.96.0.1\n")
      }
    }
  }
}
