import Kernel
import TestSupport
import Testing

/// `martlet proxy` alone, from a file: no API server, no node agent.
@Suite struct ServiceProxyAloneTests {
  private static let services = """
    kind: Service
    metadata: {name: web, namespace: default}
    spec: {type: NodePort, clusterIP: 10.96.0.10, ports: [{port: 80, nodePort: 30080}]}
    ---
    kind: EndpointSlice
    metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
    addressType: IPv4
    endpoints: [{addresses: [10.1.0.2]}]
    ports: [{port: 8080}]
    ---
    kind: Service
    metadata: {name: twin, namespace: default}
    spec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}
    """

  /// A node with one pod at 10.1.0.2, whose server says "first"; the script has `$martlet`, and `ask`.
  private func run(_ script: String) async throws -> CLINode.Answer {
    let directory = try TestDirectory()
    let network = try await LabNamespace.make(at: "\(directory.path)/net")
    try Files.writeAtomically("\(directory.path)/services.yaml", Array(Self.services.utf8))
    let set = """
      cd "$1"; martlet=$2
      ip link set lo up; ip link add p type veth peer name q; ip link set q up; ip addr add 10.1.0.2/32 dev p; ip addr add 192.0.2.1/24 dev p
      ip link set p up; ip route add default dev p
      mkdir pod; echo first > pod/index.html; busybox httpd -f -p 10.1.0.2:8080 -h pod & pod=$!
      ask() { curl -s -m 1 "http://$1/${2:-}" 2>>asked; }
      proxy() { "$martlet" proxy --file services.yaml --run "$PWD/run" --node-name n1 "$@" 2>>log & keeper=$!; }
      up() { for i in $(seq 20); do [ "$(ask 10.96.0.10)" = first ] && return; sleep 0.05; done; cat log; return 1; }
      leave() { kill $keeper $pod; wait $keeper; "$martlet" proxy --cleanup; nft list ruleset; }
      """
    let outcome = try await ChildProcess.run(
      "/usr/bin/nsenter",
      arguments: [
        "nsenter", "--net=\(directory.path)/net", "sh", "-euc", set + "\n" + script, "sh", directory.path,
        try BuiltPrograms.path("martlet"),
      ], environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], timeoutSeconds: 60)
    try network.remove()
    try directory.remove()
    return CLINode.Answer(
      code: outcome.status.code, output: String(decoding: outcome.output, as: UTF8.self),
      errors: String(decoding: outcome.errorOutput, as: UTF8.self))
  }

  @Test func theServicesOfAFileAreServed() async throws {
    let answer = try await run(
      """
      proxy; up
      ask 192.0.2.1:30080
      grep -c 'AddressTaken: 10.96.0.10 tcp port 80 is taken by service default/web' log
      ask 127.0.0.1:10256 healthz | grep -c nodeEligible
      ask 127.0.0.1:10249 proxyMode; echo
      sed -i 's/clusterIP: 10.96.0.10, ports: .{port: 80, /clusterIP: 10.96.0.11, ports: [{port: 80, /' services.yaml
      for i in $(seq 20); do [ "$(ask 10.96.0.11)" = first ] && break; sleep 0.05; done
      ask 10.96.0.11 || cat log
      ask 10.96.0.10 || echo refused
      leave
      """)
    #expect(answer.output == "first\n1\n1\nnftables\nfirst\nrefused\n", "\(answer.errors)")
    #expect(answer.code == 0, "\(answer.errors)")
  }

  @Test func aRestartLosesNoConnection() async throws {
    let answer = try await run(
      """
      proxy; up
      (while [ ! -e done ]; do [ "$(ask 10.96.0.10)" = first ] && echo >> answers || echo lost; done) & asking=$!
      for i in 1 2 3; do kill -9 $keeper; wait $keeper || true; proxy; sleep 0.7; done
      touch done; wait $asking
      [ "$(wc -l < answers)" -gt 5 ] && echo many
      leave
      """)
    #expect(answer.output == "many\n", "\(answer.errors)")
  }

  @Test(arguments: [
    ("proxy", "one of --kubeconfig and --file is needed", 2),
    ("proxy --file /nowhere.yaml --run /tmp/mt-none", "there is no file /nowhere.yaml", 1),
    ("proxy --file x --nodeport-addresses ten", "--nodeport-addresses: \"ten\" is no range", 2),
    ("proxy --file x --healthz-bind-address here", "\"here\" is no address and port", 2),
    ("dataplane show", "there is no table inet martlet", 3),
  ])
  func whatCannotBeIsSaid(_ words: String, _ why: String, _ code: Int) async throws {
    let answer = try await run("code=0; \"$martlet\" \(words) 2>&1 || code=$?; echo $code; kill $pod")
    #expect(answer.output.contains(why), "\(answer.output)\(answer.errors)")
    #expect(answer.output.hasSuffix("\n\(code)\n"), "\(answer.output)")
  }
}
