import CRIClient
import CRIModel
import JSON
import Kernel
import TestSupport
import Testing

/// martletd as an operator meets it: metrics, health, logs, reload, readiness, and CNI plugins behind CRI calls.
@Suite(.serialized) struct DaemonOperationTests {
  struct Failure: Error, CustomStringConvertible { let description: String }

  /// Drop-ins of the node's configuration.
  private static func dropIn(_ node: CRINode, _ text: String) throws {
    try Files.makeDirectories("\(node.path)/config.d")
    try Files.writeAtomically("\(node.path)/config.d/10-test.toml", Array(text.utf8))
  }

  private static func curl(_ node: CRINode, _ path: String, _ options: String...) async throws -> (
    code: Int, text: String
  ) {
    let outcome = try await ChildProcess.run(
      "/usr/bin/curl",
      arguments: ["curl", "--silent", "--show-error", "--max-time", "10", "--write-out", "\n%{http_code}"] + options
        + ["--unix-socket", "\(node.path)/run/metrics.sock", "http://localhost\(path)"])
    let text = String(decoding: outcome.output + outcome.errorOutput, as: UTF8.self)
    let parts = text.split(separator: "\n", omittingEmptySubsequences: false)
    return (parts.last.flatMap { Int($0) } ?? 0, parts.dropLast().joined(separator: "\n"))
  }

  /// What the daemon has said, once it holds `words`.
  private static func log(_ node: CRINode, holding words: String) async throws -> String {
    let deadline = ContinuousClock.now + .seconds(10)
    while true {
      let text = try Files.readText("\(node.path)/martletd.log", maxBytes: 16 << 20) ?? ""
      if text.contains(words) { return text }
      guard ContinuousClock.now < deadline else {
        throw Failure(description: "\"\(words)\" is not in the log: \(text.suffix(1000))")
      }
      try await Task.sleep(for: .milliseconds(10))
    }
  }

