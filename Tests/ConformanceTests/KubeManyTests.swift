import Kernel
import Synchronization
import TestSupport
import Testing

/// A machine of its own that joins a cluster: a network namespace on the same switch, with places of its own.
final class JoinedNode: Sendable {
  let name: String
  let address: String
  private let directory: String
  private let node: KubeNode
  private let join: ChildProcess

  private init(_ name: String, _ address: String, _ directory: String, _ node: KubeNode, _ join: consuming ChildProcess)
  {
    self.name = name
    self.address = address
    self.directory = directory
    self.node = node
    self.join = join
  }

  static func start(_ number: Int, of node: KubeNode, command: [String]) async throws -> JoinedNode {
    let (name, address) = ("node\(number)", "192.0.2.\(number)")
    let directory = "\(node.path)/\(name)"
    try Files.makeDirectories("\(directory)/run")
    // A parent of its own: groups of the machines lie in one hierarchy here, and each removes what it made.
    try Files.writeAtomically(
      "\(directory)/config.toml",
      Array(
        "version = 1\nmissing-controllers = \"warn\"\ncgroup-parent = \"\(node.directory.token)-\(name)\"\n".utf8))
    let log = try Files.open("\(directory)/join.log", flags: OpenFlags.writeOnly | OpenFlags.create, mode: 0o600)
    let output = log.withRaw { $0 }
    let join = try ChildProcess.start(
      "/usr/bin/nsenter",
      arguments: ["nsenter", "--net=\(directory).net", try BuiltPrograms.path("martlet")] + command.dropFirst()
        + places(directory, name) + ["--node-address", address, "--node-address", "fd01::\(number)", "--up"],
      environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=\(node.path)/home"], stdio: [nil, output, output])
    return JoinedNode(name, address, directory, node, join)
  }

  private static func places(_ directory: String, _ name: String) -> [String] {
    [
      "--root", "\(directory)/root", "--run", "\(directory)/run", "--config", "\(directory)/config.toml",
      "--node-name", name,
    ]
  }

  var socket: String { "\(directory)/run/martlet.sock" }

  func shell(_ script: String, seconds: Double = 60) async throws -> CLINode.Answer {
    try await node.run(["nsenter", "--net=\(directory).net", "sh", "-c", script], seconds: seconds)
  }

  /// Gives it the image that the others have.
  func importImage(_ layout: String) async throws {
    let deadline = ContinuousClock.now + .seconds(20)
    while !Files.exists(socket), ContinuousClock.now < deadline { try await Task.sleep(for: .milliseconds(50)) }
    let answer = try await shell(
      "\(try BuiltPrograms.path("martlet")) --run \(directory)/run image import \(layout)"
    )
    guard answer.code == 0 else { throw KubeNode.Failure(description: "\(name): image: \(answer.errors)\n\(logs())") }
  }

  func logs() -> String {
    ["join.log", "run/logs/martletd.log", "run/logs/node.log"].map { file in
      let text = (try? Files.readText("\(directory)/\(file)", maxBytes: 64 << 20)) ?? nil
      return "\(name) \(file): \((text ?? "nothing").suffix(1500))"
    }.joined(separator: "\n")
  }

  /// As when the plug is pulled: what runs the machine is killed at once, and its link is dead.
  func pullThePlug() async throws {
    _ = try await shell(
      """
      ip link set eth0 down
      for process in /proc/[0-9]*; do
        if tr '\\0' ' ' < $process/cmdline 2>/dev/null | grep -q -e '\(directory)/run' ; then
          [ $process = /proc/$$ ] || kill -KILL ${process#/proc/}
        fi
      done 2>/dev/null
      """)
    try await end()
  }

  /// Whether the process that supervises was waited for: that can be done once.
  private let over = Mutex(false)
  private var isOver: Bool { over.withLock { $0 } }

  private func end() async throws {
    _ = try await onFreshThread { [self] () throws(SyscallError) in try join.wait() }
    over.withLock { $0 = true }
  }

  /// Leaves nothing; what was killed before is started for that once more.
  func reset() async throws {
    let words = ["up", "--reset"] + Self.places(directory, name)
    let answer = try await shell(
      "exec \(try BuiltPrograms.path("martlet")) \(words.joined(separator: " "))", seconds: 60)
    if !isOver {
      try? join.signal(9)
      try await end()
    }
    guard answer.code == 0 else { throw KubeNode.Failure(description: "\(name): reset: \(answer.errors)\n\(logs())") }
    var left = ["root", "run"].filter { Files.exists("\(directory)/\($0)") }.map { "\(name): directory \($0)" }
    let lab = try LabNamespace.open("\(directory).net")
    left += try await lab.links().filter { !["lo", "eth0"].contains($0) }.map { "\(name): link \($0)" }
    let rules = try await lab.command("nft", "list", "ruleset")
    if !rules.isEmpty { left.append("\(name): rules \(rules)") }
    guard left.isEmpty else { throw KubeNode.Failure(description: "left over: \(left)") }
  }
}

extension KubeTests {
  /// Three machines on one switch: namespaces with a link each into a bridge of a fourth.
  @Suite struct ManyNodes {
    /// What the switch joins, by number; the first is the server's.
    private static let numbers = [1, 2, 3]

    private static func connect(_ server: LabNamespace, _ directory: String) async throws {
      let middle = try await LabNamespace.make(at: "\(directory)/switch")
      try await middle.command("ip", "link", "add", "br0", "type", "bridge")
      try await middle.command("ip", "link", "set", "br0", "up")
      for number in numbers {
        let lab = number == 1 ? server : try await LabNamespace.make(at: "\(directory)/node\(number).net")
        try await middle.command(
          "ip", "link", "add", "port\(number)", "type", "veth", "peer", "name", "eth0", "netns", lab.path)
        try await middle.command("ip", "link", "set", "port\(number)", "master", "br0", "up")
        try await lab.command("ip", "address", "add", "192.0.2.\(number)/24", "dev", "eth0")
        try await lab.command("ip", "address", "add", "fd01::\(number)/64", "dev", "eth0", "nodad")
        try await lab.command("sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=0")
        try await lab.command("ip", "link", "set", "eth0", "up")
      }
    }

    private static func disconnect(_ directory: String) async throws {
      try await LabNamespace.open("\(directory)/net").command("ip", "link", "delete", "eth0")
      for number in numbers.dropFirst() { try LabNamespace.open("\(directory)/node\(number).net").remove() }
      try LabNamespace.open("\(directory)/switch").remove()
    }

    /// One pod a node where there is room, that says who it is and who asks.
    private static let web = """
      apiVersion: apps/v1
      kind: Deployment
      metadata: {name: web}
      spec:
        replicas: 3
        selector: {matchLabels: {app: web}}
        template:
          metadata: {labels: {app: web}}
          spec:
            terminationGracePeriodSeconds: 1
            tolerations:
            - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
            - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
            topologySpreadConstraints:
            - maxSkew: 1
              topologyKey: kubernetes.io/hostname
              whenUnsatisfiable: DoNotSchedule
              nodeTaintsPolicy: Honor
              labelSelector: {matchLabels: {app: web}}
            containers:
            - name: c
              image: localhost/busybox:1
              command:
              - sh
              - -c
              - |
                mkdir -p /tmp/cgi-bin
                { echo '#!/bin/sh'; echo 'echo Content-Type: text/plain; echo'; echo 'echo $(hostname) $REMOTE_ADDR'
                } > /tmp/cgi-bin/who
                chmod +x /tmp/cgi-bin/who
                echo here is $(hostname)
                trap 'kill $!; exit 0' TERM
                httpd -f -p 8080 -h /tmp & wait
              readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
      ---
      apiVersion: v1
      kind: Service
      metadata: {name: web}
      spec:
        selector: {app: web}
        ipFamilyPolicy: PreferDualStack
        ports: [{port: 80, targetPort: 8080}]
      """

    private struct Pod {
      var name: String
      var node: String
      var addresses: [String]
    }

    private static func pods(_ shell: KubeShell) async throws -> [Pod] {
      let format = "{range .items[*]}{.metadata.name} {.spec.nodeName} {.status.podIPs[*].ip}{\"\\n\"}{end}"
      let output = try await shell("kubectl get pods -l app=web -o jsonpath='\(format)'").output
      return output.split(separator: "\n").map { line in
        let words = line.split(separator: " ").map(String.init)
        return Pod(name: words[0], node: words[1], addresses: Array(words.dropFirst(2)))
      }
    }