  @Test func `curl reads metrics and health from the socket beside the CRI's`() async throws {
    try await CRINode.with { node, client in
      let pod = try await client.runPodSandbox(node.pod("m"))
      let none = await #expect(throws: CRIError.self) { try await client.startContainer("none") }
      #expect(none?.code == .notFound)
      _ = try await node.run(client, in: pod, node.pod("m"), node.container("c", ["sleep", "100"]))
      let metrics = try await Self.curl(node, "/metrics")
      #expect(metrics.code == 200)
      let service = "grpc_service=\"runtime.v1.RuntimeService\""
      for line in [
        "martlet_pods{state=\"ready\"} 1", "martlet_containers{state=\"running\"} 1", "martlet_network_ready 1",
        "grpc_server_handled_total{\(service),grpc_method=\"RunPodSandbox\",grpc_code=\"OK\"} 1",
        "grpc_server_handled_total{\(service),grpc_method=\"StartContainer\",grpc_code=\"NotFound\"} 1",
        "grpc_server_handling_seconds_count{\(service),grpc_method=\"RunPodSandbox\"} 1",
        "martlet_image_pulls_total{result=\"ok\"} 0", "# TYPE process_resident_memory_bytes gauge",
      ] { #expect(metrics.text.split(separator: "\n").contains(Substring(line)), "\(line) is missing") }
      #expect(try await Self.curl(node, "/livez") == (200, "ok\n"))
      #expect(try await Self.curl(node, "/readyz") == (200, "ok\n"))
      #expect(try await Self.curl(node, "/else").code == 404)
      #expect(try await Self.curl(node, "/metrics", "--request", "DELETE").code == 405)
      #expect(try Files.status("\(node.path)/run/metrics.sock")?.mode == 0o600)
    }
  }

  private static let trace = "0af7651916cd43dd8448eb211c80319c"

  /// Asks for something that is logged, as a caller with a trace does.
  private static func callWithTrace(_ node: CRINode) async throws {
    let call = """
      import grpc, sys
      channel = grpc.insecure_channel('unix:' + sys.argv[1])
      stop = channel.unary_unary('/runtime.v1.RuntimeService/StopPodSandbox', request_serializer=bytes, response_deserializer=bytes)
      stop(b'\\x0a\\x04none', metadata=[('traceparent', '00-\(trace)-b7ad6b7169203331-01')], timeout=10)
      """
    let outcome = try await ChildProcess.run(
      "/usr/bin/python3", arguments: ["python3", "-c", call, node.socketPath],
      environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"])
    let said = String(decoding: outcome.errorOutput, as: UTF8.self)
    #expect(outcome.status.code == 0, "\(said)")
  }

  private static func expectTracedJSON(_ text: String) throws {
    var lines: [JSONValue] = []
    for line in text.split(separator: "\n") where line.hasPrefix("{") {
      lines.append(try JSONValue.parse(String(line)))
    }
    for line in lines {
      #expect(line["time"]?.string != nil && line["level"]?.string != nil && line["message"]?.string != nil)
    }
    let traced = lines.filter { $0["trace_id"]?.string == trace }
    #expect(traced.first?["span_id"] == "b7ad6b7169203331" && traced.first?["message"] == "StopPodSandbox")
    let ready = lines.filter { $0["message"]?.string == "ready" }
    #expect(ready.count == 1 && ready.first?["trace_id"] == nil)
  }

  private static func expectReload(_ node: CRINode) async throws {
    try dropIn(node, "[log]\nformat = \"text\"\n[images]\npulls-max = 3\n")
    try DaemonSignal.hangup.send(to: try node.processID())
    let text = try await log(node, holding: "these settings need a restart")
    #expect(text.contains("settings=images.pulls-max") && text.contains("taken=log.format"))
    try dropIn(node, "colour = 1\n")
    try DaemonSignal.hangup.send(to: try node.processID())
    _ = try await log(node, holding: "colour: is not a key that martletd knows")
  }

  @Test func `Logs are JSON where asked, carry the caller's trace, and change with SIGHUP`() async throws {
    try await CRINode.with { node, _ in
      try Self.dropIn(node, "[log]\nformat = \"json\"\n")
      try await node.stop()
      try node.start()
      _ = try await node.connected { client in try await client.version().runtimeName }
      try await Self.callWithTrace(node)
      try Self.expectTracedJSON(try await Self.log(node, holding: Self.trace))
      try await Self.expectReload(node)
      _ = try await node.connected { client in try await client.version().runtimeName }
    }
  }

  @Test func `The configuration in force is shown with where each setting is from`() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let file = "\(directory.path)/m.toml"
    try Files.makeDirectories("\(directory.path)/m.d")
    try Files.writeAtomically(file, Array("version = 1\n[network]\nmtu = 1400\npool-size = 1\n".utf8))
    try Files.writeAtomically("\(directory.path)/m.d/a.toml", Array("[network]\nmtu = 1300\n".utf8))
    try Files.writeAtomically("\(directory.path)/m.d/b.toml.off", Array("nonsense".utf8))
    let martletd = try BuiltPrograms.path("martletd")
    let outcome = try await ChildProcess.run(
      martletd, arguments: ["martletd", "config", "dump", "--config", file, "--run", "/run/x", "--log-format", "json"])
    let text = String(decoding: outcome.output, as: UTF8.self)
    for line in [
      "mtu = 1300  # \(directory.path)/m.d/a.toml", "pool-size = 1  # \(file)", "run = \"/run/x\"  # flag",
      "format = \"json\"  # flag", "masquerade = true  # built in",
    ] { #expect(text.split(separator: "\n").contains(Substring(line)), "\(line) is missing in \(text)") }
    for (setting, problem) in [
      (
        "cgroup-driver = \"systemd\"\ncgroup-parent = \"/pods\"",
        "cgroup-parent: /pods: with cgroup-driver = \"systemd\" a parent is the name of a slice"
      ),
      ("[network]\npod-cidrs = []", "network.pod-cidrs: one IPv4 block"),
      ("[network]\npod-cidrs = [\"10.0.0.0/33\"]", "network.pod-cidrs: 10.0.0.0/33 is no block"),
    ] {
      try Files.writeAtomically(file, Array(setting.utf8))
      let refused = try await ChildProcess.run(martletd, arguments: ["martletd", "config", "check", file])
      #expect(refused.status != .exited(0))
      #expect(String(decoding: refused.errorOutput, as: UTF8.self).contains("\(file): \(problem)"))
    }
  }

  @Test func `systemd is told of readiness, reload and end`() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let network = try await LabNamespace.make(at: "\(directory.path)/net")
    defer { try? network.remove() }
    try Files.writeAtomically("\(directory.path)/config.toml", Array("missing-controllers = \"warn\"\n".utf8))
    let program = """
      import grpc, signal, socket, subprocess, sys
      path, martletd = sys.argv[1:]
      told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
      told.bind(path + '/notify')
      told.settimeout(20)
      daemon = subprocess.Popen(
          ['nsenter', '--net=' + path + '/net', martletd, '--root', path + '/root', '--run', path + '/run', '--config',
           path + '/config.toml'], env={'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'NOTIFY_SOCKET': path + '/notify'},
          stderr=subprocess.DEVNULL)
      try:
          print(told.recv(100).decode())
          grpc.channel_ready_future(grpc.insecure_channel('unix:' + path + '/run/martlet.sock')).result(20)
          daemon.send_signal(signal.SIGHUP)
          print(told.recv(100).decode(), told.recv(100).decode())
          daemon.send_signal(signal.SIGTERM)
          print(told.recv(100).decode(), daemon.wait(20))
      finally:
          daemon.kill()
      """
    let outcome = try await ChildProcess.run(
      "/usr/bin/python3", arguments: ["python3", "-c", program, directory.path, try BuiltPrograms.path("martletd")],
      environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"])
    let text = String(decoding: outcome.output + outcome.errorOutput, as: UTF8.self)
    #expect(text == "READY=1\nRELOADING=1 READY=1\nSTOPPING=1 0\n")
  }

  @Test func `Pods get the network of CNI plugins as soon as there is a configuration, and leave nothing of it`()
    async throws
  {
    try await CRINode.with { node, _ in
      let configurations = "\(node.path)/net.d"
      try Self.dropIn(node, "[network]\nmode = \"cni\"\ncni-config-directory = \"\(configurations)\"\n")
      try await node.stop()
      try node.start()
      try await node.connected { client in
        let conditions = try await client.status().status.conditions
        let network = conditions.first { $0.type == "NetworkReady" }
        #expect(network?.status == false && network?.reason == "NetworkPluginNotReady")
        #expect(network?.message.hasPrefix("Network plugin returns error: cni plugin not initialized") == true)
        let refused = await #expect(throws: CRIError.self) { try await client.runPodSandbox(node.pod("early")) }
        #expect(refused?.message.contains("cni plugin not initialized") == true)
        #expect(try await Self.curl(node, "/readyz").code == 503)

        try Files.makeDirectories(configurations)
        try Files.writeAtomically(
          "\(configurations)/10-mt.conflist",
          Array(
            """
            {"cniVersion": "1.0.0", "name": "mt-net", "plugins": [
              {"type": "bridge", "bridge": "mt-cni0", "isGateway": true, "ipam": {"type": "host-local",
               "dataDir": "\(node.path)/leases", "ranges": [[{"subnet": "10.92.0.0/24"}]]}},
              {"type": "bandwidth", "capabilities": {"bandwidth": true}},
              {"type": "portmap", "capabilities": {"portMappings": true}}]}
            """.utf8))
        _ = try await Self.log(node, holding: "CNI configuration read")
        #expect(try await client.status().status.conditions.allSatisfy(\.status))
        var config = node.pod("one")
        config.annotations = ["kubernetes.io/ingress-bandwidth": "8M", "kubernetes.io/egress-bandwidth": "4M"]
        let pod = try await client.runPodSandbox(config)
        #expect(try await client.podSandboxStatus(pod).status.network.ip == "10.92.0.2")
        // What comes to the pod is limited at its link's other end, what it sends at a device between.
        let queues = try await Self.tc(node)
        #expect(queues.contains { $0.hasPrefix("veth") && $0.hasSuffix(" tbf 8Mbit") }, "\(queues)")
        #expect(queues.contains { !$0.hasPrefix("veth") && $0.hasSuffix(" tbf 4Mbit") }, "\(queues)")
        let container = try await node.run(
          client, in: pod, node.pod("one"), node.container("c", ["cat", "/proc/net/fib_trie"]))
        _ = try await node.status(client, container, .containerExited)
        #expect(try node.log("one", "c").contains("10.92.0.2"))
      }
      // The next daemon takes the pod over, and takes it down.
      try node.kill()
      try node.start()
      try await node.connected { client in
        let pod = try #require(try await client.listPodSandboxes().first)
        #expect(pod.state == .sandboxReady)
        #expect(try await client.podSandboxStatus(pod.id).status.network.ip == "10.92.0.2")
        try await client.removePodSandbox(pod.id)
      }
      #expect(try await Self.tc(node).isEmpty)
      for name in ["leases/mt-net", "root/cni", "run/cni"] {
        let left = try Directory(path: "\(node.path)/\(name)").list().map(\.name).filter {
          $0.hasPrefix("10.") || $0.hasSuffix(".json")
        }
        #expect(left == [], "\(name)")
      }
    }
  }

  /// Links of the node's network with a limit, as "LINK tbf RATE".
  private static func tc(_ node: CRINode) async throws -> [String] {
    let text = try await LabNamespace.open("\(node.path)/net").command("tc", "qdisc", "show")
    return text.split(separator: "\n").map { $0.split(separator: " ") }.compactMap { words in
      guard let device = words.firstIndex(of: "dev"), let rate = words.firstIndex(of: "rate") else { return nil }
      return "\(words[device + 1]) \(words[1]) \(words[rate + 1])"
    }
  }
}