    @Test func threeNodesAreOneCluster() async throws {
      let flags = [
        "--node-address", "192.0.2.1", "--node-address", "fd01::1", "--server-flag", "--node-monitor-grace-period=12",
      ]
      try await KubeNode.with(flags: flags, prepare: Self.connect) { node in
        try await KubeNode.$current.withValue(node) {
          let shell = try await KubeShell.make("many")
          let martlet = try BuiltPrograms.path("martlet")
          let layout = "\(node.path)/home/busybox.tar"
          try await shell.shows("\(martlet) --run \(node.path)/run image export --to \(layout) localhost/busybox:1")
          let command = try await shell("\(martlet) token create").output.split(whereSeparator: \.isWhitespace)
          var joined: [JoinedNode] = []
          do {
            for number in Self.numbers.dropFirst() {
              joined.append(try await JoinedNode.start(number, of: node, command: command.map(String.init)))
            }
            for each in joined { try await each.importImage(layout) }
            try await Self.beOne(shell, joined)
            try await Self.keepAndGrow(shell, joined[0])
            try await Self.loseOne(shell, joined[1])
          } catch {
            let logs = joined.map { $0.logs() }.joined(separator: "\n")
            for each in joined { try? await each.reset() }
            throw KubeNode.Failure(description: "\(error)\n\(logs)")
          }
          for each in joined { try await each.reset() }
          try await Self.disconnect(node.path)
        }
      }
    }

    /// Pods on all three reach each other by every way, under their own addresses.
    private static func beOne(_ shell: KubeShell, _ joined: [JoinedNode]) async throws {
      try await shell.eventually("kubectl get nodes --no-headers | grep -cw Ready", seconds: 30) { $0 == "3\n" }
      // What keeps pods away from a node that was not ready goes a moment later.
      try await shell.eventually("kubectl get nodes -o jsonpath='{.items[*].spec.taints}'", seconds: 10) { $0.isEmpty }
      let ranges = try await shell(
        "kubectl get nodes -o jsonpath='{range .items[*]}{.spec.podCIDRs[0]} {end}'"
      ).output.split(separator: " ").map(String.init)
      #expect(ranges.first == "10.87.0.0/21" && Set(ranges.dropFirst()) == ["10.87.8.0/21", "10.87.16.0/21"])
      try shell.write("web.yaml", web)
      try await shell.shows(
        "kubectl apply -f web.yaml && kubectl rollout status deploy/web --timeout=60s", "successfully rolled out")
      let pods = try await pods(shell)
      #expect(Set(pods.map(\.node)) == ["node1", "node2", "node3"])
      let service = try await shell("kubectl get svc web -o jsonpath='{.spec.clusterIPs[*]}'").output
        .split(separator: " ").map(String.init)
      #expect(service.count == 2)
      for pod in pods {
        for other in pods {
          for (index, address) in other.addresses.enumerated() {
            let source = address.contains(":") ? pod.addresses[index] : pod.addresses[0]
            let answer = try await shell("kubectl exec \(pod.name) -- \(Self.who(address, 8080))")
            #expect(
              Self.plain(answer.output) == "\(other.name) \(source)\n",
              "\(pod.node) to \(other.node): \(answer.output) \(answer.errors)")
          }
        }
        try await ask(shell, pod, service, among: pods)
        try await shell.eventually("kubectl exec \(pod.name) -- nslookup kubernetes.default.svc.cluster.local") {
          $0.contains("Address: 10.96.0.1\n")
        }
        try await shell.shows("kubectl logs \(pod.name)", "here is \(pod.name)")
      }
      // The node itself, as its pods see it.
      let far = try #require(pods.first { $0.node == "node2" })
      let seen = try await shell("curl --silent --max-time 5 http://\(far.addresses[0]):8080/cgi-bin/who").output
      #expect(Self.plain(seen) == "\(far.name) 10.87.0.1\n")
    }

    /// Asks from within a pod; the last line of the answer.
    private static func who(_ address: String, _ port: Int, times: Int = 1) -> String {
      let once = "printf \"GET /cgi-bin/who HTTP/1.0\\r\\n\\r\\n\" | timeout 5 nc \(address) \(port) | tail -n 1"
      return "sh -c 'for i in $(seq \(times)); do \(once); done'"
    }

    /// Without what busybox puts around addresses: brackets, and IPv6's way to write IPv4.
    private static func plain(_ text: String) -> String {
      var rest = text[...]
      var found = ""
      while let character = rest.first {
        if rest.hasPrefix("::ffff:") {
          rest = rest.dropFirst(7)
        } else {
          if character != "[", character != "]" { found.append(character) }
          rest = rest.dropFirst()
        }
      }
      return found
    }

    /// By the Service: each answers some time, and sees the pod that asks.
    private static func ask(
      _ shell: KubeShell, _ pod: Pod, _ service: [String], among pods: [Pod]
    ) async throws {
      let answers = Self.plain(
        try await shell("kubectl exec \(pod.name) -- \(Self.who(service[0], 80, times: 12))").output
      ).split(separator: "\n")
      #expect(answers.count == 12)
      let names = Set(answers.map { String($0.prefix { $0 != " " }) })
      #expect(names.isSubset(of: Set(pods.map(\.name))) && names.count > 1, "\(pod.node): \(answers)")
      // Who is served by itself comes back by way of its node.
      let sources = Set(answers.filter { !$0.hasPrefix(pod.name) }.map { String($0.drop { $0 != " " }.dropFirst()) })
      #expect(sources == [pod.addresses[0]], "\(pod.node): \(answers)")
    }

    /// A claim's directory is on the node of its pod, grows, and goes with the claim.
    private static func keepAndGrow(_ shell: KubeShell, _ home: JoinedNode) async throws {
      try shell.write(
        "claim.yaml",
        """
        apiVersion: v1
        kind: PersistentVolumeClaim
        metadata: {name: data}
        spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Mi}}}
        ---
        apiVersion: v1
        kind: Pod
        metadata: {name: keeper}
        spec:
          terminationGracePeriodSeconds: 1
          nodeSelector: {kubernetes.io/hostname: \(home.name)}
          containers:
          - name: c
            image: localhost/busybox:1
            command: [sh, -c, "echo kept >/data/file; trap exit TERM; sleep 1000 & wait"]
            volumeMounts: [{name: data, mountPath: /data}]
          volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
        """)
      try await shell.shows(
        "kubectl apply -f claim.yaml && kubectl wait pod/keeper --for=condition=Ready --timeout=40s", "met")
      let path = try await shell("kubectl get pv -o jsonpath='{.items[0].spec.hostPath.path}'").output
      #expect(path.hasPrefix("\(shell.node.path)/\(home.name)/root/local-path/"), "\(path)")
      #expect(try Files.readText("\(path)/file") == "kept\n")
      let larger = "{\"spec\":{\"resources\":{\"requests\":{\"storage\":\"20Mi\"}}}}"
      try await shell.says("kubectl patch pvc data -p '\(larger)'", "persistentvolumeclaim/data patched")
      try await shell.eventually("kubectl get pvc data -o jsonpath='{.status.capacity.storage}'") { $0 == "20Mi" }
      try await shell.shows("kubectl delete -f claim.yaml --timeout=30s", "deleted")
      try await shell.eventually("kubectl get pv -o name | wc -l") { $0 == "0\n" }
      #expect(!Files.exists(path))
    }

    /// A node dies: it is found out, its pods are made elsewhere, the Service leads to those that live.
    private static func loseOne(_ shell: KubeShell, _ lost: JoinedNode) async throws {
      let before = try await pods(shell)
      let gone = try #require(before.first { $0.node == lost.name })
      try await lost.pullThePlug()
      try await shell.eventually("kubectl get node \(lost.name) --no-headers", seconds: 40) { $0.contains("NotReady") }
      try await shell.eventually(
        "kubectl get node \(lost.name) -o jsonpath='{.spec.taints[*].key} {.spec.taints[*].effect}'", seconds: 10
      ) { $0.contains("node.kubernetes.io/unreachable") && $0.contains("NoExecute") }
      let live =
        "kubectl get endpointslices -l kubernetes.io/service-name=web"
        + " -o jsonpath='{range .items[*].endpoints[?(@.conditions.ready==true)]}{.targetRef.name} {.nodeName}{\"\\n\"}{end}'"
      try await shell.eventually(live, seconds: 30) { output in
        let lines = Set(output.split(separator: "\n"))
        return lines.count == 3 && !lines.contains { $0.hasPrefix(gone.name) || $0.hasSuffix(lost.name) }
      }
      try await shell.shows("kubectl get events --field-selector reason=TaintManagerEviction", gone.name)
      let alive = try await pods(shell).filter { $0.node != lost.name }
      #expect(alive.count == 3)
      let service = try await shell("kubectl get svc web -o jsonpath='{.spec.clusterIPs[*]}'").output
        .split(separator: " ").map(String.init)
      for pod in alive { try await ask(shell, pod, service, among: alive) }
      try await shell.shows("kubectl delete node \(lost.name)", "deleted")
      try await shell.eventually("ip route", seconds: 5) { !$0.contains(lost.address) }
    }
  }
}
